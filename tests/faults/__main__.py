"""Run the fault matrix: python -m tests.faults [--runs N] [--only KIND] [--seed N]."""

from __future__ import annotations

import argparse
import random
import signal
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.host.cache import cache_folder

from .kinds import NAMES, Kind
from .stand import Stand
from .trial import Trial, try_kind

DEFAULTS: dict[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}


def main() -> int:
    """0 where every run ended as it has to."""
    for number, default in DEFAULTS.items():
        if signal.getsignal(number) is signal.SIG_IGN:  # started in the background; the runs would ignore it, too
            signal.signal(number, default)
    arguments = _parse()
    if arguments.list:
        for kind in NAMES.values():
            print(f"{kind.name:28} {kind.what}")
        return 0
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    chosen = [kind for kind in NAMES.values() if not arguments.only or kind.name in arguments.only]
    trials: dict[str, list[Trial]] = defaultdict(list)
    try:
        with Stand(arguments.cache) as stand:
            usual_s = stand.usual_s()
            print(f"an undisturbed run takes {usual_s:.1f} s", flush=True)
            for turn in range(arguments.runs):
                for kind in chosen:
                    chance = random.Random(f"{seed} {kind.name} {turn}")
                    trials[kind.name].append(_tried(stand, kind, chance, usual_s))
    finally:
        _show(chosen, trials)
    return int(any(trial.problems for each in trials.values() for trial in each))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="hilgate's fault matrix")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="of each kind (1)")
    parser.add_argument("--only", action="append", default=[], choices=NAMES, metavar="KIND", help="repeatable")
    parser.add_argument("--seed", type=int, metavar="N", help="that chooses the moments; printed where it is not said")
    parser.add_argument("--list", action="store_true", help="say which kinds there are")
    cache = cache_folder() / "faults"
    parser.add_argument("--cache", type=Path, default=cache, metavar="DIR", help="of the runs, kept for the next time")
    return parser.parse_args()


def _tried(stand: Stand, kind: Kind, chance: random.Random, usual_s: float) -> Trial:
    trial = try_kind(stand, kind, chance, usual_s)
    mark = "; ".join(trial.problems) or "as it has to be"
    right = "wrong" if trial.wrong else "right"
    end = "" if trial.struck else "it had ended before; "
    end += f"exit status {trial.status}, {trial.verdict or 'no evidence'}"
    print(f"{kind.name}, a {right} model: {end}, after {trial.seconds:.1f} s: {mark}", flush=True)
    return trial


def _show(chosen: list[Kind], trials: dict[str, list[Trial]]) -> None:
    table = Table("kind", "runs", "in time", "right end", "nothing left", "next run fine", "ends (s)", "verdicts")
    for kind in chosen:
        each = trials[kind.name]
        if not each:
            continue
        good = [sum(not found for found in column) for column in zip(*map(_columns, each), strict=True)]
        struck = sum(trial.struck for trial in each)
        seconds = sorted(trial.seconds for trial in each)
        verdicts = ", ".join(sorted({trial.verdict or "none" for trial in each}))
        table.add_row(
            kind.name,
            str(len(each)),
            str(struck),
            *map(str, good),
            f"{seconds[0]:.1f} … {seconds[-1]:.1f}",
            verdicts,
        )
    console = Console()
    console.width = console.width if console.is_terminal else 120
    console.print(table)


def _columns(trial: Trial) -> tuple[list[str], list[str], list[str]]:
    return trial.bad_end, trial.left, trial.bad_next


if __name__ == "__main__":
    sys.exit(main())
