"""The agent: our small program on the device, which loads one artifact, infers, and times itself.

It needs Python ≥ 3.9, its standard library and numpy, and never imports the rest of harness: this folder is shipped
as it is, with one file of ``harness/backends`` beside it as ``backend.py``, and started as ``python -B -m agent``
from the bundle's folder. The host imports ``frames``, ``structure``, ``facts`` and others from here, so that both
sides share one definition.

__main__        the process: frames in, frames out
operations      what it can do; engine, what it loads
ring            the inputs of a loop; expand makes them from a few numbers
timing          the closed loop; pacing, the sensor's clock
growth          the memory between inferences
failure         calls to a computer elsewhere that failed; first_parts, when answers began; remote/, what makes calls;
                sides, who answered where there is a fallback
telemetry       the state of device and process; facts, what the device is
wire, frames    the wire format; structure, the nesting of a model's outputs
illegal         where an illegal instruction was met
forkserver      a process that has imported the runtime and forks; forkserver_agent, that of the agents; attach
check           a release's own check, a program by itself: its steps, its file, and that file's JSON
orphans         processes that outlived their run; private, folders that are ours alone; unpack, wheels without pip
network/        a process beside it, which shapes the way to a computer elsewhere
cold/           a program by itself: drops what a start reads from the page cache
daemon/         the program that holds the device's lock and looks after its store
"""
