"""What `hilgate report` does: read evidence, make the report, and print it or write it to a file."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ..decision import WITHIN_PERCENT
from ..errors import InputError, StorageError
from ..evidence.folder import BUNDLES, FILE, JUNIT, PAGE, REPLAY, SAMPLES
from ..host.cache import write_atomically
from ..host.suggestion import did_you_mean
from ..measure import known_metrics
from ..parity import PARITY
from ..report.formats import format_names, load_format
from ..report.making import make_report, measured_metrics, read_sources
from ..report.preferring import checked_preferences
from ..report.report import Source
from .project import find_preferred, find_results


def show_report(
    evidence: Sequence[Path],
    *,
    style: str,
    output: Path | None,
    prefer: Sequence[str],
    within_percent: float | None,
) -> None:
    """Print or write a report of evidence files.

    Args:
        evidence: files or folders; empty for the project's own.
        style: the format's name.
        output: the file to write; None to print.
        prefer: metrics in their order; empty for those of pytest.ini, or else the default ones.
        within_percent: how far from the best still counts as good as it; None for the default.

    Raises:
        InputError: a file, the format, or a preference is not usable, or there is no cell.
        StorageError: the file cannot be written.
    """
    _check_format(style)
    if output is not None:
        _check_output(output)
    sources = read_sources(evidence or [find_results(Path.cwd())])
    if output is not None:
        _refuse_evidence(output, sources)
    within = WITHIN_PERCENT if within_percent is None else within_percent
    known = [*known_metrics(), PARITY.name, *measured_metrics(sources)]
    preferred = checked_preferences(prefer or find_preferred(Path.cwd()), within, known)
    report = make_report(sources, prefer=preferred, within_percent=within)
    if not report.sections:
        raise InputError(
            "there is nothing to report",
            wanted="evidence of at least one cell",
            found="no cells",
            where=", ".join(source.name for source in sources[:10]),
            hint="run the tests: pytest -m hil",
        )
    text = load_format(style)(report)
    if output is None:
        _print(text)
        return
    try:
        write_atomically(output, text)
    except StorageError as error:
        raise _unwritable(error.found, error.where) from error


def _check_format(style: str) -> None:
    if style not in (names := format_names()):
        raise InputError(
            "there is no format of this name",
            wanted=f"one of {', '.join(names)}",
            found=style,
            where="--format",
            hint=did_you_mean(style, names),
        )


def _check_output(output: Path) -> None:
    """Refuse a place where no file can be written: folders are not made, for one may be misspelled.

    A file that is there is replaced, so it must be one: to replace /dev/stdout would do harm.
    """
    if output.is_symlink() or (output.exists() and not output.is_file()):
        raise StorageError(
            "the report cannot be written: there is something else than a file",
            wanted="a file, or nothing of that name",
            found="a link" if output.is_symlink() else "a folder" if output.is_dir() else "no regular file",
            where=str(output),
            hint="name a file; or leave --output out, and it is printed",
        )
    if not output.parent.is_dir():
        raise StorageError(
            "the report cannot be written: its folder is not there",
            wanted="a folder",
            found="nothing of that name",
            where=str(output.parent),
            hint="make it, or correct its name",
        )


def _refuse_evidence(output: Path, sources: Sequence[Source]) -> None:
    """Refuse to replace what the report is made of, or another file of a run's but its page."""
    place = output.resolve()
    for source in sources:
        folder = source.folder.resolve()
        named = (folder / name for name in (source.file, FILE, JUNIT))
        within = (folder / name for name in (SAMPLES, REPLAY, BUNDLES))
        if place in named or any(place.is_relative_to(each) for each in within):
            hint = f"name another file, such as {source.folder / PAGE}"
            what = "the report would replace a part of the evidence"
            raise InputError(what, wanted="a file of its own", where=str(output), hint=hint)


def _unwritable(found: str, where: str) -> StorageError:
    hint = "free some space, or name another file: --output FILE"
    return StorageError("the report cannot be written", found=found, where=where, hint=hint)


def _print(text: str) -> None:
    """Print a report in the encoding that stdout has; what that lacks becomes a question mark."""
    encoding = sys.stdout.encoding or "ascii"
    try:
        click.echo(text.encode(encoding, "replace").decode(encoding), nl=not text.endswith("\n"))
    except OSError as error:
        if error.errno == errno.EPIPE:  # as in "| head": click ends quietly
            raise
        raise _unwritable(error.strerror or str(error), "standard output") from error
