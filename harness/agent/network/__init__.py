"""The proxy that shapes what passes between the client and its server: delay, jitter, rate, outages.

It is a process of its own beside the agent, of the standard library alone, and is shipped for remote backends only.

start     what the agent does: starts the proxy, and ends it
tunnel    what the client does: connects through the proxy
proxy     the process: reads its rules, says its port, and ends with the agent
relay     the connections that pass through it; way, one direction of one of them
link      when bytes that go into a link come out of it

It carries bytes: TLS and signatures pass untouched. What it cannot do: lose packets, or begin slowly as TCP does on a
long way.
"""

from __future__ import annotations
