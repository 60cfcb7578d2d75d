"""Limits on tails, judged where the right verdict is known: a model whose latency is made by an operator that sleeps.

The operator is ``acosh``, in all four backends: PyTorch and ONNX Runtime leave it to the C library of the machine, and
there a library is preloaded whose ``acosh(1 + ms)`` sleeps so many milliseconds before it answers. A sleep of 5 ms is
5 ms also on a machine that has other work, which a computation is not. So the quantiles are known by construction: as
many inputs as are drawn below a number are slow, or all inferences are in stretches of time that come again and again.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.agent.frames import Array
from harness.deploy.content import BLOCK
from harness.model.dimension import drawn_sizes
from tests.cases import told
from tests.support.sshd import Board, BoardServer

from .boards import FURNISHED, furnish, write_device
from .conftest import Outcome, Project

pytestmark = pytest.mark.slow

# Milliseconds of what is quick, and of what is slow. A sleep is never shorter, and on a busy machine may end late.
QUICK, SLOW = 1.8, 10.0
BURST_QUICK, BURST_SLOW = 2.0, 5.0
BACKENDS = ("torchscript", "libtorch", "onnxruntime", "onnxruntime-cpp")
# The share of inputs that are slow.
SHARE = 0.3
# Of each period the first part is slow: three inferences or four, and then eight that are quick.
PERIOD_MS, SLOW_PART_MS = 31.0, 15.0
BURST_SHARE = 0.28

# acosh(1 + ms) sleeps; acosh(1000 · quick + slow), both whole, sleeps for one of the two, as the clock says. The last
# 0.2 ms are spent looking at the clock, for a sleep ends late.
SLEEPING = """
#include <math.h>
#include <time.h>

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static void sleep_ms(double ms) {
    double end = now_ms() + ms;
    double left = end - 0.2 - now_ms();
    struct timespec span = {(time_t)(left / 1e3), (long)(1e6 * fmod(left, 1e3))};
    if (left > 0) nanosleep(&span, 0);
    while (now_ms() < end) {}
}

double acosh(double x) {
    if (x >= 1000) {
        x = fmod(now_ms(), PERIOD_MS) < SLOW_PART_MS ? 1 + fmod(x, 1000) : 1 + floor(x / 1000);
    }
    if (x > 1) sleep_ms(x - 1);
    return x < 1 ? NAN : log(x + sqrt(x * x - 1));
}

float acoshf(float x) { return (float)acosh(x); }
"""

MODEL = """
    import torch
    from harness import Input, Model

    class Net(torch.nn.Module):
        def forward(self, x):
            return torch.acosh({argument})

    model = Model(
        build=lambda: Net().eval(),
        inputs=[Input("x", {shape}, min_value=0, max_value=1)],
        limits={limits},
        {more}
    )
"""

# This machine, with blocks of one inference or a few: 515 of them, which a p99 takes, come in some seconds.
DESK = """
    extends = "local"

    [measure]
    block_ms = 4
"""


@dataclass(frozen=True, kw_only=True)
class Tail:
    """A model, and limits on it.

    Attributes:
        name: the model's.
        argument: what sleeps, as an expression in x.
        limits: as in the model file.
        reaches: by metric, (its true value as a multiple of the limit, the share over it by construction); of a rate,
            what is slow as a multiple of the deadline.
        cells: (device, backend) on which it is measured.
        shape: the input's, as the model file has it.
        more: further arguments there.
    """

    name: str
    argument: str
    limits: dict[str, float]
    reaches: dict[str, tuple[float, float]]
    cells: tuple[tuple[str, str], ...]
    shape: str = "(1,)"
    more: str = ""


def _rate(deadline_ms: float, rate: float) -> dict[str, float]:
    return {"deadline_ms": deadline_ms, "deadline_miss_rate": rate}


# The share of inferences that each metric allows over its limit; of a rate it is the limit.
ALLOWED = {"latency_p50_ms": 0.5, "latency_p90_ms": 0.1, "latency_p99_ms": 0.01}

# Of n rows: how many they are, which no exporter takes for a constant. Half of all sizes are slow.
ROWS = "torch.ones_like(x).sum()"
BY_SIZE = f"torch.where({ROWS} > 8, {1 + SLOW}, {1 + QUICK})"

TAILS = [
    Tail(
        name="singles",
        argument=f"torch.where(x < {SHARE}, {1 + SLOW}, {1 + QUICK})",
        limits={"latency_p50_ms": QUICK / 0.9, "latency_p90_ms": SLOW / 1.1, "latency_p99_ms": SLOW / 0.5}
        | _rate(SLOW / 2, 0.1),
        reaches={
            "latency_p50_ms": (0.9, SHARE),
            "latency_p90_ms": (1.1, SHARE),
            "latency_p99_ms": (0.5, 0),
            "deadline_miss_rate": (2, SHARE),
        },
        cells=tuple(("desk", backend) for backend in BACKENDS),
    ),
    Tail(
        name="bursts",
        argument=f"torch.clamp(x, min=1) * {1000 * BURST_QUICK + BURST_SLOW}",
        limits={"latency_p50_ms": BURST_QUICK / 0.5, "latency_p90_ms": BURST_SLOW / 2}
        | {"latency_p99_ms": BURST_SLOW / 1.1}
        | _rate(BURST_QUICK / 0.9, 0.5),
        reaches={
            "latency_p50_ms": (0.5, BURST_SHARE),
            "latency_p90_ms": (2, BURST_SHARE),
            "latency_p99_ms": (1.1, BURST_SHARE),
            "deadline_miss_rate": (0.9, BURST_SHARE),
        },
        cells=(("desk", "libtorch"), ("desk", "onnxruntime-cpp"), ("board", "torchscript"), ("board", "onnxruntime")),
    ),
    Tail(
        name="drawn",
        argument=BY_SIZE,
        limits={"latency_p90_ms": SLOW / 2},
        reaches={"latency_p90_ms": (2, 0.5)},
        cells=(("desk", "onnxruntime"), ("desk", "onnxruntime-cpp")),
        shape='("n",)',
        more='dims={"n": (1, 16)}, measure="drawn",',
    ),
    Tail(
        name="smallest",
        argument=BY_SIZE,
        limits={"latency_p90_ms": SLOW / 2},
        reaches={"latency_p90_ms": (2 * QUICK / SLOW, 0)},
        cells=(("desk", "onnxruntime-cpp"),),
        shape='("n",)',
        more='dims={"n": (1, 16)}, measure={"n": 1},',
    ),
]
CELLS = [pytest.param(tail, *cell, id=f"{tail.name}-{'-'.join(cell)}") for tail in TAILS for cell in tail.cells]

# What a program on the board sees of the environment that runs the tests: its packages, and the Python for them, which
# may lie where another user cannot pass. A C++ runner for a board would have to be compiled, which takes a minute.
BOARD = 'backends = ["torchscript", "onnxruntime"]'


def _preloaded(folder: Path) -> Path:
    """The library, compiled."""
    path = folder / "sleeping.so"
    sizes = [f"-DPERIOD_MS={PERIOD_MS}", f"-DSLOW_PART_MS={SLOW_PART_MS}"]
    words = ["gcc", "-O1", "-shared", "-fPIC", *sizes, "-x", "c", "-", "-o", str(path), "-lm"]
    subprocess.run(words, input=SLEEPING, text=True, check=True, timeout=60)
    return path


def _furnish(server: BoardServer) -> Path:
    """Give a board an environment that has the packages of this one, and the library; return the environment."""
    (server.home / ".bashrc").write_text(f"export LD_PRELOAD={_preloaded(server.home)}\n")
    return furnish(server)


@pytest.fixture(scope="module")
def done(cache_with_runners: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """All of them in one run, on this machine and on a board over SSH, whose shell preloads the library."""
    project = Project(tmp_path_factory.mktemp("tails"))
    project.write("pytest.ini", "[pytest]\n")
    for tail in TAILS:
        text = MODEL.format(argument=tail.argument, shape=tail.shape, limits=tail.limits, more=tail.more)
        project.write(f"{tail.name}.py", text)
    with BoardServer(Board(mounts=FURNISHED)) as server:
        write_device(project.folder, server, runtime=f'environment = "{_furnish(server)}"')
        board = project.folder / "devices/board.toml"
        board.write_text(board.read_text().replace('backends = ["onnxruntime"]', BOARD))
        project.write("devices/desk.toml", DESK)
        project.environment |= {"HOME": str(project.folder), "LD_PRELOAD": str(_preloaded(project.folder))}
        models = [f"--model={tail.name}.py" for tail in TAILS]
        cells = " or ".join(f"{tail.name}-{device}-{backend}]" for tail in TAILS for device, backend in tail.cells)
        chosen = ["-k", f"(latency or deadline) and ({cells})", "--time-limit", "60"]
        yield project.run_command(project.command(*models, "--device", "desk", "--device", "board", *chosen), 900)


def _cell(outcome: Outcome, tail: Tail, device: str, backend: str) -> dict[str, Any]:
    wanted = (tail.name, device, backend)
    found = [cell for cell in outcome.evidence["cells"] if (cell["model"], cell["device"], cell["backend"]) == wanted]
    assert found, outcome.output[-4000:]
    return dict(found[0])


def _durations_ms(outcome: Outcome, cell: dict[str, Any]) -> Array:
    raw = next(check["raw"] for check in cell["checks"] if check["raw"])
    durations: Array = np.load(outcome.folder / "build/hil" / raw) / 1e6
    return durations


def _is_held_up(outcome: Outcome, cell: dict[str, Any], metric: str, made: float) -> bool:
    """Whether a process's inferences were late by so much of other work that a limit they keep is hardly kept.

    Args:
        outcome: the run.
        cell: in its evidence.
        metric: what is limited.
        made: the share over the limit by construction.
    """
    check = next(check for check in cell["checks"] if check["metric"] == metric)
    over, allowed = check.get("deadline_ms", check["limit"]), ALLOWED.get(metric, check["limit"])
    each = np.split(_durations_ms(outcome, cell), np.cumsum(check["processes"])[:-1])
    return any((durations > over).mean() > made + (allowed - made) / 4 for durations in each if len(durations))


@pytest.mark.parametrize(
    ("tail", "device", "backend", "metric"),
    [
        pytest.param(tail, *cell, metric, id=f"{tail.name}-{'-'.join(cell)}-{metric}")
        for tail in TAILS
        for cell in tail.cells
        for metric in tail.reaches
    ],
)
def test_a_limit_is_kept_or_broken_as_the_operator_makes_it(
    done: Outcome, tail: Tail, device: str, backend: str, metric: str
) -> None:
    cell = _cell(done, tail, device, backend)
    check = next(check for check in cell["checks"] if check["metric"] == metric)
    reach, made = tail.reaches[metric]
    allowed = {"PASS" if reach < 1 else "FAIL", *(["INCONCLUSIVE"] if 0.8 < reach < 1.25 else [])}
    if check["verdict"] not in allowed and reach < 1 and _is_held_up(done, cell, metric, made):
        pytest.skip(f"other work held the model up: {check['verdict']}, {check['reason']}")
    assert check["verdict"] in allowed, (check, told(cell))


@pytest.mark.parametrize(("tail", "device", "backend"), [each for each in CELLS if "singles" in str(each.id)])
def test_as_many_inferences_are_slow_as_inputs_are(done: Outcome, tail: Tail, device: str, backend: str) -> None:
    slow = _durations_ms(done, _cell(done, tail, device, backend)) >= SLOW
    assert abs(slow.mean() - SHARE) < 5 * (SHARE * (1 - SHARE) / len(slow)) ** 0.5


@pytest.mark.parametrize(("tail", "device", "backend"), [each for each in CELLS if "bursts" in str(each.id)])
def test_slow_inferences_in_bursts_are_judged_on_longer_blocks(
    done: Outcome, tail: Tail, device: str, backend: str
) -> None:
    cell = _cell(done, tail, device, backend)
    slow = _durations_ms(done, cell) >= BURST_SLOW
    run = slow.sum() / np.count_nonzero(np.diff(slow, prepend=False) & slow)
    assert run > 2
    checks = {check["metric"]: check for check in cell["checks"]}
    assert min(checks["latency_p99_ms"]["inferences_per_block"]) > 15, checks["latency_p99_ms"]


def test_sizes_that_are_drawn_are_all_timed_and_the_evidence_names_them(done: Outcome) -> None:
    tail = next(tail for tail in TAILS if tail.name == "drawn")
    for device, backend in tail.cells:
        cell = _cell(done, tail, device, backend)
        check = next(check for check in cell["checks"] if check["metric"] == "latency_p90_ms")
        assert cell["measure"] == {"n": "1…16"}
        assert check["sizes"]["n"]["smallest"] <= 4, check
        assert check["sizes"]["n"]["largest"] >= 12, check
        durations = _durations_ms(done, cell)
        # The same sizes in the same order for all backends.
        sizes = [drawn_sizes({"n": range(1, 17)}, BLOCK + number)["n"] for number in range(len(durations))]
        is_large = np.array(sizes) > 8
        assert durations[is_large].min() >= SLOW
        assert np.median(durations[~is_large]) < SLOW
    assert "at n = 1…16, drawn" in done.output
