"""A folder that shows a mismatch again: with Python, numpy and the backend's library, without hilgate.

write    fills the folder, and says how to use it
program  the program that is copied into it as replay.py
formats  finds the file that runs a format's artifacts there, by its name
onnx     such a file; torchscript, another. A format without one is kept, and not run again
"""

from __future__ import annotations

from .write import how_to_replay, write_replay

__all__ = ["how_to_replay", "write_replay"]
