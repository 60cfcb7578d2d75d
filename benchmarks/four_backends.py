"""The four ways of running a model side by side on this machine: latency, memory, load time, and what a board is sent.

All are alive together and work in turn, on one CPU, in several groups of fresh processes: glibc gives the freed top of
a heap back and faults it in again, in some processes at every inference, which made LibTorch's LSTM 1.45 times slower
in half of them; with its option ``heap = "keep"`` in none. Expected from what was measured before this was built
(medians): LibTorch in C++ ≤ 0.95 × torch.jit from Python and ≤ 0.6 × its memory; ONNX Runtime from C ≤ 0.7 × the memory
of ONNX Runtime from Python.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from harness.backends import load_backend
from harness.bundle.planning import plan_runtime
from harness.deploy.deployment import Deployment
from harness.device import load_device
from harness.measure import known_metrics
from harness.protocol import Target

from .agent_latency import PLANS, Plan
from .support.deploy import BACKENDS, NATIVE_BACKENDS, ROOT, Prepared, prepare
from .support.interleave import Block, interleave, median_ratio, one_cpu
from .support.row import RATIO, Aim, Options, Row

NEEDS = ("network", "runners")
LIMIT_S = 7200

KEPT = "libtorch, heap kept"
LATENCY_AIM, MEMORY_AIMS = Aim(0.95), {"libtorch": Aim(0.6), KEPT: Aim(0.6), "onnxruntime-cpp": Aim(0.7)}
PYTHON = {"libtorch": "torchscript", KEPT: "torchscript", "onnxruntime-cpp": "onnxruntime"}
GROUPS = 5
LSTM = Plan("lstm", block_ns=50e6, rounds=20, groups=5)
BOARD = Target(arch="aarch64", python="3.11.2", libc="glibc-2.36")


@dataclass(frozen=True)
class Side:
    """What one backend showed: its processes' durations in nanoseconds, peaks in MiB, load times in seconds."""

    processes: Sequence[Block]
    peak_mib: float
    load_s: float


def run(options: Options) -> Iterator[Row]:
    """Ratios with aims, then each backend's own figures as information."""
    for plan in (PLANS[0], LSTM, PLANS[1]):
        if plan.example != "vit_base" or not options.quick:
            sides = {name: prepare(plan.example, name) for name in (*BACKENDS, *NATIVE_BACKENDS)}
            yield from _rows(plan, {**sides, KEPT: _with_heap_kept(sides["libtorch"])})


def _with_heap_kept(prepared: Prepared) -> Prepared:
    device = replace(prepared.cell.device, options={"libtorch": {"heap": "keep"}})
    return replace(prepared, cell=replace(prepared.cell, device=device))


def _rows(plan: Plan, prepared: Mapping[str, Prepared]) -> Iterator[Row]:
    groups = [_measured(plan, prepared) for _ in range(min(plan.groups, GROUPS))]
    for native, python in PYTHON.items():
        each = [median_ratio(group[native].processes, group[python].processes) for group in groups]
        aim = LATENCY_AIM if python == "torchscript" else None
        against = f"{python}'s; {len(each)} groups: {min(each):.3f} … {max(each):.3f}"
        yield Row(f"{plan.example}: {native}: p50", statistics.median(each), RATIO, against, aim, rounds=each)
        memory = [group[native].peak_mib / group[python].peak_mib for group in groups]
        what, aim = f"{plan.example}: {native}: peak memory", MEMORY_AIMS[native]
        yield Row(what, statistics.median(memory), RATIO, f"{python}'s", aim, rounds=memory)
    for name, one in prepared.items():
        durations = np.concatenate([np.concatenate(list(group[name].processes)) for group in groups]) / 1e6
        load_s = min(group[name].load_s for group in groups)
        peak = max(group[name].peak_mib for group in groups)
        figures = f"p50 {np.quantile(durations, 0.5):.4g} ms, load {load_s:.3g} s, peak {peak:.0f} MiB"
        against = f"{figures}; a Pi 4 is sent {_sent_mib(one):.1f} MiB"
        yield Row(f"{plan.example} on {name}: p99", float(np.quantile(durations, 0.99)), "ms", against)


def _measured(plan: Plan, prepared: Mapping[str, Prepared]) -> dict[str, Side]:
    with ExitStack() as stack:
        stack.enter_context(one_cpu())
        live = {name: stack.enter_context(one.loaded()) for name, one in prepared.items()}
        blocks = interleave(plan.rounds, *(_side(plan, live[name][0], prepared[name]) for name in prepared))
        peaks = {name: deployment.memory_kib()["peak"] / 1024 for name, (deployment, _) in live.items()}
    pairs = zip(prepared, blocks, strict=True)
    return {name: Side(found, peaks[name], live[name][1].load_ns / 1e9) for name, found in pairs}


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
    runtime = plan_runtime(device, backend, BOARD)
    artifact = sum(file.bytes for path, file in prepared.bundle.files.items() if path.startswith("artifact/"))
    return (sum(archive.bytes for archive in runtime.archives) + artifact) / 2**20
