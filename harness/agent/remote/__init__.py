"""The client of a model on another computer: what makes the calls, and ends them when it says.

It is shipped beside the agent for remote backends only; standard library and numpy, Python ≥ 3.9, as the agent. It
trusts no server: whatever comes is bounded before memory is taken, and is what was asked for, or a CallFailed.

client        calls: which of both forms, attempts, what the server says of itself
protocol      requests and answers of the Open Inference Protocol; tensors, its element types
connection    one HTTP connection, reused; dialing, how it is made; bounded_reader, what is read of it; resolving, names
              to addresses; deadline, the end of a call
tunnel        a connection through the proxy that shapes the network (agent/network)
sagemaker     calls to an endpoint of SageMaker: signing, its signature; event_stream, answers in parts; npy, one array;
              service_errors, what it says of a call that it refuses; credentials, what is signed with
fallback      an engine of two: the device answers where calls fail
clock         what the time is at a server
description   artifact/endpoint.json: what is called; url, where that is
failure       how a call fails
"""

from __future__ import annotations
