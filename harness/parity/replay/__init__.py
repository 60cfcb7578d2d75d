"""A folder that shows a mismatch again: with Python, numpy and the backend's library, without hilgate.

write    fills the folder
program  the program that is copied into it as replay.py
"""

from __future__ import annotations

from .write import write_replay

__all__ = ["write_replay"]
