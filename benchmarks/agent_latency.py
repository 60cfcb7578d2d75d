"""The agent's p50 of a model ÷ that of a bare loop around the same runtime, block by block in turn.

Two processes of one program differ by more than what is looked for. Where their memory happens to lie decides over a
few per cent: with a large model, glibc gives memory back and faults it in again at every inference in one process (13
thousand pages of vit_base under TorchScript, 7 %), never in the next. So several groups of fresh processes are
compared, and beside each agent runs not one bare loop but two: what differs between these is noise, and is shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass

from .support import bare_loop
from .support.deploy import BACKENDS, IN_PLACE, Prepared, prepare
from .support.interleave import Block, interleave, median_of, one_cpu, ratios
from .support.row import RATIO, Aim, Options, Row
from .support.served import served_blocks

LIMIT_S = 7200

AIM = Aim(low=0.98, high=1.02)


@dataclass(frozen=True)
class Plan:
    """How much is measured: blocks of about so long, so many rounds of them, so many groups of fresh processes.

    Slow models in short blocks: on a busy machine the nearest neighbours in time are the fairest.
    """

    example: str
    block_ns: float
    rounds: int
    groups: int


PLANS = (
    Plan("digits", block_ns=20e6, rounds=20, groups=9),
    Plan("vit_base", block_ns=0.5e9, rounds=4, groups=5),
)
# It writes into its input, which has to be written anew. ONNX has no such graphs.
IN_PLACE_PLAN = Plan("in_place", block_ns=20e6, rounds=20, groups=9)


def run(options: Options) -> Iterator[Row]:
    """Yield a ratio and its noise for each model and backend."""
    for plan in PLANS:
        for backend in BACKENDS if plan.example != "vit_base" or not options.quick else ():
            yield from rows(plan, prepare(plan.example, backend), "the agent", _bare, AIM)
    yield from rows(IN_PLACE_PLAN, prepare("in_place", "torchscript"), "the agent", _bare, AIM)


@dataclass(frozen=True)
class Group:
    """What one group of processes showed: ratios round by round, medians of all samples."""

    ratios: list[float]
    noise: list[float]
    agent_ns: float
    bare_ns: float
    samples: int


Bare = Callable[[Prepared], AbstractContextManager[Callable[[int], Block]]]


def rows(plan: Plan, prepared: Prepared, who: str, bare: Bare, aim: Aim) -> Iterator[Row]:
    """Yield the ratio and its noise of one model and backend; ``bare`` starts a bare loop in a process of its own."""
    groups = [_group(plan, prepared, bare) for _ in range(plan.groups)]
    name = f"{plan.example} on {prepared.cell.backend.name}"
    ratio = statistics.median(ratio for group in groups for ratio in group.ratios)
    noise = statistics.median(ratio for group in groups for ratio in group.noise)
    details = {
        "groups": [asdict(group) for group in groups],
        "agent_p50_us": statistics.median(group.agent_ns for group in groups) / 1e3,
        "bare_p50_us": statistics.median(group.bare_ns for group in groups) / 1e3,
    }
    each = [statistics.median(group.ratios) for group in groups]
    against = f"bare loop, own process; {len(each)} groups: {min(each):.3f} … {max(each):.3f}"
    yield Row(f"{name}: {who}'s p50", ratio, RATIO, against, aim, details, each)
    others = [statistics.median(group.noise) for group in groups]
    yield Row(f"{name}: noise of that", noise, RATIO, "bare loop ÷ another bare loop", rounds=others)


def _group(plan: Plan, prepared: Prepared, bare_loop: Bare) -> Group:
    """One agent and two bare loops, alive together, working in turn."""
    sets = prepared.sets
    with one_cpu(), prepared.deployed() as deployment, bare_loop(prepared) as bare, bare_loop(prepared) as other:
        warm = deployment.warm_up(sets, budget_s=30.0)
        count = max(round(plan.block_ns / warm["median_ns"]), 1)

        def agent() -> Block:
            durations: Block = deployment.measure(sets, count, budget_s=300.0)[0].tolist()
            return durations

        blocks = interleave(plan.rounds, agent, lambda: bare(count), lambda: other(count))
    both = [[*one, *two] for one, two in zip(blocks[1], blocks[2], strict=True)]
    return Group(
        ratios(blocks[0], both),
        ratios(blocks[1], blocks[2]),
        median_of(blocks[0]),
        median_of(both),
        sum(map(len, blocks[0])),
    )


@contextmanager
def _bare(prepared: Prepared) -> Iterator[Callable[[int], Block]]:
    """Start a bare loop in a process of its own; what is handed out takes a number of inferences."""
    restore = ["restore"] * (prepared.cell.file.name in IN_PLACE)
    with served_blocks(prepared, [bare_loop.__file__, prepared.cell.backend.name], restore) as block:
        # The agent's blocks, too, begin with one that is not timed.
        yield lambda count: block(count + 1)[1:]
