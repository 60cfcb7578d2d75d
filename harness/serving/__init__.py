"""A model served over HTTP by the Open Inference Protocol, version 2: `hilgate serve`, the computer beside the robot.

limits      how much a caller may send, and how long that may take
refused     what a caller is told, with its status
tensors     the protocol's datatypes, read and written strictly
interface   what the served model takes and gives
request     an inference request, JSON or binary, read as if anybody had written it
answer      its answer
npy         both as one array each, as numpy saves it
preparing   from a model file to what starts its agent processes on this machine
worker      the agent process: one inference at a time, started again where it died
front       the routes
bounded     a connection that ends when its caller stalls; no more of them than there is room for
sockets     the address that is listened on
server      all of it together, until a signal ends it
service     SageMaker's runtime in front of all that: emulated, for a run

starlette and uvicorn are imported by ``front``, ``bounded`` and ``server`` only: they are hilgate[cloud].
"""
