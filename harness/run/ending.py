"""The end of a run: the decision, the evidence's last word, the page beside it, and what GitHub shows.

None but the evidence is a verdict: whatever else goes wrong here is said in a line, and never changes the run's exit
status. The page takes seconds to make, so it is made first: a run that is killed meanwhile has not passed, and its page
does not say so, either. What the page needs (Jinja2,
vl-convert) is imported here and not before: while something is measured, nothing of it takes memory or time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..errors import StorageError
from ..evidence.folder import PAGE
from ..host.cache import write_atomically
from ..host.shown_path import shown_path
from ..printable import printable
from ..report.actions import append_summary, error_commands, is_github
from ..report.formats import load_format
from ..report.making import make_report
from ..report.report import Report, Source
from .run import Run

NO_PAGE = "report: could not be made"


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What a run ends with.

    Attributes:
        report: what its tables are made of; None where it could not be made.
        remarks: where the page is, and what could not be made.
        commands: for GitHub Actions, to be printed as they are; empty elsewhere.
    """

    report: Report | None
    remarks: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def conclude(run: Run, *, is_interrupted: bool) -> Ending:
    """Decide, write the evidence with its verdict and the decision, then the page, and tell GitHub.

    Args:
        run: one whose evidence is finished, and not written since.
        is_interrupted: whether somebody waits for it to end: then the page is left out.

    Raises:
        StorageError: the evidence cannot be written.
    """
    ending = look_at(run)
    report = ending.report
    if report is None or not report.sections:  # of no cell there is nothing to show
        run.evidence.write()
        return ending
    page, problem = "", _left_out(run)
    if not is_interrupted:
        page, problem = _tried(lambda: load_format("html")(report), NO_PAGE)
    remarks = [*ending.remarks, *_store(run, report), problem or _write_page(run, page)]
    commands: list[str] = []
    if is_github(os.environ):
        remarks += filter(None, [_said(lambda: append_summary(report, os.environ), "no job summary")])
        files = {cell.key[0]: cell.file.path for cell in run.cells}
        refused = run.options.refused
        commands += _said(lambda: "\n".join(error_commands(report, files, os.environ, refused)), "").split("\n")
    return Ending(report=report, remarks=tuple(remarks), commands=tuple(filter(None, commands)))


def _store(run: Run, report: Report) -> list[str]:
    """Write the evidence with the decision; return why it was left out there, if so. Raises: StorageError."""
    run.evidence.decision = [section.decision for section in report.sections]
    try:
        run.evidence.write()
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001  # a defect of ours: the evidence is whole without the decision
        run.evidence.decision = []
        run.evidence.write()
        return [f"the decision could not be stored: {type(error).__name__}: {printable(str(error))}"]
    return []


def look_at(run: Run) -> Ending:
    """Make the report of a run as its evidence is now, and write nothing."""
    made: list[Report] = []

    def make() -> str:
        made.append(_report_of(run))
        return ""

    problem = _said(make, "the tables cannot be shown")
    return Ending(report=made[0] if made else None, remarks=(problem,) if problem else ())


def _report_of(run: Run) -> Report:
    source = Source(folder=run.evidence.folder, run=run.evidence.make_entry())
    report = make_report([source], prefer=run.options.prefer, within_percent=run.options.within_percent)
    descriptions = {cell.key[1]: cell.device.description for cell in run.cells}
    sections = [
        replace(section, description=descriptions.get(section.cells[0].entry.device, "")) for section in report.sections
    ]
    return replace(report, sections=tuple(sections))


def _write_page(run: Run, page: str) -> str:
    path = run.evidence.folder / PAGE

    def write() -> str:
        write_atomically(path, page)
        return f"report: {shown_path(path)}"

    return _said(write, NO_PAGE)


def _left_out(run: Run) -> str:
    folder = shown_path(run.evidence.folder)
    by_hand = f"hilgate report {folder} --format html --output {folder}/{PAGE} makes it"
    return f"report: left out, for the run was interrupted; {by_hand}"


def _said(work: Callable[[], str], problem: str) -> str:
    """Return what some work says, or in a line why it came to nothing."""
    said, line = _tried(work, problem)
    return line or said


def _tried(work: Callable[[], str], problem: str) -> tuple[str, str]:
    """Return what some work makes, and "" behind it; or "", and in a line why it came to nothing."""
    try:
        return work(), ""
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  # a library's panic is no Exception; none of it is the run's fault
        first = printable(str(error).partition("\n")[0])
        return "", f"{problem or 'no annotations'}: {type(error).__name__}: {first}"
