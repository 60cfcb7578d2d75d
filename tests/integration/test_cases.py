"""Models as users write them, each with the verdict that is right: see tests.cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cases import NATIVE, PARITY, Case, copied, options, told

from .conftest import SHORT_BLOCKS, Outcome, Project, put_runners
from .runners import USERS_CACHE, Built

pytestmark = pytest.mark.slow

SECONDS = 1500.0
ONNX = ("--backend", "onnxruntime")
TIMED = (
    "two_in_a_hundred.py",
    "time_depends_on_content.py",
    "divide_in_place/in_place.py",
    "divide_in_place/copied.py",
)


def _run(project: Project, *arguments: str, device: str = "local") -> Outcome:
    return project.run_command(project.command(*arguments, "--device", device), SECONDS)


@pytest.fixture(scope="module")
def asked(built: dict[str, Built], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Parity of all of them, in one run: what one of them does to its process must not reach the next."""
    # A cache that outlasts the tests: exports are a third of the time, and are made anew when the code is another.
    cache = USERS_CACHE / "test-cases"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (cache / "runners").exists():
        put_runners(cache)  # libtorch's is used
    project = Project(tmp_path_factory.mktemp("cases"), {"HILGATE_CACHE": str(cache)})
    project.write("pytest.ini", "[pytest]\n")
    models = options(copied(project.folder / "models"), PARITY)
    backends = [word for name in NATIVE for word in ("--backend", name)]
    return _run(project, *models, *backends, "--wait", "600", "-k", _chosen())


def _chosen() -> str:
    """No cell that no case asks for: each costs an export or a deployment."""
    wanted = [f"{case.name}-local-{backend}" for case in PARITY for backend in case.verdicts]
    return f"parity and ({' or '.join(wanted)})"


def _cell(outcome: Outcome, model: str, backend: str) -> dict[str, Any]:
    found = [cell for cell in outcome.evidence["cells"] if (cell["model"], cell["backend"]) == (model, backend)]
    assert found, outcome.output[-4000:]
    return dict(found[0])


@pytest.mark.parametrize(
    ("case", "backend"),
    [pytest.param(case, backend, id=f"{case.name}-{backend}") for case in PARITY for backend in case.verdicts],
)
def test_a_model_gets_the_verdict_that_is_right_and_the_cause_is_named(
    asked: Outcome, case: Case, backend: str
) -> None:
    cell = _cell(asked, case.name, backend)
    assert cell["verdict"] == case.verdicts[backend], told(cell)
    assert [text for text in case.says if text not in told(cell)] == [], told(cell)
    assert [text for text in case.silent if text in told(cell)] == [], told(cell)


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Latency of the models whose time depends on their content, or that write into their input.

    Blocks are short, so that what decides a limit comes in a second or two; the rest of the time allowed is for a
    machine that has other work. There a third process that is begun in the last seconds is not warm when they are over,
    and leaves open what the two before it have shown.
    """
    project = Project(tmp_path_factory.mktemp("timed"))
    project.write("pytest.ini", "[pytest]\n")
    project.write("devices/short.toml", SHORT_BLOCKS)
    folder = copied(project.folder / "models")
    models = [f"--model={folder / name}" for name in TIMED]
    narrow = ("--backend", "torchscript", "-k", "(p50 or p99) and latency")
    return _run(project, *models, *narrow, "--time-limit", "120", device="short")


def _check(outcome: Outcome, model: str, metric: str) -> dict[str, Any]:
    checks = {check["metric"]: check for check in _cell(outcome, model, "torchscript")["checks"]}
    return dict(checks[metric])


def test_two_inputs_in_a_hundred_that_take_far_longer_fail_a_p99(timed: Outcome) -> None:
    check = _check(timed, "two_in_a_hundred", "latency_p99_ms")
    assert (check["verdict"], check["value"] > check["limit"]) == ("FAIL", True), check["reason"]


def test_the_samples_of_the_model_file_are_timed_and_decide(timed: Outcome) -> None:
    check = _check(timed, "time_depends_on_content", "latency_p99_ms")
    assert (check["verdict"], check["content"]) == ("FAIL", "samples"), check["reason"]
    assert check["value"] > check["limit"]


def test_a_model_that_divides_in_place_gets_its_input_anew_each_time(timed: Outcome) -> None:
    raw = [timed.folder / "build/hil" / _check(timed, name, "latency_p50_ms")["raw"] for name in ("in_place", "copied")]
    # The quickest of all: other work delays many, and not for both models as much.
    in_place, copied_first = (np.load(path).min() for path in raw)
    assert in_place > copied_first / 3  # without it, 84 times less
    assert "writes into its input 'image'" in told(_cell(timed, "in_place", "torchscript"))


def test_limits_are_judged_at_the_largest_sizes_and_the_table_says_so(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    project = Project(tmp_path_factory.mktemp("sizes"))
    project.write("pytest.ini", "[pytest]\n")
    model = copied(project.folder / "models") / "sizes_not_chosen.py"
    options = ("--backend", "onnxruntime", "-k", "p99 or memory", "--time-limit", "10")
    done = _run(project, f"--model={model}", *options)
    cell = done.evidence["cells"][0]
    verdicts = {check["metric"]: check["verdict"] for check in cell["checks"]}
    assert verdicts["memory_peak_mib"] == "FAIL", told(cell)
    assert verdicts["latency_p99_ms"] in ("FAIL", "INCONCLUSIVE"), told(cell)
    assert "height = 1080" in done.output


def test_two_models_of_one_name_are_told_apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    project = Project(tmp_path_factory.mktemp("names"))
    project.write("pytest.ini", "[pytest]\n")
    folder = copied(project.folder / "models") / "same_name"
    done = _run(project, f"--model={folder / 'left/model.py'}", f"--model={folder / 'right/model.py'}", *ONNX)
    assert done.status != 0
    assert 'name="…"' in done.output, done.output


def test_two_packages_of_one_name_are_each_models_own(asked: Outcome) -> None:
    hashes = {_cell(asked, name, "onnxruntime")["artifact"]["sha256"] for name in ("policy_a", "policy_b")}
    assert len(hashes) == 2
