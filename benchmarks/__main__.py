"""Run the benchmarks, each in a process of its own: a table, and build/bench/result.json.

Every figure is a ratio taken in one run against a named alternative, or says what it was beside. A benchmark that fails
is named, and the others still run. Exit status: 0 all aims kept; 1 an aim missed, which is no error: speed is not a
test; 2 a benchmark could not be run.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.agent.facts import facts
from harness.host.shown_path import shown_path

from .support.registry import KINDS, Benchmark, RegistryError, choose, find_benchmarks
from .support.result import Outcome, Result, ResultError, read_result
from .support.row import Options
from .support.running import ROOT, run_benchmark, tail
from .support.showing import conclude, open_console, show_changes, show_result

PACKAGES = ["torch", "onnxruntime", "numpy"]
EPILOG = """\
needs: {needs}

before and after a change:
  python -m benchmarks --quick --output before.json
  python -m benchmarks --quick --against before.json
"""


@dataclass(frozen=True)
class Place:
    """Where benchmarks are, and where what they leave goes.

    Attributes:
        folder: the modules.
        package: the name that they are imported under.
        build: the result, what each has printed, and the cache that they use.
    """

    folder: Path = Path(__file__).parent
    package: str = "benchmarks"
    build: Path = ROOT / "build" / "bench"


def main(argv: Sequence[str] | None = None, place: Place | None = None) -> int:
    """Run what the command line asks for; returns the exit status."""
    place = place or Place()
    try:
        known = find_benchmarks(place.folder, place.package)
        arguments = _parse(argv, known, place)
        old = read_result(arguments.against) if arguments.against else None
        result = read_result(arguments.read) if arguments.read else None
        if result is None and not arguments.list:
            chosen = choose(known, arguments.only, arguments.without, quick=arguments.quick, commit=arguments.commit)
    except (RegistryError, ResultError) as error:
        print(f"python -m benchmarks: {error}", file=sys.stderr)
        return 2
    if arguments.list:
        _list(known)
        return 0
    if result is None:
        try:
            with one_run(place.build):
                result = _run(chosen, arguments, place)
        except BlockingIOError:
            _say("python -m benchmarks: another run of the benchmarks uses this folder: both would measure each other")
            return 2
    console = open_console()
    show_result(console, result)
    if old is not None:
        show_changes(console, old, result)
    conclude(console, result, shown_path(arguments.read or arguments.output))
    return result.status


def _parse(argv: Sequence[str] | None, known: dict[str, Benchmark], place: Place) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=EPILOG.format(needs="; ".join(f"{name}: {what}" for name, what in KINDS.items())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--list", action="store_true", help="say what there is, what it needs, and what is quick")
    add("--only", action="append", default=[], choices=list(known), metavar="NAME", help="only this one; repeatable")
    add(
        "--without",
        action="append",
        default=[],
        choices=list(KINDS),
        metavar="NEED",
        help="leave out what needs this; repeatable",
    )
    add("--quick", action="store_true", help="what takes ten minutes in all; with --only, less of each")
    add("--time-limit", type=float, default=120.0, metavar="SECONDS", help="for measuring a cell of vit_base (120)")
    add("--commit", default="", metavar="COMMIT", help="run house: this commit beside that one")
    add("--against", type=Path, metavar="OLD.json", help="show an earlier result beside this one, and what changed")
    add("--read", type=Path, metavar="FILE", help="run nothing: show this result")
    add(
        "--output",
        type=Path,
        default=place.build / "result.json",
        metavar="FILE",
        help="the result (build/bench/result.json)",
    )
    arguments = parser.parse_args(argv)
    if not 0 < arguments.time_limit < float("inf"):
        parser.error(f"--time-limit wants seconds > 0; found {arguments.time_limit:g}")
    return arguments


def _list(known: dict[str, Benchmark]) -> None:
    width = max(map(len, known))
    for one in known.values():
        print(f"{one.name:{width}}  {'quick' if one.is_quick else '':5}  {', '.join(one.needs):17}  {one.summary}")


@contextmanager
def one_run(build: Path) -> Iterator[None]:
    """Keep other runs out of a folder.

    Raises:
        BlockingIOError: there is one.
    """
    build.mkdir(parents=True, exist_ok=True)
    with (build / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _run(chosen: Sequence[Benchmark], arguments: argparse.Namespace, place: Place) -> Result:
    """Run benchmarks one after the other; the result is written after each row."""
    # Not the user's: what is timed must not depend on what they ran before.
    environment = {"HILGATE_CACHE": str(place.build.with_name("bench-cache")), **os.environ}
    options = Options(arguments.quick, arguments.time_limit, arguments.commit)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    result = Result(started, facts(PACKAGES), environment["HILGATE_CACHE"], arguments.quick)
    began = time.monotonic()
    for number, benchmark in enumerate(chosen, 1):
        _say(f"[{number}/{len(chosen)}, {time.monotonic() - began:.0f} s] {benchmark.name}: {benchmark.summary}")
        outcome = _outcome(benchmark, options, place, environment, _writer(result, arguments.output))
        result = replace(result, outcomes=[*result.outcomes, outcome])
        result.write(arguments.output)
    return result


def _writer(result: Result, path: Path) -> Callable[[Outcome], None]:
    """Return what writes the result with a benchmark that is not done: of an interrupted run, what there was."""
    return lambda outcome: replace(result, outcomes=[*result.outcomes, replace(outcome, failure="interrupted")]).write(
        path
    )


def _outcome(
    benchmark: Benchmark,
    options: Options,
    place: Place,
    environment: Mapping[str, str],
    write: Callable[[Outcome], None],
) -> Outcome:
    log = place.build / f"{benchmark.name}.log"
    outcome = run_benchmark(benchmark, options, log, _say, environment=environment, on_rows=write)
    ending = f"FAILED: {outcome.failure}" if outcome.failure else f"{len(outcome.rows)} rows"
    _say(f"  {benchmark.name}: {outcome.took_s:.0f} s, {ending}")
    if outcome.failure:
        for line in tail(log):
            _say(f"    {line}")
        _say(f"    (all of it: {shown_path(log)})")
    return outcome


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)
