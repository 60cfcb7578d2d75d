"""The process in which a model file's code runs: one for each file; pytest's own imports none of it.

What a file changes for the whole of its process (torch's default type, numpy's errors, the working folder, the path of
modules) it changes for itself alone. ``process`` starts the process and asks it, by a ``connection``; ``worker`` is
what runs there, ``wire`` is how they talk, ``hosted`` is what a run sees: a ModelFile and a BuiltModel like any other.
"""

from ..user_process import Bounds
from .hosted import HostedFile, HostedModel, build_hosted, read_hosted
from .process import ModelProcess
from .wire import Raised

__all__ = ["Bounds", "HostedFile", "HostedModel", "ModelProcess", "Raised", "build_hosted", "read_hosted"]
