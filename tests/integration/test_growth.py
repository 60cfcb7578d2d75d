"""Growth of memory, from a real process to the verdict: a backend that keeps something of each inference, or once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import Outcome, Project
from .test_adding import examples

KEEPS = """
        self.count = 0
        self.held = []
        self.keeps = options.get("keeps", "nothing")
"""
# 192 bytes of Python's, and 8 in the list: 200 kB of each 1000 inferences; or 2 MiB at once, behind the warm-up.
COUNTED = """
        self.count += 1
        if self.keeps == "each":
            self.held.append(b"x" * (150 + self.count % 2))
        if self.keeps == "once" and self.count == 6000:
            self.held.append(b"x" * (2 << 20))
        if self.keeps == "slow":
            __import__("time").sleep(0.0015)
        for weight"""
DEVICE = """
[device]
description = "this machine"
link = "local"
backends = ["npz-numpy"]

[options.npz-numpy]
keeps = "{keeps}"
"""
CELLS = ("nothing", "each", "once", "slow")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One run with a device for each, which differ in what their backend keeps."""
    return project_in(tmp_path_factory.mktemp("growth")).run(*(f"--device={keeps}" for keeps in CELLS), "-k", "memory")


def project_in(folder: Path) -> Project:
    """A project with these devices, and a limit of 100 KiB per 1000 inferences."""
    project = Project(folder)
    texts = {path: text for path, text in examples().items() if "npz" in path or path in ("pytest.ini", "dense.py")}
    backend = texts["plugins/backends/npz_numpy.py"]
    backend = backend.replace("OPTIONS = {}", f'OPTIONS = {{"keeps": ({CELLS}, "what stays of an inference")}}')
    backend = backend.replace("        self.layers = []\n", f"        self.layers = []{KEEPS}", 1)
    texts["plugins/backends/npz_numpy.py"] = backend.replace("\n        for weight", COUNTED, 1)
    texts["dense.py"] = (
        texts["dense.py"].replace("memory_growth_mib", "memory_growth_kib_per_1000").replace("16}", "100}")
    )
    texts["pytest.ini"] = texts["pytest.ini"].replace("hil_device = desk\n", "")
    for path, text in texts.items():
        project.write(path, text)
    for keeps in CELLS:
        project.write(f"devices/{keeps}.toml", DEVICE.format(keeps=keeps))
    return project


def growth(done: Outcome, keeps: str) -> dict[str, Any]:
    """The check of one of the cells."""
    return done.check("memory_growth_kib_per_1000", CELLS.index(keeps))


def test_what_stays_of_each_inference_fails(done: Outcome) -> None:
    check = growth(done, "each")
    assert check["verdict"] == "FAIL", done.output
    assert 150 < check["value"] < 250
    assert 100 < check["bound_low"] <= check["value"] <= check["bound"]
    assert len(check["by_process"]) >= 2


def test_what_stays_once_does_not_fail(done: Outcome) -> None:
    assert growth(done, "once")["verdict"] in ("PASS", "INCONCLUSIVE"), done.output


def test_where_nothing_stays_it_passes(done: Outcome) -> None:
    check = growth(done, "nothing")
    assert check["verdict"] == "PASS", done.output
    assert check["bound"] <= 100


def test_the_evidence_has_each_process_by_itself(done: Outcome) -> None:
    assert done.check("memory_peak_mib")["verdict"] == "MEASURED"
    for process in growth(done, "nothing")["by_process"]:
        assert process["inferences"] >= 5000
        assert process["low"] <= process["slope"] <= process["high"]
        assert all(kib > 1000 for kib in process["kib"])


def test_a_slow_model_has_a_process_of_its_own_for_it(done: Outcome) -> None:
    check = growth(done, "slow")
    assert check["verdict"] == "PASS", done.output
    assert [process["inferences"] >= 5000 for process in check["by_process"]] == [True]


def test_the_time_that_it_takes_is_said_where_there_is_too_little(tmp_path: Path) -> None:
    done = project_in(tmp_path).run("--device=slow", "-k", "memory_growth", "--time-limit", "4")
    check = done.check("memory_growth_kib_per_1000")
    assert (check["verdict"], check["bound"]) == ("INCONCLUSIVE", None)
    assert "a trend takes 5000, which would take about " in check["reason"]
    assert "--time-limit " in check["reason"]
