"""Samples and seconds to a verdict on p99, and wrong verdicts at the limit, against fixed counts and naive looks.

Blocks of one inference are computed exactly (tests/support/verdict_chances.py), bursts are simulated as the slow test
does (tests/support/bursts.py). A figure of a latency's distribution is one of the share over the limit: nothing else
matters to the rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from harness.agent.frames import Array
from harness.checks.quantiles import CONFIDENCE, binomial_below, samples_needed, upper_rank
from harness.checks.sequential import is_broken, is_kept
from tests.support.bursts import Chain, draw_chain, fails, passes
from tests.support.verdict_chances import Chances, broken_until, chances, kept_from, walk

from .support.row import RATIO, Aim, Options, Row

ALLOWED, CAP = 0.01, 20_000
BLOCK_S = 0.1
CLEAN, FAR = Aim(1.15), Aim(0.2)  # × LoadGen's 459: a clean PASS, and a FAIL at four times the limit
RISK = Aim(1.0)  # per cent
EVERY, FIXED = 100, 1000
BURSTS, CHAINS, BLOCKS = (1, 3, 10, 30), 1000, 1000
NORMAL = NormalDist()


def _lognormal(times: float) -> float:
    return _above(NORMAL.inv_cdf(1 - ALLOWED) - math.log(times) / 0.1)


def _pareto(times: float) -> float:
    return min(ALLOWED * times**2, 1.0)


def _bimodal(times: float) -> float:
    """Compute it where 1.5 % take three times as long as the others, and each kind varies by 5 %."""
    slow, spread = 0.015, 0.05
    mode = -spread * NORMAL.inv_cdf(1 - ALLOWED / slow)  # of the slow ones, as a logarithm, where p99 is 1
    limit = -math.log(times)
    return slow * _above((limit - mode) / spread) + (1 - slow) * _above((limit - mode + math.log(3)) / spread)


def _above(deviations: float) -> float:
    return NORMAL.cdf(-deviations)


SHAPES: dict[str, Callable[[float], float]] = {"lognormal 0.1": _lognormal, "Pareto 2": _pareto, "bimodal": _bimodal}
TIMES = (0.25, 0.5, 0.9, 1.1, 2.0, 4.0)


@dataclass(frozen=True)
class Rule:
    """When a rule keeps and breaks a limit on p99: after each sample, by how many were slow; see walk."""

    few: Array
    many: Array
    size: int

    def chances(self, share: float) -> Chances:
        """Compute how likely its verdicts are, where samples are independent."""
        return walk(share, self.few, self.many, self.size)


def run(options: Options) -> Iterator[Row]:
    """Yield samples to a verdict, then wrong verdicts; with --quick a tenth of the bursts."""
    yield from _clean()
    for shape, share_at in SHAPES.items():
        for times in TIMES:
            yield _to_a_verdict(f"{shape}, p99 at {times:g} × the limit", share_at(times), times)
    yield from _seconds(20 if options.quick else 200)
    yield from _independent()
    for mean_burst in BURSTS:
        yield from _bursts(mean_burst, CHAINS // 10 if options.quick else CHAINS)


def _clean() -> Iterator[Row]:
    needed = kept_from(ALLOWED, 1800)
    for slow in (0, 1, 2):
        theirs = samples_needed(1 - ALLOWED, slow)
        what, against = f"{slow} slow: {needed[slow]} blocks to PASS", f"LoadGen's {theirs}, looked at once"
        yield Row(what, needed[slow] / theirs, RATIO, against, None if slow else CLEAN)


def _to_a_verdict(what: str, share: float, times: float) -> Row:
    found = _bets(share)
    rules = {f"{FIXED} fixed": _looking((FIXED,)), f"looks each {EVERY}": _looking(tuple(range(EVERY, CAP + 1, EVERY)))}
    others = {name: rule.chances(share) for name, rule in rules.items()}
    once = (1 - share) ** samples_needed(1 - ALLOWED)
    told = [f"{_told(found)} of {share:.3g} slow", f"459: PASS {once:.0%}"]
    told += [f"{name}: {_told(each)}, {each.mean_blocks:.0f} on average" for name, each in others.items()]
    details = {"share": share, "blocks": found.mean_blocks, "seconds": found.mean_blocks * BLOCK_S}
    seconds = f"{found.mean_blocks:.0f} blocks, {details['seconds']:.0f} s"
    loadgen = samples_needed(1 - ALLOWED)
    aim = FAR if times >= 4 else None
    return Row(f"{what}: {seconds}", found.mean_blocks / loadgen, RATIO, "; ".join(told), aim, details)


def _told(found: Chances) -> str:
    return f"PASS {found.kept.sum():.1%}, FAIL {found.broken.sum():.1%}"


@cache
def _boundaries() -> tuple[list[int], list[int]]:
    return kept_from(ALLOWED, CAP), broken_until(ALLOWED, CAP)


def _bets(share: float) -> Chances:
    return chances(share, *_boundaries(), CAP)


@cache
def _looking(looks: tuple[int, ...]) -> Rule:
    """Return order statistics, looked at after so many samples: kept by the upper bound, broken by the lower."""
    counts = np.array([_counts(look) for look in looks])
    size = int(counts.max()) + 2
    few, many = np.zeros(looks[-1], np.int64), np.full(looks[-1], size)
    few[np.array(looks) - 1], many[np.array(looks) - 1] = counts.T
    return Rule(few, many, size)


def _counts(look: int) -> tuple[int, int]:
    rank = upper_rank(look, 1 - ALLOWED)
    # As many are slow with a probability of at most 1 %, where p99 is at the limit.
    many = int(np.searchsorted(binomial_below(look, ALLOWED), CONFIDENCE)) + 1
    return (look - rank + 1 if rank else 0), many


def _seconds(runs: int) -> Iterator[Row]:
    """Yield what a model takes whose inferences last 10 ms: blocks of ten, simulated."""
    random = np.random.default_rng(19)
    for times in TIMES:
        share = _pareto(times)
        seconds = [_seconds_of(random.binomial(10, share, CAP // 4) / 10) for _ in range(runs)]
        told = f"0.01 s an inference, blocks of ten; {runs} runs, at most {CAP // 4 * BLOCK_S:.0f} s"
        yield Row(f"Pareto 2, p99 at {times:g} × the limit: mean time", float(np.mean(seconds)), "s", told)


def _seconds_of(shares: Array) -> float:
    """Bisect for the first verdict: one that was reached stays."""
    low, high = 0, len(shares)
    while high - low > 1:
        middle = (low + high) // 2
        if is_kept(shares[:middle], ALLOWED) or is_broken(shares[:middle], ALLOWED):
            high = middle
        else:
            low = middle
    return high * BLOCK_S


def _independent() -> Iterator[Row]:
    naive = _looking(tuple(range(EVERY, CAP + 1, EVERY))).chances(ALLOWED)
    fixed, own = _looking((FIXED,)).chances(ALLOWED), _bets(ALLOWED)
    for verdict in ("kept", "broken"):
        name = {"kept": "PASS", "broken": "FAIL"}[verdict]
        mine, theirs, once = (100 * float(getattr(each, verdict).sum()) for each in (own, naive, fixed))
        against = f"looks each {EVERY}: {theirs:.1f} %; {FIXED} fixed: {once:.2f} % (up to {CAP} samples, exact)"
        yield Row(f"at the limit, independent: {name}", mine, "%", against, RISK)


def _bursts(mean_burst: int, count: int) -> Iterator[Row]:
    for longer, at_most in ((1, 2.0), (3, 1.0)):
        size = longer * mean_burst
        random = np.random.default_rng([20, mean_burst, size])
        length = BLOCKS * (size if mean_burst == 1 else max(10 * mean_burst, size))
        drawn = [draw_chain(random, ALLOWED, mean_burst, length) for _ in range(count)]
        passed = 100 * float(np.mean([passes(chain, ALLOWED, size) for chain in drawn]))
        failed = 100 * float(np.mean([fails(chain, ALLOWED, size) for chain in drawn[: count // 5]]))
        rules = {f"{FIXED} fixed": (FIXED,), f"looks each {EVERY}": tuple(range(EVERY, CAP + 1, EVERY))}
        told = [f"{name} {_passed(drawn, looks):.0%}" for name, looks in rules.items()]
        what = f"at the limit, bursts of {mean_burst}, blocks of {size}"
        yield Row(f"{what}: PASS", passed, "%", "; ".join(told), Aim(at_most))
        yield Row(f"{what}: FAIL", failed, "%", f"of {count // 5} chains")


def _passed(drawn: list[Chain], looks: tuple[int, ...]) -> float:
    """Compute how many chains order statistics pass, at one of the looks that the chain lasts for."""
    rule = _looking(looks)
    places = np.array(looks)
    each = [chain.slow_before(places[places <= chain.count]) for chain in drawn]
    return float(np.mean([np.any(slow < rule.few[places[: len(slow)] - 1]) for slow in each]))
