"""Boards that lie about what they measured, well-formedly: a whole run on each is INCONCLUSIVE, and says what is
impossible; beside them an honest one, which passes."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest

from harness.bundle import AGENT

from .conftest import MODEL, Outcome, Project

WORDS = "the device's report is impossible: wanted "
# Half a millisecond an inference: what is said of it is far from what the loop itself takes.
DENSE = MODEL.replace(
    "return torch.relu(x @ self.weight)",
    "y = x @ torch.ones(4, 1024)\n            for _ in range(2): y = torch.tanh(y @ torch.ones(1024, 1024))\n"
    "            return y @ torch.ones(1024, 3)",
).replace(
    "dims=",
    'limits={"latency_p99_ms": 1e6, "memory_peak_mib": 99999, "load_time_s": 9999}, measure={"batch": 1}, dims=',
)
# Of each board: what its agent changes, in Python that runs before it serves, with its modules imported.
LIES = {
    "honest": "",
    "negative": "change('measure', lambda reply, durations: -durations)",
    "zero": "change('measure', lambda reply, durations: durations * 0)",
    "half": "change('measure', lambda reply, durations: durations // 2)",
    "double": "change('measure', lambda reply, durations: durations * 2)",
    "fewer": "change('measure', lambda reply, durations: durations[:-1])",
    "frozen": "change('measure', lambda reply, durations: durations * 0 + int(durations.mean()))",
    "slow_clock": "clock = time.perf_counter_ns; time.perf_counter_ns = lambda: clock() // 2",
    "less_memory": "change('memory', lambda reply, *_: reply['memory_kib'].update(peak=20_000))",
    "long_load": "change('load', lambda reply, *_: reply.update(load_ns=reply['load_ns'] + 10**12))",
}
# A lying agent's __main__.py; the real one's lies beside it as honest.py.
LIAR = """
    import time
    from .operations import Operations

    def change(name, lie):
        operation = getattr(Operations, "op_" + name)

        def lying(self, header, tensors):
            reply, arrays = operation(self, header, tensors)
            lied = lie(reply, *arrays)
            return reply, arrays if lied is None else [lied]

        setattr(Operations, "op_" + name, lying)

    {lie}
    from .honest import main
    main()
"""
OF_OTHERS = {"honest": "", "less_memory": "memory_peak_mib", "long_load": "load_time_s"}
# A plugin for the run: each device gets the agent of its name.
PLUGIN = """
    from pathlib import Path

    import harness.bundle
    from harness.run import deploying

    put_bundle = deploying.put_bundle

    def with_its_agent(run, cell, artifact):
        harness.bundle.bundle.AGENT = Path("agents") / cell.device.name
        return put_bundle(run, cell, artifact)

    deploying.put_bundle = with_its_agent
"""


def agent(folder: Path, lie: str) -> None:
    """Make an agent that is the real one, but for a lie in what it answers."""
    shutil.copytree(AGENT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    if lie:
        (folder / "__main__.py").rename(folder / "honest.py")
        (folder / "__main__.py").write_text(textwrap.dedent(LIAR).format(lie=lie))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One run on all of them: the model is exported once."""
    project = Project(tmp_path_factory.mktemp("lying"))
    project.write("pytest.ini", "[pytest]\nhil_model = tiny.py\n")
    project.write("tiny.py", DENSE)
    project.write("lying.py", PLUGIN)
    for device, lie in LIES.items():
        agent(project.folder / "agents" / device, lie)
        lines = (
            f'[device]\ndescription = "{device}"\nlink = "local"\nbackends = ["onnxruntime"]\n[measure]\nblock_ms = 1\n'
        )
        project.write(f"devices/{device}.toml", lines)
    devices = [word for device in LIES for word in ("--device", device)]
    chosen = "(latency_p99 and not p999) or memory_peak or load_time"
    return project.run_command(project.command("-p", "lying", "-k", chosen, *devices), timeout=900)


def cell(done: Outcome, device: str) -> dict[str, Any]:
    cells = {one["device"]: one for one in done.evidence["cells"]}
    found: dict[str, Any] = cells[device]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("device", LIES)
def test_a_board_that_lies_gets_no_pass_and_an_honest_one_does(done: Outcome, device: str) -> None:
    found = cell(done, device)
    checks = {check["metric"]: (check["verdict"], check["reason"]) for check in found["checks"]}
    lied_of = OF_OTHERS.get(device, "latency_p99_ms")
    assert found["error"] is None, done.output
    assert len(checks) == 3
    assert found["verdict"] == ("INCONCLUSIVE" if lied_of else "PASS"), checks
    for metric, (verdict, reason) in checks.items():
        if metric == lied_of:
            assert (verdict, reason.startswith(WORDS)) == ("INCONCLUSIVE", True), reason
            assert reason.split()[-1] in " ".join(done.output.split())
        else:
            assert verdict in ("PASS", "INCONCLUSIVE"), checks


@pytest.mark.slow
def test_a_run_on_boards_that_lie_does_not_succeed(done: Outcome) -> None:
    assert done.status == 1, done.output
    assert "the device's report is impossible" in done.output
    assert done.evidence["verdict"] == "INCONCLUSIVE"
