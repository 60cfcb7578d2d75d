"""What would change the decision, found by deciding again on changed evidence; nearest first."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..evidence.decision_entry import ChangeEntry
from . import wording
from .changed import can_be_mended, mended, moved
from .elimination import first
from .figures import Better
from .moving import Moved
from .ranking import Ranking
from .standing import Standing, disagree, stand
from .what_if import Mover, Movers, is_matter_of_number

# So many figures of cells that are not taken are told; those of a thousand cells nobody reads.
MOST_NUMBERS = 50
MOST_MENDED = 50


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search for changes goes by."""

    ranking: Ranking
    prefer: tuple[str, ...]
    better: tuple[Better | None, ...]

    def name(self, row: int | None) -> str | None:
        """Return the backend of a row."""
        return None if row is None else self.ranking.standings[row].entry.backend

    def decide_with(self, row: int, standing: Standing) -> str | None:
        """Decide with another cell in place of one; return the backend that is taken."""
        return self.name(self.ranking.take_with(row, standing.scores, may_be_taken=standing.may_be_taken))


def find_changes(ranking: Ranking, prefer: Sequence[str], better: Sequence[Better | None]) -> list[ChangeEntry]:
    """List what would change the decision.

    Nearest first: one check that would have to pass; figures, by how far they would have to move; several checks; and
    another order of preference, which changes nothing of the evidence.
    """
    search = Search(ranking=ranking, prefer=tuple(prefer), better=tuple(better))
    if disagree([standing.entry for standing in ranking.standings], prefer):
        # Which way is better would depend on who is out: what is found on one table would not hold of the evidence.
        return list(_preferences(search))
    mends = sorted(_mends(search), key=lambda change: (len(change.checks), change.backend))[:MOST_MENDED]
    single = [change for change in mends if len(change.checks) == 1]
    several = [change for change in mends if len(change.checks) > 1]
    return [*single, *sorted(_numbers(search), key=_distance), *several, *_preferences(search)]


def _distance(change: ChangeEntry) -> tuple[float, str, str]:
    return (math.inf if change.percent is None else change.percent), change.backend, change.metric or ""


def _mends(search: Search) -> Iterator[ChangeEntry]:
    """Yield cells that would change the decision if the checks that put them out passed."""
    taken = search.name(search.ranking.taken)
    for row, standing in enumerate(search.ranking.standings):
        checks = [problem.check for problem in standing.problems if problem.check is not None]
        if not checks or len(checks) < len(standing.problems) or not all(can_be_mended(check) for check in checks):
            continue
        if len(checks) == 1 and is_matter_of_number(checks[0]):
            continue
        changed = mended(standing.entry, {check.metric for check in checks})
        then = search.decide_with(row, stand(changed, search.prefer, search.better))
        if then != taken:
            yield ChangeEntry(
                kind="mended",
                backend=standing.entry.backend,
                taken=then,
                checks=[check.metric for check in checks],
                text=wording.mended(standing.entry.backend, then, checks),
            )


def _numbers(search: Search) -> Iterator[ChangeEntry]:
    """Yield figures that would change the decision: all of the cell that is taken, of others the nearest."""
    ranking = search.ranking
    movers = Movers(ranking=ranking, columns={name: at for at, name in enumerate(search.prefer)})
    found: list[tuple[Mover, Moved]] = []
    if ranking.taken is not None:
        both = [(mover, up) for mover in movers.of(ranking.taken) for up in (True, False)]
        found = [(mover, there) for mover, up in both if (there := mover.move(up=up)) is not None]
    for mover, there in [*found, *_nearest_of_others(ranking, movers)]:
        row = mover.row
        changed = stand(moved(mover.cell, mover.check.metric, there.figure), search.prefer, search.better)
        short = stand(moved(mover.cell, mover.check.metric, there.just_short), search.prefer, search.better)
        then = search.name(there.taken)
        # The search runs on a table; what is told must hold of the evidence itself.
        if search.decide_with(row, changed) == then and search.decide_with(row, short) == search.name(ranking.taken):
            yield _entry(search, mover, there)


def _nearest_of_others(ranking: Ranking, movers: Movers) -> list[tuple[Mover, Moved]]:
    """Find the MOST_NUMBERS figures of cells that are not taken with the least way to go until the decision changes.

    Whatever lies farther than what was found already is ruled out by one run of the rule, so a thousand cells take
    some thousand runs.
    """
    nearest: list[tuple[float, int, Mover, Moved]] = []
    ways = (way for row in range(len(ranking.standings)) if row != ranking.taken for way in movers.ways_of(row))
    for count, (mover, up) in enumerate(ways):
        most = -nearest[0][0] if len(nearest) == MOST_NUMBERS else math.inf
        there = mover.move(up=up, most=most)
        if there is not None and there.percent < most:
            heapq.heappush(nearest, (-there.percent, -count, mover, there))
            if len(nearest) > MOST_NUMBERS:
                heapq.heappop(nearest)
    return [(mover, there) for _, _, mover, there in nearest]


def _entry(search: Search, mover: Mover, there: Moved) -> ChangeEntry:
    backend, then = mover.cell.backend, search.name(there.taken)
    return ChangeEntry(
        kind="number",
        backend=backend,
        taken=then,
        metric=mover.check.metric,
        value=there.figure,
        percent=there.percent if math.isfinite(there.percent) else None,
        text=wording.number(backend, then, mover.check, mover.start, there.text),
    )


def _preferences(search: Search) -> Iterator[ChangeEntry]:
    """Yield the metrics that would change the decision if they came first."""
    ranking, columns = search.ranking, range(len(search.prefer))
    for column in columns[1:]:
        order = [column, *(other for other in columns if other != column)]
        then = first(ranking.scores[:, order], ranking.able, ranking.within)
        if then is not None and then != ranking.taken:
            backend, metric = ranking.standings[then].entry.backend, search.prefer[column]
            yield ChangeEntry(
                kind="preference",
                backend=backend,
                taken=backend,
                metric=metric,
                text=wording.preference(metric, backend),
            )
