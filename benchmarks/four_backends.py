"""The four ways of running a model side by side on this machine: latency, memory, load time, and what a board is sent.

All four are alive together and work in turn, on one CPU. Expected from what was measured before this was built
(medians): LibTorch in C++ ≤ 0.95 × torch.jit from Python and ≤ 0.6 × its memory; ONNX Runtime from C ≤ 0.7 × the memory
of ONNX Runtime from Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from harness.backends import load_backend
from harness.bundle.planning import plan_runtime
from harness.deployment import Deployment
from harness.device import load_device
from harness.measure import known_metrics

from .agent_latency import PLANS, Plan
from .support.deploy import BACKENDS, NATIVE_BACKENDS, ROOT, Prepared, prepare
from .support.interleave import Block, interleave, median_ratio, one_cpu
from .support.row import RATIO, Aim, Options, Row

ALL = (*BACKENDS, *NATIVE_BACKENDS)
LATENCY_AIM, MEMORY_AIMS = Aim(0.95), {"libtorch": Aim(0.6), "onnxruntime-cpp": Aim(0.7)}
PYTHON = {"libtorch": "torchscript", "onnxruntime-cpp": "onnxruntime"}
LOADS = 3
LSTM = Plan("lstm", block_ns=50e6, rounds=20, groups=3)
BOARD = {"arch": "aarch64", "python": "3.11.2", "libc": "glibc-2.36", "packages": {}, "folders": {}}


@dataclass(frozen=True)
class Side:
    """What one backend showed: blocks of durations in nanoseconds, peaks in MiB, load times in seconds."""

    blocks: Sequence[Block]
    peak_mib: float
    load_s: float

    def quantile_ms(self, quantile: float) -> float:
        """Of all durations."""
        return float(np.quantile(np.concatenate([np.asarray(block) for block in self.blocks]), quantile)) / 1e6


def run(options: Options) -> Iterator[Row]:
    """Ratios with aims, then each backend's own figures as information."""
    for plan in (PLANS[0], LSTM, PLANS[1]):
        if plan.example != "vit_base" or not options.quick:
            yield from _rows(plan, {name: prepare(plan.example, name) for name in ALL})


def _rows(plan: Plan, prepared: Mapping[str, Prepared]) -> Iterator[Row]:
    sides = _measured(plan, prepared)
    for native, python in PYTHON.items():
        one, other = sides[native], sides[python]
        latency = median_ratio(one.blocks, other.blocks)
        aim = LATENCY_AIM if native == "libtorch" else None
        yield Row(f"{plan.example}: {native}'s p50", latency, RATIO, f"{python}'s", aim)
        memory = one.peak_mib / other.peak_mib
        yield Row(f"{plan.example}: {native}'s peak memory", memory, RATIO, f"{python}'s", MEMORY_AIMS[native])
    for name, side in sides.items():
        figures = f"p50 {side.quantile_ms(0.5):.4g} ms, load {side.load_s:.3g} s, peak {side.peak_mib:.0f} MiB"
        sent = f"a Pi 4 is sent {_sent_mib(prepared[name]):.1f} MiB"
        yield Row(f"{plan.example} on {name}: p99", side.quantile_ms(0.99), "ms", f"{figures}; {sent}")


def _measured(plan: Plan, prepared: Mapping[str, Prepared]) -> dict[str, Side]:
    loads = {name: [_load_s(one) for _ in range(LOADS)] for name, one in prepared.items()}
    with ExitStack() as stack:
        stack.enter_context(one_cpu())
        live = {name: stack.enter_context(one.deployed()) for name, one in prepared.items()}
        blocks = interleave(plan.rounds, *(_side(plan, live[name], prepared[name]) for name in prepared))
        peaks = {name: deployment.memory_kib()["peak"] / 1024 for name, deployment in live.items()}
    pairs = zip(prepared, blocks, strict=True)
    return {name: Side(found, peaks[name], min(loads[name])) for name, found in pairs}


def _load_s(prepared: Prepared) -> float:
    """From the process's start to the first inference done."""
    with prepared.deployer() as deployer:
        return deployer.fresh()[1].load_ns / 1e9


def _side(plan: Plan, deployment: Deployment, prepared: Prepared) -> Callable[[], Block]:
    sets = prepared.sets
    count = max(round(plan.block_ns / deployment.warm_up(sets, budget_s=30.0)["median_ns"]), 1)

    def block() -> Block:
        durations: Block = deployment.measure(sets, count, budget_s=300.0)[0].tolist()
        return durations

    return block


def _sent_mib(prepared: Prepared) -> float:
    """Runtime and artifact, compressed as they travel, to a board that has nothing yet."""
    device = load_device("pi4", (ROOT / "devices",), known_metrics().values())
    backend = load_backend(prepared.cell.backend.name)
    runtime = plan_runtime(device, backend, BOARD, lambda line: None)
    artifact = sum(file.bytes for path, file in prepared.bundle.files.items() if path.startswith("artifact/"))
    return (sum(archive.bytes for archive in runtime.archives) + artifact) / 2**20
