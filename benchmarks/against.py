"""--against: false FAIL of equal builds in 40 runs, the interval's width by pairs, and a build with 10 % more layers.

The pairs are those of the product (measure.pairs), taken one after the other and cut into runs of 5, 8, 12 and 20:
200 pairs of equal builds are 40 runs of 5. The builds are equal to the last byte, so every FAIL is a false one; a build
with 44 layers in place of 40 takes some 9 to 10 % longer.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from harness.checks.check import Verdict, judge
from harness.deploy.content import content_of
from harness.deploy.deployer import Deployer
from harness.deploy.deployment import DeviceTime, Timeouts
from harness.measure.against import against
from harness.measure.measurement import Measurement
from harness.measure.pairs import MOST, Pairs, Plan, take_pairs

from .support.deploy import Prepared, prepare
from .support.row import Aim, Options, Row

LIMIT_S = 14400

BACKEND = "onnxruntime"
COUNTS = (5, 8, 12, 20)
# Takings of MOST pairs, with time for all of them.
EQUAL, QUICK_EQUAL, MORE = 10, 2, 2
TIME_LIMIT_S = 1200.0

Pair = tuple[Measurement, Measurement]


def run(options: Options) -> Iterator[Row]:
    """Yield false FAIL and width of equal builds, then how often ten per cent are found."""
    equal = _taken("layers", "layers", QUICK_EQUAL if options.quick else EQUAL)
    for count in COUNTS:
        verdicts, widths = _verdicts(equal, count), _half_widths(equal, count)
        failed = verdicts.count(Verdict.FAIL)
        left = f"{len(verdicts)} runs of {count} pairs; {verdicts.count(Verdict.PASS)} passed at 3 %"
        yield Row(f"equal builds: false FAIL, {count} pairs", failed, "runs", left, Aim(0))
        spread = f"median of them; {min(widths):.2f} … {max(widths):.2f}"
        yield Row(f"equal builds: half width, {count} pairs", statistics.median(widths), "%", spread)
    more = _taken("layers", "more_layers", 1 if options.quick else MORE)
    for count in COUNTS:
        verdicts = _verdicts(more, count)
        share = verdicts.count(Verdict.FAIL) / len(verdicts)
        left = f"of {len(verdicts)} runs of {count} pairs; {_estimates(more, count)}"
        yield Row(
            f"10 % more layers: FAIL, {count} pairs", 100 * share, "%", left, Aim(100, 100) if count == 20 else None
        )


def _taken(old: str, new: str, times: int) -> list[Pair]:
    """Take pairs of two builds; what the interval rests on is the pair, so takings are joined."""
    sides = [_deployer(prepare(name, BACKEND)) for name in (old, new)]
    content = content_of(sides[0].cell.file.model)
    pairs: list[Pair] = []
    for _ in range(times):
        taken = take_pairs(sides[0], sides[1], content, TIME_LIMIT_S, lambda done, plan: None)
        if len(taken.done) < MOST:
            raise AssertionError(taken.open or taken.impossible)
        pairs += taken.done
    return pairs


def _deployer(prepared: Prepared) -> Deployer:
    return Deployer(
        cell=prepared.cell,
        board=prepared.board,
        bundle=prepared.bundle,
        timeouts=Timeouts(),
        device_time=DeviceTime(),
    )


def _runs(pairs: Sequence[Pair], count: int) -> Iterator[Pairs]:
    """Cut pairs into runs of ``count``."""
    for start in range(0, len(pairs) - count + 1, count):
        plan = Plan(pairs=count, inferences=0, step=0, expected_s=0.0)
        yield Pairs(plan=plan, done=list(pairs[start : start + count]))


def _verdicts(pairs: Sequence[Pair], count: int) -> list[Verdict]:
    return [judge(against(one, None), []).verdict for one in _runs(pairs, count)]


def _half_widths(pairs: Sequence[Pair], count: int) -> list[float]:
    findings = [against(one, None) for one in _runs(pairs, count)]
    return [(found.bound - found.bound_low) / 2 for found in findings if found.bound and found.bound_low]


def _estimates(pairs: Sequence[Pair], count: int) -> str:
    values = [against(one, None).value or 0.0 for one in _runs(pairs, count)]
    return f"found {min(values):.1f} … {max(values):.1f} %"
