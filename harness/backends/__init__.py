"""Backends: the ways to run an artifact, one file each, found by its name.

    _backend    what a backend is to the host (Backend, Native) and to the agent (EngineType)
    _loading    finds the files, checks them and reads them

Every other file is a backend. One in Python has

    ARTIFACT    the export format that it runs
    PACKAGES    the packages that the device must have, with "|" between names that do equally well
                ("onnxruntime|onnxruntime-gpu")
    OPTIONS     the keys that [options.NAME] of a device file may have, each with the kind of its value and a
                description; {} for none
    preload()   imports the runtime and does nothing else
    Engine      a class; see EngineType

It is shipped to the device as it is, so it imports the standard library and, inside ``preload`` and ``Engine``, its
runtime: nothing of harness. A backend in C++ has NATIVE (see Native) in place of ``preload`` and ``Engine``.

REMOTE = True says that it is a client: the model runs on another computer, which the device calls (docs/remote.md). Its
ARTIFACT is "endpoint", a description that is made and not exported, and agent/remote is shipped beside it. CLOUD = True
says, too, that this computer is in the cloud.

OPERATORS = True says that libraries can register operators with it: what ``Model(imports=…)`` names is imported, or its
library opened, before the artifact is loaded.
"""

from ._backend import OPTION_KINDS, Backend, EngineType, Native
from ._loading import backend_names, load_backend

__all__ = ["OPTION_KINDS", "Backend", "EngineType", "Native", "backend_names", "load_backend"]
