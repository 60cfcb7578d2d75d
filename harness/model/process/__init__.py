"""The process in which a model file's code runs: one for each file; pytest's own process imports none of it.

What a file changes for its whole process (torch's default type, numpy's error state, the working folder, the module
path) it thereby changes for itself alone.

hosted      what a run sees: a ModelFile and a BuiltModel like any other, whose code is in the process
process     starts the process when it is first asked, and again after it died
connection  one life of the process: started, asked, watched, killed
worker      what runs in the process
wire        their messages: plain data, framed
"""

from ..user_process import Bounds
from .hosted import HostedFile, HostedModel, build_hosted, read_hosted
from .process import ModelProcess
from .wire import Raised

__all__ = ["Bounds", "HostedFile", "HostedModel", "ModelProcess", "Raised", "build_hosted", "read_hosted"]
