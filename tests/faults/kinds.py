"""What happens to a run: one function a kind, which waits for its moment and does it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .stand import Run, Stand, soon

# How long a stage of a run may take to come; where it does not, the run has ended, or is no such one.
STAGE_S = 90.0
MEASURED = frozenset({"PASS", "INCONCLUSIVE"})
# A process that runs the user's model died, by whatever: that is told as the model's failure.
DIED = MEASURED | {"FAIL"}
STATUSES = frozenset({0, 1})
NAMES: dict[str, Kind] = {}


@dataclass(frozen=True)
class Scene:
    """A run, where it runs, and the chance that chooses the moment.

    Attributes:
        usual_s: what an undisturbed run takes.
    """

    stand: Stand
    run: Run
    chance: random.Random
    usual_s: float

    def wait(self, most: float) -> None:
        """Let some of this time pass, unless the run ends."""
        end = time.monotonic() + self.chance.uniform(0, most)
        while time.monotonic() < end and not self.run.ended:
            time.sleep(0.02)

    def at_any_time(self) -> None:
        """Wait for a moment between the loading of hilgate and the usual end."""
        soon(lambda: True if self.run.ended else self.run.is_loading(), STAGE_S)
        self.wait(0.85 * self.usual_s)
        self.run.struck = not self.run.ended

    def first(self, find: Callable[[], list[int]]) -> int | None:
        """Wait for one of such processes, then a moment in its life; None where the run has ended before."""
        found = soon(lambda: find() or ([0] if self.run.ended else None), STAGE_S)
        if not found or found == [0]:
            return None
        self.wait(2.0)
        return next(iter(find()), None) or self.first(find)  # that one has ended meanwhile: another

    def kill(self, find: Callable[[], list[int]], number: int) -> None:
        """Send one of such processes a signal."""
        while (pid := self.first(find)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                self.run.struck = True
                return


@dataclass(frozen=True)
class Kind:
    """A kind of fault, and how a run that would pass may end where it happens.

    Attributes:
        verdicts: those of its evidence; one that would fail may fail always, and pass never.
        statuses: of its exit, negative for a signal.
        said: one of these words is in the output of a run that was stopped by it.
        arguments: of the run.
        fresh: its model was never exported.
        store: on the board.
        clock: whether the board's clock can be set.
    """

    name: str
    what: str
    disturb: Callable[[Scene], None]
    verdicts: frozenset[str] = MEASURED
    statuses: frozenset[int] = STATUSES
    said: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    fresh: bool = False
    store: str = "~/store"
    clock: bool = False


def _kind(
    what: str,
    *,
    verdicts: frozenset[str] = MEASURED,
    statuses: frozenset[int] = STATUSES,
    said: tuple[str, ...] = (),
    arguments: tuple[str, ...] = (),
    prefix: tuple[str, ...] = (),
    fresh: bool = False,
    store: str = "~/store",
    clock: bool = False,
) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
    """Enter a function into the table of kinds, by its name."""

    def enter(disturb: Callable[[Scene], None]) -> Callable[[Scene], None]:
        name = disturb.__name__.replace("_", "-")
        NAMES[name] = Kind(name, what, disturb, verdicts, statuses, said, arguments, prefix, fresh, store, clock)
        return disturb

    return enter


# The host

INTERRUPTED = frozenset({0, 1, 2})
STOPPED = ("Interrupted", "KeyboardInterrupt")


@_kind("pytest is killed", statuses=frozenset({0, 1, -signal.SIGKILL}))
def host_killed(scene: Scene) -> None:
    scene.at_any_time()
    scene.run.signal(signal.SIGKILL)


@_kind("Ctrl-C", statuses=INTERRUPTED, said=STOPPED)
def ctrl_c(scene: Scene) -> None:
    scene.at_any_time()
    scene.run.signal(signal.SIGINT)


@_kind("SIGTERM, as of a CI job that is cancelled", statuses=INTERRUPTED | {-signal.SIGTERM}, said=STOPPED)
def sigterm(scene: Scene) -> None:
    scene.at_any_time()
    scene.run.signal(signal.SIGTERM)


@_kind("SIGHUP, as of a terminal that is closed", statuses=INTERRUPTED | {-signal.SIGHUP}, said=STOPPED)
def sighup(scene: Scene) -> None:
    scene.at_any_time()
    scene.run.signal(signal.SIGHUP)


@_kind("the model's process is killed", verdicts=DIED, statuses=STATUSES | {4})  # 4: in reading the file
def model_process_killed(scene: Scene) -> None:
    scene.kill(lambda: scene.run.starting("harness.model.process.worker"), signal.SIGKILL)


@_kind("the export's process is killed", verdicts=DIED, fresh=True)
def export_killed(scene: Scene) -> None:
    scene.kill(lambda: scene.run.starting("harness.export.worker"), signal.SIGKILL)


@_kind("pytest is killed while it exports", statuses=frozenset({0, 1, -signal.SIGKILL}), fresh=True)
def host_killed_exporting(scene: Scene) -> None:
    scene.run.struck = scene.first(lambda: scene.run.starting("harness.export.worker")) is not None
    scene.run.signal(signal.SIGKILL)


@_kind("the evidence's folder is removed", verdicts=MEASURED | {"FAIL"})
def evidence_removed(scene: Scene) -> None:
    scene.at_any_time()
    shutil.rmtree(scene.stand.folder / "build", ignore_errors=True)


SMALL_DISK = 'mount -t tmpfs -o size=12k,mode=0700 none build && exec "$@"'
IN_NAMESPACE = ("unshare", *(() if os.getuid() == 0 else ("--user", "--map-root-user")), "--mount")


@_kind(
    "the evidence's disk is full",
    statuses=STATUSES | {2},
    said=("evidence cannot be written",),
    prefix=(*IN_NAMESPACE, "sh", "-c", SMALL_DISK, "sh"),
)
def host_disk_full(scene: Scene) -> None:
    """It is from the beginning; the run is what comes to it at some time."""
    scene.run.struck = True


# The board's processes


@_kind("the agent is killed", verdicts=DIED)
def agent_killed(scene: Scene) -> None:
    scene.kill(scene.stand.agents, signal.SIGKILL)


@_kind("the agent crashes", verdicts=DIED)
def agent_crashed(scene: Scene) -> None:
    scene.kill(scene.stand.agents, signal.SIGSEGV)


@_kind("the agent is stopped", verdicts=DIED, arguments=("--time-limit", "5"))
def agent_stopped(scene: Scene) -> None:
    scene.kill(scene.stand.agents, signal.SIGSTOP)


@_kind("the daemon is killed")
def daemon_killed(scene: Scene) -> None:
    scene.kill(scene.stand.daemons, signal.SIGKILL)


@_kind("the daemon is stopped")
def daemon_stopped(scene: Scene) -> None:
    scene.kill(scene.stand.daemons, signal.SIGSTOP)


@_kind("the daemon is stopped, and then pytest is killed", statuses=frozenset({0, 1, -signal.SIGKILL}))
def daemon_stopped_host_killed(scene: Scene) -> None:
    scene.kill(scene.stand.daemons, signal.SIGSTOP)
    scene.wait(2.0)
    scene.run.signal(signal.SIGKILL)


@_kind("a C++ runner is killed", verdicts=DIED, arguments=("--device", "local", "--backend", "onnxruntime-cpp"))
def runner_killed(scene: Scene) -> None:
    scene.kill(lambda: scene.run.starting("--engine"), signal.SIGKILL)


@_kind("a user of the board may have few processes and files", verdicts=DIED)
def process_limit(scene: Scene) -> None:
    bashrc = scene.stand.server.home / ".bashrc"
    scene.at_any_time()
    bashrc.write_text(f"ulimit -u {scene.chance.choice((1, 4, 8))}; ulimit -n {scene.chance.choice((5, 12, 20))}\n")
    scene.stand.proxy.cut()
    soon(lambda: True if scene.run.ended else None, 20)
    bashrc.write_text("")


@_kind("the board's clock is set, forth or back", clock=True)
def clock_set(scene: Scene) -> None:
    scene.at_any_time()
    scene.stand.set_clock(scene.chance.choice((-1, 1)) * scene.chance.choice((60, 86_400, 366 * 86_400)))


# The link


@_kind("the link is cut")
def link_cut(scene: Scene) -> None:
    scene.at_any_time()
    scene.stand.proxy.cut()


@_kind("the link is cut for good")
def link_gone(scene: Scene) -> None:
    scene.at_any_time()
    scene.stand.proxy.refuse()
    scene.stand.proxy.cut()


@_kind("the link stalls for a while")
def link_stalled(scene: Scene) -> None:
    scene.at_any_time()
    scene.stand.proxy.stall()
    time.sleep(scene.chance.uniform(0.5, 8))
    scene.stand.proxy.resume()


@_kind("the link stalls for good")
def link_dead(scene: Scene) -> None:
    scene.at_any_time()
    scene.stand.proxy.stall()


@_kind("the link stalls for good, and then comes Ctrl-C", statuses=INTERRUPTED, said=STOPPED)
def link_dead_ctrl_c(scene: Scene) -> None:
    scene.at_any_time()
    scene.stand.proxy.stall()
    scene.wait(4.0)
    scene.run.signal(signal.SIGINT)


@_kind("the link becomes slow")
def link_slow(scene: Scene) -> None:
    scene.at_any_time()
    scene.stand.proxy.slow(scene.chance.uniform(100e3, 400e3))


@_kind("the link passes on random bytes for a while")
def link_garbage(scene: Scene) -> None:
    scene.at_any_time()
    scene.stand.proxy.garble(True)
    time.sleep(scene.chance.uniform(0.2, 3))
    scene.stand.proxy.garble(False)


@_kind("sshd's sessions are killed")
def sessions_killed(scene: Scene) -> None:
    scene.at_any_time()
    scene.stand.server.kill_sessions()


@_kind("the board is switched off and on")
def board_restarted(scene: Scene) -> None:
    scene.at_any_time()
    scene.stand.server.stop()
    time.sleep(scene.chance.uniform(0, 4))
    scene.stand.server.start()


# The board's disk


@_kind("the board's disk is full", store="~/disk/store")
def disk_full(scene: Scene) -> None:
    scene.at_any_time()
    scene.stand.server.run("cat /dev/zero > disk/filler")
    soon(lambda: True if scene.run.ended else None, STAGE_S)
    scene.stand.server.run("rm -f disk/filler")


@_kind("the store becomes read-only")
def store_read_only(scene: Scene) -> None:
    scene.at_any_time()
    folders = [path for path in _store(scene).glob("*") if path.is_dir()]
    modes = {path: path.stat().st_mode for path in [_store(scene), *folders] if path.exists()}
    for path in modes:
        path.chmod(0o555)
    soon(lambda: True if scene.run.ended else None, STAGE_S)
    for path, mode in modes.items():
        with contextlib.suppress(FileNotFoundError):
            path.chmod(mode)


@_kind("the store is removed")
def store_removed(scene: Scene) -> None:
    scene.at_any_time()
    shutil.rmtree(_store(scene), ignore_errors=True)


def _store(scene: Scene) -> Path:
    return scene.stand.server.home / "store"


# Others


@_kind("another run comes to the board")
def two_runs(scene: Scene) -> None:
    scene.wait(2.0)
    scene.run.struck = not scene.run.ended
    other = scene.stand.start("--evidence", str(scene.stand.folder / "other"), "-k", "parity")
    status = other.finish()
    if status not in STATUSES or (status == 1 and "in use by another run" not in other.output):
        raise AssertionError(f"the other run: exit status {status}\n{other.output}")
    if left := other.left_over():
        raise AssertionError(f"the other run left {left}")
