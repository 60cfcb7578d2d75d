"""What an error makes of its cell: FAIL where it is the model's, INCONCLUSIVE where nothing was measured."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import MODEL, Outcome, Project

OPEN = ("LinkLost", "EmulatorDied", "AgentSilent", "ProtocolError", "ImpossibleReport", "InputFailure")
OF_THE_MODEL = ("AgentDied", "AgentTimeout", "AgentFailure", "ExportError", "KeyError")
SUITE = """
    import pytest
    from harness import errors

    @pytest.mark.hil
    def test_something(cell):
        raise getattr(errors, cell.device.name, KeyError)("why it came to nothing")
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run in which each device's test ends with the error of its name; none is ever reached."""
    project = Project(tmp_path_factory.mktemp("undecided"))
    project.write("pytest.ini", "[pytest]\nhil_model = tiny.py\n")
    project.write("tiny.py", MODEL.replace("dims=", 'limits={"latency_p99_ms": 1000}, dims='))
    project.write("test_other.py", SUITE)
    for name in (*OPEN, *OF_THE_MODEL):
        lines = f'[device]\ndescription = "{name}"\nlink = "local"\nbackends = ["onnxruntime"]\n'
        project.write(f"devices/{name}.toml", lines)
    devices = [word for name in (*OPEN, *OF_THE_MODEL) for word in ("--device", name)]
    return project.run(*devices, suite=project.folder)


def cell(done: Outcome, device: str) -> dict[str, Any]:
    cells = {one["device"]: one for one in done.evidence["cells"]}
    found: dict[str, Any] = cells[device]
    assert "why it came to nothing" in found["error"]
    return found


@pytest.mark.parametrize("name", OPEN)
def test_nothing_measured_leaves_a_cell_and_its_limits_open_with_the_reason(done: Outcome, name: str) -> None:
    found = cell(done, name)
    assert found["verdict"] == "INCONCLUSIVE"
    assert {check["metric"] for check in found["checks"]} == {"parity", "latency_p99_ms"}
    for check in found["checks"]:
        assert check["verdict"] == "INCONCLUSIVE"
        assert check["reason"] == "nothing was measured: why it came to nothing"


@pytest.mark.parametrize("name", OF_THE_MODEL)
def test_what_is_the_models_fault_fails_its_cell(done: Outcome, name: str) -> None:
    assert cell(done, name)["verdict"] == "FAIL"


def test_either_ends_the_run_without_success(done: Outcome) -> None:
    assert done.status == 1, done.output
    assert "open (onnxruntime): why it came to nothing" in done.output
