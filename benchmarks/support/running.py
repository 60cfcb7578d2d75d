"""Running one benchmark in a process of its own: its rows as they come, its output in a file, and a limit."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.host.exit_cause import describe_status
from harness.printable import printable, printable_lines

from .registry import Benchmark
from .result import MOST_ROWS, Failure, Outcome, ResultError, parse_line
from .row import Options, Row

ROOT = Path(__file__).parents[2]
CHILD = "benchmarks.support.child"
MOST_BYTES = 1 << 24  # of one benchmark's rows
READ = 1 << 16
# How often one that sends no row is said to be running still.
EVERY_S = 30.0
# How long a process may take to end, and its children with it.
END_S = 20.0
TAIL_BYTES, TAIL_LINES = 1 << 14, 20


@dataclass
class _Rows:
    """The rows of a benchmark, out of the bytes of its pipe."""

    notify: Callable[[str], None]
    rows: list[Row] = field(default_factory=list)
    size: int = 0
    rest: bytes = b""
    failure: str = ""

    def add(self, data: bytes) -> None:
        """Take in some bytes.

        Raises:
            ResultError: they are no rows, or too many.
        """
        self.size += len(data)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            row = parse_line(line)
            if isinstance(row, Failure):
                self.failure = row.failure
                continue
            self.rows.append(row)
            self.notify(printable(f"  {row.what}: {row.value:.4g} {row.unit} {row.verdict}").rstrip())
        if self.size > MOST_BYTES or len(self.rows) > MOST_ROWS:
            raise ResultError(f"it sent more than {MOST_ROWS} rows, or {MOST_BYTES >> 20} MiB of them")


def run_benchmark(
    benchmark: Benchmark,
    options: Options,
    log: Path,
    notify: Callable[[str], None],
    *,
    environment: Mapping[str, str] | None = None,
    on_rows: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome:
    """Run one benchmark to its end, or to its limit.

    Args:
        benchmark: which one.
        options: what was asked for.
        log: the file that takes what it prints.
        notify: shows a line of progress.
        environment: its process's variables; None for this one's.
        on_rows: called with what there is so far, after each row.

    Returns:
        Its rows, and why it failed, if it did. A benchmark without a row has failed: nothing was measured.
    """
    began, before = time.monotonic(), os.getloadavg()[0]
    taken = _Rows(notify)

    def outcome(failure: str = "") -> Outcome:
        load = (before, os.getloadavg()[0])
        return Outcome(benchmark.name, list(taken.rows), failure, time.monotonic() - began, load)

    with _started(benchmark, options, log, environment) as (process, source):
        try:
            for _ in _followed(process, source, taken, benchmark, began):
                on_rows(outcome())
            failure = _failure(process, taken.failure, log)
        except ResultError as error:
            failure = str(error)
        except TimeoutError:
            failure = f"it was ended after {benchmark.limit_s:g} s"
    if not failure and (taken.rest or not taken.rows):
        failure = "it measured nothing" if not taken.rows else "its last row is cut off"
    return outcome(failure)


@contextlib.contextmanager
def _started(
    benchmark: Benchmark, options: Options, log: Path, environment: Mapping[str, str] | None
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start the process; at the end of the block it has ended, killed with its group if it did not when told to."""
    source, sink = os.pipe()
    command = [sys.executable, "-m", CHILD, benchmark.module, json.dumps(asdict(options)), str(sink)]
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(sink,),
                start_new_session=True,
            )
    except BaseException:
        os.close(source)
        raise
    finally:
        os.close(sink)
    try:
        yield process, source
    finally:
        os.close(source)
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # it is not waited for yet: the number is its group's still
        process.wait()


def _followed(
    process: subprocess.Popen[bytes], source: int, taken: _Rows, benchmark: Benchmark, began: float
) -> Iterator[None]:
    """Read rows until the process has ended; yields after each reading.

    Raises:
        TimeoutError: the limit has passed.
        ResultError: it sent what are no rows.
    """
    deadline, said = began + benchmark.limit_s, time.monotonic()
    is_open = True
    while is_open:
        now = time.monotonic()
        if now >= deadline:
            raise TimeoutError
        if now - said >= EVERY_S:
            taken.notify(f"  {benchmark.name}: {now - began:.0f} s so far")
            said = now
        # One that it has started may hold the pipe open: its own end counts, once nothing is left to read.
        has_ended = process.poll() is not None
        ready, _, _ = select.select([source], [], [], 0 if has_ended else min(1.0, deadline - now))
        data = os.read(source, READ) if ready else b""
        is_open = bool(data) or not (ready or has_ended)
        if data:
            taken.add(data)
            said = time.monotonic()
            yield
    try:
        process.wait(max(deadline - time.monotonic(), 0.0))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None


def _failure(process: subprocess.Popen[bytes], words: str, log: Path) -> str:
    """Say why a process that has ended failed: what it raised, else its last words; "" where it did not."""
    if process.returncode == 0 and not words:
        return ""
    if not words and (lines := tail(log)):
        words = lines[-1].strip()
    return f"{words or 'it said nothing'} ({describe_status(process.returncode)})"[:2000]


def tail(log: Path) -> list[str]:
    """Return the last lines of what a benchmark has printed, safe to print."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    return printable_lines(text.rstrip()).splitlines()[-TAIL_LINES:]
