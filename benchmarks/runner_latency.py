"""The C++ runner's p50 of a model ÷ that of a bare C++ loop around the same runtime, block by block in turn.

As agent_latency, and for its reasons: several groups of fresh processes, and beside each runner two bare loops, whose
difference is noise, and is shown.
"""

from __future__ import annotations

from collections.abc import Iterator

from .agent_latency import IN_PLACE_PLAN, PLANS, rows
from .support.bare_native import bare_native
from .support.deploy import NATIVE_BACKENDS, prepare
from .support.row import Aim, Options, Row

NEEDS = ("runners",)
LIMIT_S = 7200

AIM = Aim(low=0.99, high=1.01)


def run(options: Options) -> Iterator[Row]:
    """Yield a ratio and its noise for each model and backend."""
    for plan in PLANS:
        for backend in NATIVE_BACKENDS if plan.example != "vit_base" or not options.quick else ():
            yield from rows(plan, prepare(plan.example, backend), "the runner", bare_native, AIM)
    yield from rows(IN_PLACE_PLAN, prepare("in_place", "libtorch"), "the runner", bare_native, AIM)
