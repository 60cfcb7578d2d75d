"""How `make test` and `make test-slow` share the tests among their workers (pytest-xdist): file by file.

A file's tests stay with one worker, so that what a module builds is built once, as with xdist's own ``loadfile``. That
leaves open which files must not run beside each other, and which begin first; both are said here.

Each worker has a cache of its own (the fixture ``cache``), and with it a device `local` of its own: the store and its
lock are in there. Loopback boards have each their own /run/lock.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# Files that share a worker, for two at once would be too much, by name: a guest has four processors and 2 GiB, and
# tests bound the time in which it boots or dies; the large model takes up to 10 GiB. They begin first: they are half of
# the slow tests' time.
TOGETHER = ("test_emulated_*.py", "test_large_model.py")
# Files of few tests with minutes behind them, a run of many models or an installation: they begin next. Begun among the
# last, as few tests are otherwise, one of them would be all that is left, and the other worker would wait.
LONG = (
    "test_check.py",  # it compiles the runners
    "test_cases.py",
    "test_networks.py",
    "test_wheel.py",
    "test_runner_code.py",
    "test_gate_board.py",
    "test_fresh_machine.py",
    "test_board_gone.py",
    "test_fault_matrix.py",
)
# Further files that start C++ runners. Where the user's cache has none yet, compiling takes a minute, and a second file
# would wait for it: they come behind the other integration tests.
COMPILED = (
    "test_fills.py",
    "test_gate.py",
    "test_given.py",
    "test_growth_readings.py",
    "test_isolation.py",
    "test_libtorch_options.py",
    "test_operators.py",
    "test_pacing.py",
    "test_parity_locating_*.py",
    "test_prepared_inputs.py",
    "test_ring.py",
    "test_runner*.py",
    "test_tails.py",
)


class FileByFile(LoadScopeScheduling):
    """Hand out whole files, those that take long first, so that the workers end at about the same time."""

    def _split_scope(self, nodeid: str) -> str:
        """Return the name of the files, or of the one file, that a test shares a worker with."""
        file = nodeid.partition("::")[0]
        return " ".join(TOGETHER) if _is_heavy(file) else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a worker the files whose turn it is."""
        self.workqueue.move_to_end(min(self.workqueue, key=self._turn), last=False)
        super()._assign_work_unit(node)

    def _turn(self, scope: str) -> tuple[bool, bool, bool, bool, int]:
        """Return what the queue is sorted by: an integration test takes a second, a unit test a twentieth of one."""
        nodeids = self.workqueue[scope]
        file = PurePosixPath(next(iter(nodeids)).partition("::")[0])
        is_unit, is_compiled = "integration" not in file.parts, _matches(str(file), COMPILED)
        return not _is_heavy(str(file)), file.name not in LONG, is_unit, is_compiled, -len(nodeids)


def _is_heavy(file: str) -> bool:
    """Whether a file must not run beside another such."""
    return _matches(file, TOGETHER)


def _matches(file: str, globs: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(PurePosixPath(file).name, glob) for glob in globs)
