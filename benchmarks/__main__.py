"""Run the benchmarks: a table, and build/bench.json.

A benchmark is a module of this package that has ``run(options)``, which yields rows. Every figure is a ratio taken in
one run against a named alternative, or says what it was beside. A missed aim is no error: speed is not a test.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import sys
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.agent.facts import facts
from harness.host.cache import cache_folder, write_atomically
from harness.host.progress_log import showing_progress

from .support.row import Options, Row

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "build" / "bench.json"
PACKAGES = ["torch", "onnxruntime", "numpy"]
STYLES = {"kept": "green", "missed": "bold red", "": "dim"}
PLAIN_WIDTH = 150  # where the output is no terminal


def main() -> int:
    """0 when all benchmarks ran to their end, whatever they found; 1 when one of them could not."""
    names = _names()
    arguments = _parse(names)
    if arguments.list:
        for name in names:
            print(f"{name:16} {_summary(name)}")
        return 0
    # Not the user's: what is timed must not depend on what they ran before.
    os.environ.setdefault("HILGATE_CACHE", str(ROOT / "build" / "bench-cache"))
    chosen = [name for name in names if name in arguments.only] or names
    options = Options(arguments.quick, arguments.time_limit)
    with showing_progress(lambda line: print(line, file=sys.stderr)):
        results, failed = _run_all(chosen, options)
    console = Console()
    console.width = console.width if console.is_terminal else PLAIN_WIDTH
    console.print(_table(results))
    _conclude(console, results, failed)
    return 1 if failed else 0


def _names() -> list[str]:
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in modules if not module.ispkg and not module.name.startswith("_"))


def _summary(name: str) -> str:
    text = importlib.import_module(f"{__package__}.{name}").__doc__ or ""
    return text.strip().splitlines()[0]


def _parse(names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="hilgate's benchmarks")
    parser.add_argument("--only", action="append", default=[], choices=names, help="only this one; repeatable")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--quick", action="store_true", help="leave out vit_base, which takes ten minutes more")
    parser.add_argument(
        "--time-limit", type=float, default=120.0, metavar="SECONDS", help="for measuring a cell of vit_base (120)"
    )
    arguments = parser.parse_args()
    if not arguments.time_limit > 0:
        parser.error(f"--time-limit wants seconds > 0; found {arguments.time_limit:g}")
    return arguments


def _run_all(names: list[str], options: Options) -> tuple[dict[str, list[Row]], list[str]]:
    results: dict[str, list[Row]] = {}
    failed: list[str] = []
    record = {"schema": 1, "started": datetime.now(UTC).isoformat(timespec="seconds"), "machine": facts(PACKAGES)}
    for name in names:
        print(f"{name}: {_summary(name)}", file=sys.stderr)
        start = time.monotonic()
        results[name] = []
        try:
            for row in _rows(name, options):
                results[name].append(row)
                _write(record, results, failed)
        except Exception:  # noqa: BLE001  # one that is broken must not keep the others from running
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
        _write(record, results, failed)
    return results, failed


def _rows(name: str, options: Options) -> Iterator[Row]:
    rows: Iterator[Row] = importlib.import_module(f"{__package__}.{name}").run(options)
    return rows


def _write(record: dict[str, Any], results: dict[str, list[Row]], failed: list[str]) -> None:
    rows = [{"benchmark": name, **row.as_json()} for name, rows in results.items() for row in rows]
    content = {**record, "cache": str(cache_folder()), "load": os.getloadavg(), "failed": failed, "rows": rows}
    write_atomically(RESULT, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _table(results: dict[str, list[Row]]) -> Table:
    table = Table(title="benchmarks", title_justify="left", title_style="bold", pad_edge=False)
    for column, justify in (("what", "left"), ("value", "right"), ("against", "left"), ("aim", "right"), ("", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for name, rows in results.items():
        table.add_section()
        table.add_row(Text(name, "bold"))
        for row in rows:
            value, verdict = f"{row.value:.4g} {row.unit}", Text(row.verdict, STYLES[row.verdict])
            table.add_row(f"  {row.what}", value, row.against, str(row.aim or ""), verdict)
    return table


def _conclude(console: Console, results: dict[str, list[Row]], failed: list[str]) -> None:
    missed = [f"{name}: {row.what}" for name, rows in results.items() for row in rows if row.verdict == "missed"]
    for line in missed:
        console.print(Text(f"missed: {line}", STYLES["missed"]))
    for name in failed:
        console.print(Text(f"could not be run: {name}", STYLES["missed"]))
    console.print(f"written: {RESULT.relative_to(ROOT)}; aims missed: {len(missed)}")


if __name__ == "__main__":
    sys.exit(main())
