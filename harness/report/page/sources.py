"""How it was measured: of each evidence file when, by which hilgate, of which commit, with which files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...evidence.schema import RunEntry
from ..report import Source
from .cells import bounded
from .table import kind_of
from .text import joined, name_of

# So much of a commit's or a file's hash tells it from others, where a person reads it.
SHORT_HASH = 12


@dataclass(frozen=True, kw_only=True)
class Run:
    """An evidence file: its path, its verdict, and how it came about, (what, in words)."""

    name: str
    started: str
    verdict: str
    kind: str
    facts: tuple[tuple[str, str], ...]


def make_run(source: Source) -> Run:
    """Say in words how a run came about."""
    run = source.run
    facts = (*_facts(run), ("not in it", joined(bounded([name_of(key) for key in source.lacks]))))
    return Run(
        name=name_of(source.name),
        started=name_of(run.started),
        verdict=str(run.verdict),
        kind=kind_of(run.verdict),
        facts=tuple((what, said) for what, said in facts if said),
    )


def short_commit(run: RunEntry) -> str:
    """Return so much of a commit as a person compares, and that there were changes behind it; "" without one."""
    commit, plus, changes = (run.commit or "").partition("+")
    return name_of(commit[:SHORT_HASH] + plus + changes)


def _facts(run: RunEntry) -> Iterator[tuple[str, str]]:
    yield "measured by", name_of(run.tool)
    yield "from", joined((name_of(run.started), f"to {name_of(run.finished)}" if run.finished else "not ended"))
    yield "commit", name_of(run.commit or "")
    if (asked := run.asked) is not None:
        limit = f"at most {asked.time_limit_s:g} s of measuring each cell" if asked.time_limit_s is not None else ""
        seed = f"seed {asked.seed}" if asked.seed is not None else ""
        chosen = f"-k {name_of(asked.selected)}" if asked.selected else ""
        yield "asked", joined((limit, seed, chosen, "some tests only" if asked.narrowed else ""))
    if (time := run.harness) is not None:
        parts = (("on devices", time.device_s), ("in hilgate", time.harness_s), ("of it in exports", time.export_s))
        yield "time", joined(f"{seconds:.3g} s {where}" for where, seconds in parts if seconds is not None)
    files = [
        f"{name_of(file.path)} ({file.kind} {name_of(file.name)}, {file.sha256[:SHORT_HASH]})" for file in run.files
    ]
    yield "files", joined(bounded(files))
