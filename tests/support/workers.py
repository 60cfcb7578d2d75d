"""How `make test` and `make test-slow` share the tests among their workers (pytest-xdist): file by file.

A file's tests stay with one worker, so that what a module builds is built once, as with xdist's own ``loadfile``. That
leaves open which files must not run beside each other, and which begin first; both are said here.

Each worker has a cache of its own (the fixture ``cache``), and with it a device `local` of its own: the store and its
lock are in there. Loopback boards have each their own /run/lock.
"""

from __future__ import annotations

import fnmatch
from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# Files that share a worker, for two of them at once would be too much, by name. They begin first, in this order.
TOGETHER = (
    ("test_emulated_*.py",),  # a guest has several processors, and tests bound the time in which it boots or dies
    ("test_large_model.py", "test_networks.py"),  # gigabytes of memory each
)


class FileByFile(LoadScopeScheduling):
    """Hand out whole files, those that take long first, so that the workers end at about the same time."""

    def _split_scope(self, nodeid: str) -> str:
        """Return the name of the files, or of the one file, that a test shares a worker with."""
        file = nodeid.partition("::")[0]
        group = _group(file)
        return " ".join(TOGETHER[group]) if group < len(TOGETHER) else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a worker the files whose turn it is."""
        self.workqueue.move_to_end(min(self.workqueue, key=self._turn), last=False)
        super()._assign_work_unit(node)

    def _turn(self, scope: str) -> tuple[int, bool, int]:
        """Return what the queue is sorted by: an integration test takes a second, a unit test a twentieth of one."""
        (nodeid, *_) = self.workqueue[scope]
        file = nodeid.partition("::")[0]
        return _group(file), "integration" not in PurePosixPath(file).parts, -len(self.workqueue[scope])


def _group(file: str) -> int:
    """Return the place of a file's group in TOGETHER; that of one that is in none is behind all of them."""
    name = PurePosixPath(file).name
    fitting = (index for index, globs in enumerate(TOGETHER) if any(fnmatch.fnmatch(name, glob) for glob in globs))
    return next(fitting, len(TOGETHER))
