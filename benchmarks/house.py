"""Before and after: this commit beside another one (--commit COMMIT), in turn, on one machine.

Whole runs of ``pytest -m hil`` on digits, what starts a program, the agent's and the runner's p50, and the hashes of
what is made. Both sides are checkouts with caches of their own; what is not committed does not count. Without --commit
nothing is compared.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .support import timed_deployment
from .support.checkouts import ROOT, Checkout, checked_out
from .support.deploy import BACKENDS, NATIVE_BACKENDS
from .support.interleave import Block, interleave, median_of, one_cpu, ratios
from .support.row import RATIO, Aim, Options, Row

NEEDS = ("commit", "runners")
LIMIT_S = 14400

PLACE = ROOT / "build" / "house"
NOT_MORE = Aim(1.0)
UNCHANGED = Aim(low=0.99, high=1.01)
SAME = Aim(0.0)
ALL_BACKENDS = (*BACKENDS, *NATIVE_BACKENDS)
# Rounds of whole runs, half a minute each; with --quick fewer of all, to see that it works.
RUNS = 3
# Rounds of short commands.
STARTS = 10
# For a p50: groups of fresh processes, rounds of blocks in each, inferences in a block (some 20 ms).
GROUPS, ROUNDS, BLOCK = 5, 20, 200
COLLECT = ("-m", "pytest", "--collect-only", "-q")
HELP = ("-c", "from harness.cli import main; main()", "--help")


@dataclass(frozen=True)
class Sides:
    """The commit that is judged, and the one that it is compared with."""

    new: Checkout
    old: Checkout

    @property
    def both(self) -> tuple[Checkout, Checkout]:
        """Return them, the new one first."""
        return self.new, self.old


@dataclass(frozen=True)
class Taken:
    """What one command took, of the clock and of processors, its children's included."""

    wall_s: float
    cpu_s: float


def run(options: Options) -> Iterator[Row]:
    """Yield a ratio for each kind of run, start and backend, and the number of artifacts that differ."""
    if not options.commit:
        return
    with ExitStack() as stack:
        new, old = (
            stack.enter_context(checked_out(PLACE, name, commit))
            for name, commit in (("new", "HEAD"), ("old", options.commit))
        )
        sides = Sides(new, old)
        yield from _starts(sides, 3 if options.quick else STARTS)
        yield from _runs(sides, 1 if options.quick else RUNS)
        yield from _latencies(sides, options)


def _starts(sides: Sides, rounds: int) -> Iterator[Row]:
    for what, words in (("pytest --collect-only", COLLECT), ("hilgate --help", HELP)):
        yield from _compared(what, rounds, sides, lambda side, words=words: _timed(side, words))  # type: ignore[misc]


def _runs(sides: Sides, rounds: int) -> Iterator[Row]:
    """Compare whole runs, warm: the round that `interleave` throws away exports and builds."""
    evidence: dict[Path, Mapping[str, Any]] = {}

    def hil(side: Checkout) -> Taken:
        with tempfile.TemporaryDirectory() as folder:
            # A missed limit is no matter here: the table's verdict is not what is compared.
            words = ("-m", "pytest", "-m", "hil", "--device", "local", "--evidence", folder)
            taken = _timed(side, (*words, "--model", "examples/digits.py"), statuses=(0, 1))
            evidence[side.folder] = json.loads(Path(folder, "evidence.json").read_text(encoding="utf-8"))
        return taken

    yield from _compared("pytest -m hil on digits, four backends", rounds, sides, hil)
    hashes = [_artifacts(evidence[side.folder]) for side in sides.both]
    differ = [backend for backend in ALL_BACKENDS if hashes[0].get(backend, "") != hashes[1].get(backend)]
    details = {"new": hashes[0], "old": hashes[1]}
    yield Row("artifacts whose hash changed", len(differ), "", ", ".join(differ) or "of 4 cells", SAME, details)


def _artifacts(evidence: Mapping[str, Any]) -> dict[str, str]:
    """Return each backend's artifact hash."""
    return {cell["backend"]: (cell["artifact"] or {}).get("sha256", "") for cell in evidence["cells"]}


def _latencies(sides: Sides, options: Options) -> Iterator[Row]:
    changed: list[str] = []
    for backend in ALL_BACKENDS:
        groups = [_group(sides, backend) for _ in range(2 if options.quick else GROUPS)]
        changed += [f"{backend}: {name}" for name in _changed(*groups[0].manifests)]
        ratio = statistics.median(value for group in groups for value in group.ratios)
        noise = statistics.median(value for group in groups for value in group.noise)
        who = "runner" if backend in NATIVE_BACKENDS else "agent"
        details = {"new_p50_us": [group.new_ns / 1e3 for group in groups], "ratios": [group.ratios for group in groups]}
        against = f"old commit, own process; noise of two old ones {noise:.3f}"
        each = [statistics.median(group.ratios) for group in groups]
        yield Row(f"digits on {backend}: the {who}'s p50", ratio, RATIO, against, UNCHANGED, details, each)
    against = "agent's sources and runner's program aside"
    yield Row("parts of bundles that changed", len(changed), "", against, SAME, {"changed": changed})


@dataclass(frozen=True)
class Group:
    """One group of fresh processes: ratios round by round, the new one's median, the manifests of both bundles."""

    ratios: list[float]
    noise: list[float]
    new_ns: float
    manifests: tuple[Mapping[str, Any], Mapping[str, Any]]


def _group(sides: Sides, backend: str) -> Group:
    """Time a process of the new commit and two of the old one, alive together, in turn."""
    with (
        one_cpu(),
        _deployed(sides.new, backend) as (new, manifest),
        _deployed(sides.old, backend) as (old, old_manifest),
        _deployed(sides.old.beside(), backend) as (other, _),
    ):
        blocks = interleave(ROUNDS, new, old, other)
    both = [[*one, *two] for one, two in zip(blocks[1], blocks[2], strict=True)]
    return Group(ratios(blocks[0], both), ratios(blocks[1], blocks[2]), median_of(blocks[0]), (manifest, old_manifest))


@contextmanager
def _deployed(side: Checkout, backend: str) -> Iterator[tuple[Callable[[], Block], Mapping[str, Any]]]:
    """Start a deployment of a commit, and hand out what times a block of inferences, and the bundle's manifest."""
    command = [str(side.python), "-P", timed_deployment.__file__, backend]
    with subprocess.Popen(
        command, cwd=side.folder, env=side.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("started with pipes")
        asked, answers = process.stdin, process.stdout

        def block() -> Block:
            print(BLOCK, file=asked, flush=True)
            durations: Block = json.loads(answers.readline())
            return durations

        yield block, json.loads(answers.readline())


def _changed(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """Return the names of what two bundles have differently, but for the content of the agent's own files."""
    parts = [
        {path: file for path, file in side["files"].items() if path.startswith("artifact/")} for side in (new, old)
    ]
    names = [path for path in parts[0] | parts[1] if parts[0].get(path) != parts[1].get(path)]
    runtimes = new["runtime"], old["runtime"]
    # A runner is a program made of our sources.
    keys = [
        key for key in runtimes[0] | runtimes[1] if key != "runner" and runtimes[0].get(key) != runtimes[1].get(key)
    ]
    return [*names, *(f"runtime.{key}" for key in keys)]


def _compared(what: str, rounds: int, sides: Sides, action: Callable[[Checkout], Taken]) -> Iterator[Row]:
    """Yield what a command takes on the new side ÷ on the old one, by the clock and of processors: the best of each.

    What others do on the machine only ever adds. One round is thrown away.
    """
    taken: dict[int, list[Taken]] = {0: [], 1: []}

    def side(index: int) -> Callable[[], Block]:
        def once() -> Block:
            taken[index].append(action(sides.both[index]))
            return [taken[index][-1].wall_s]

        return once

    interleave(rounds, side(0), side(1))
    new, old = taken[0][1:], taken[1][1:]
    details = {"new": [vars(one) for one in new], "old": [vars(one) for one in old]}
    for kind in ("wall_s", "cpu_s"):
        values = [[getattr(one, kind) for one in each] for each in (new, old)]
        ratio = min(values[0]) / min(values[1])
        against = f"{_best(values[1])} of the old commit, best of {rounds}; median ratio {_median_ratio(*values):.3f}"
        each = [one / other for one, other in zip(*values, strict=True)]
        yield Row(f"{what}: {kind[:-2]}", ratio, RATIO, against, NOT_MORE, details, each)


def _best(values: Sequence[float]) -> str:
    return f"{min(values):.2f} s"


def _median_ratio(new: Sequence[float], old: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(new, old, strict=True))


def _timed(side: Checkout, words: Sequence[str], statuses: Sequence[int] = (0,)) -> Taken:
    """Run the side's Python with these arguments, and say what that took.

    Raises:
        RuntimeError: it ended with another status.
    """
    before, start = _children_cpu_s(), time.monotonic()
    done = subprocess.run(
        [str(side.python), *words],
        check=False,
        cwd=side.folder,
        env=side.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    taken = Taken(time.monotonic() - start, _children_cpu_s() - before)
    if done.returncode not in statuses:
        raise RuntimeError(f"{' '.join(words)} ended with status {done.returncode}:\n{done.stdout[-4000:]}")
    return taken


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
