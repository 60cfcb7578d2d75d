"""Types of the decision in evidence.json: which backend to deploy, why not the others, and what would change that.

``harness.decision`` makes it of the cells alone, so whoever reads the evidence can make it again.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .entry import Count, Entry, Figure, Sha256, VerdictText


class OutEntry(Entry):
    """A cell that may not be taken: what put it out, and by how much."""

    backend: str
    verdict: VerdictText
    metric: Annotated[str | None, Field(description="null where no metric did, such as for a cell that cannot run")]
    reason: Annotated[str, Field(description="in words")]
    found: Annotated[Figure | None, Field(description="what was judged; null where there is no figure")] = None
    limit: Figure | None = None
    needed: Annotated[Figure | None, Field(description="what it would have to reach; null if nobody can tell")] = None


class StepEntry(Entry):
    """One step of the elimination: a preferred metric, and which cells are left behind it."""

    metric: str
    best: Annotated[Figure | None, Field(description="the best bound among the cells that were left; null if skipped")]
    kept: list[str]
    dropped: list[str]
    skipped: Annotated[str | None, Field(description="why the metric decided nothing; null where it did")] = None


class HeadroomEntry(Entry):
    """How far a bound of the cell that is taken is from a limit."""

    metric: str
    bound: Figure
    limit: Figure
    percent: Annotated[Figure | None, Field(description="of the limit that is left; null for a limit of 0")]


class ChangeEntry(Entry):
    """Something that would change the decision, found by deciding again on changed evidence."""

    kind: Annotated[
        Literal["mended", "number", "preference"],
        Field(description="failed checks that pass; one figure moved; another metric put first"),
    ]
    backend: Annotated[str, Field(description="the cell that is changed")]
    taken: Annotated[str | None, Field(description="what would be taken then; null for nothing")]
    metric: Annotated[str | None, Field(description="whose figure moves, or which is put first")] = None
    checks: Annotated[list[str], Field(description="that would have to pass")] = []
    value: Annotated[Figure | None, Field(description="to which the figure moves")] = None
    percent: Annotated[float | None, Field(description="how far it moves, of what it is")] = None
    text: Annotated[str, Field(description="in a sentence")]


class DecisionEntry(Entry):
    """Of one model on one device: which backend is taken."""

    model: str
    device: str
    emulated: bool = False
    model_sha256: Sha256 | None = None
    prefer: Annotated[list[str], Field(description="the metrics, in the order in which they eliminate")]
    within_percent: Annotated[float, Field(ge=0, description="of the best bound, that are as good as it")]
    taken: Annotated[str | None, Field(description="the backend to deploy; null where none may be")]
    tied: Annotated[list[str], Field(description="others that nothing tells from it")] = []
    sentence: Annotated[str, Field(description="the decision in a sentence")]
    order: Annotated[list[str], Field(description="the cells that are not out, best first")] = []
    without_limit: Annotated[list[str], Field(description="of these, not to be taken: they had no limit to keep")] = []
    steps: list[StepEntry] = []
    headroom: list[HeadroomEntry] = []
    out: list[OutEntry] = []
    changes: Annotated[list[ChangeEntry], Field(description="nearest first")] = []
    notes: list[str] = []
    cells: Annotated[Count, Field(description="how many were looked at")] = 0
