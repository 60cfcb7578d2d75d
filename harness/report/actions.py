"""What GitHub Actions shows of a run: the decision in the job's summary, and an annotation for each failing cell.

An annotation is a workflow command in the job's log (docs.github.com, "Workflow commands for GitHub Actions"):

    ::error file=models/net.py,line=12,title=…::…

The runner takes ten of a kind from a step, in the order in which they come, and shows no more.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from ..checks.check import Verdict
from ..printable import printable, printable_lines
from .formats.github import MOST_BYTES, render_within
from .reasons import reasons_of
from .report import Report, ReportCell, Section

# GitHub sets these for each step (docs.github.com, "Variables").
RUNS_IN = "GITHUB_ACTIONS"
SUMMARY = "GITHUB_STEP_SUMMARY"
WORKSPACE = "GITHUB_WORKSPACE"
MOST_ANNOTATIONS = 10
# The most characters of an annotation, of which GitHub shows the beginning; and of a model file that is looked through.
MESSAGE = 3_000
MODEL_FILE = 1 << 20


def is_github(environ: Mapping[str, str]) -> bool:
    """Tell whether this is a job of GitHub Actions."""
    return environ.get(RUNS_IN) == "true"


def append_summary(report: Report, environ: Mapping[str, str]) -> str:
    """Append the report to the job's summary, as much of it as GitHub shows.

    Returns:
        Why it could not be, in a line; "" where it could.
    """
    named = environ.get(SUMMARY)
    if not named:
        return f"no job summary: {SUMMARY} is not set"
    try:
        # GitHub makes the file before the step; the flags keep a pipe from stopping the run, and a new file from
        # being left somewhere.
        descriptor = os.open(named, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "ab") as file:
            there = os.fstat(descriptor).st_size
            text = render_within(report, MOST_BYTES - there - 2)
            if not text:
                return f"no job summary: there is no room for it beside the {there} bytes that are there already"
            file.write(f"\n{text}\n".encode() if there else f"{text}\n".encode())
    except OSError as error:
        return f"no job summary: {printable(named)}: {error.strerror or error}"
    return ""


def error_commands(
    report: Report, files: Mapping[str, Path], environ: Mapping[str, str], refused: Collection[Verdict]
) -> Iterator[str]:
    """Yield a workflow command for each failing cell, ten at most, and then a line that counts the rest.

    Args:
        report: the run's.
        files: the model file of each model, by the model's name.
        environ: with the workspace, to which the paths are relative.
        refused: the verdicts that fail the run. A device that cannot be used fails it anyway.
    """
    failing = [
        (section, cell) for section in report.sections for cell in section.cells if _fails(cell, frozenset(refused))
    ]
    for section, cell in failing[:MOST_ANNOTATIONS]:
        yield _annotation(section, cell, files.get(cell.entry.model), environ)
    if left := failing[MOST_ANNOTATIONS:]:
        yield f"and {len(left)} more failing cells, of which GitHub shows no annotation"


def _fails(cell: ReportCell, refused: frozenset[Verdict]) -> bool:
    return cell.entry.verdict in refused or any(reason.what == "device" for reason in reasons_of([cell]))


def _annotation(section: Section, cell: ReportCell, path: Path | None, environ: Mapping[str, str]) -> str:
    properties = {}
    if path is not None and (place := _in_workspace(path, environ)):
        properties = {"file": place, "line": str(_line_of(path, _broken(cell)))}
    properties["title"] = f"{section.title}, {cell.name}: {cell.entry.verdict}"
    reasons = [
        f"{reason.what}: {reason.text}"
        for reason in reasons_of([cell])
        if reason.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INELIGIBLE)
    ]
    message = printable_lines("\n".join(reasons) or str(cell.entry.verdict), MESSAGE)
    shown = ",".join(f"{name}={_escaped_property(printable(text))}" for name, text in properties.items())
    return f"::error {shown}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _in_workspace(path: Path, environ: Mapping[str, str]) -> str:
    """Return a file's path as GitHub knows it; "" of one outside the repository."""
    workspace = environ.get(WORKSPACE)
    if not workspace:
        return ""
    whole, root = path.resolve(), Path(workspace).resolve()
    return str(whole.relative_to(root)) if whole.is_relative_to(root) else ""


def _broken(cell: ReportCell) -> str | None:
    """Return the metric of the first check that fails the cell and has a limit."""
    bad = (Verdict.FAIL, Verdict.INCONCLUSIVE)
    return next((check.metric for check in cell.entry.checks if check.verdict in bad and check.limit is not None), None)


def _line_of(path: Path, metric: str | None) -> int:
    """Find the line of a limit's key in a model file, or else that of ``model = Model(``; 1 where neither is found."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = file.read(MODEL_FILE).split("\n")
    except OSError:
        return 1
    key = re.escape(metric or "")
    places = [rf"""["']{key}(_min)?["']\s*:|\b{key}(_min)?\s*=[^=]"""] if metric else []
    for place in (*places, r"^model\s*(:[^=]*)?=[^=]"):
        for number, line in enumerate(lines, 1):
            if re.search(place, line) and not line.lstrip().startswith("#"):
                return number
    return 1
