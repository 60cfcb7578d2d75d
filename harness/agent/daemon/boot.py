# mypy: ignore-errors
"""The first program that runs on a device, as ``python -c``.

It reads two JSON documents from stdin, each preceded by its length in eight digits: the sources of the daemon's
modules, which it imports from memory, and the arguments of serve.main. Until the version has been checked, the code
must be valid in any Python that a board may have.
"""

import sys

if sys.version_info < (3, 9):
    sys.exit("hilgate: wanted Python 3.9 or newer; found Python " + sys.version.split()[0])
sys.path = [path for path in sys.path if path]  # not the login folder: a types.py there is not ours
import importlib
import importlib.abc
import importlib.util
import json
import os


def read(size: int) -> bytes:
    """Read so many bytes from stdin, or exit where the host closes it first."""
    data = b""
    while len(data) < size:
        chunk = os.read(0, size - len(data))
        if not chunk:
            sys.exit("hilgate: the host went away")
        data += chunk
    return data


class Sources(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """An importer of modules whose sources are in memory, by their names."""

    def __init__(self, texts: dict) -> None:
        self.texts = texts

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        """Find a module; called by Python's import."""
        if name + ".__init__" in self.texts:
            return importlib.util.spec_from_loader(name, self, is_package=True)
        return importlib.util.spec_from_loader(name, self) if name in self.texts else None

    def get_source(self, name: str) -> str:
        """Return a module's source; linecache calls it for tracebacks."""
        return self.texts.get(name + ".__init__") or self.texts.get(name, "")

    def exec_module(self, module: object) -> None:
        """Run a module's source; called by Python's import."""
        name = module.__name__
        exec(compile(self.get_source(name), "<hilgate " + name + ">", "exec"), module.__dict__)


sys.meta_path.insert(0, Sources(json.loads(read(int(read(8))))))
arguments = json.loads(read(int(read(8))))
if sys.argv[1:]:
    importlib.import_module("agent.daemon.preloaded").main(sys.argv[1], read)
else:
    importlib.import_module("agent.daemon.serve").main(**arguments)
