"""--against on this machine: builds whose difference is known, because their layers are counted."""

from __future__ import annotations

import json

import pytest

from .conftest import Project

LAYERS = """
    import torch
    from harness import Input, Model

    def build():
        torch.manual_seed(0)
        layers = [torch.nn.Linear(64, 64) for _ in range(COUNT)]
        return torch.nn.Sequential(*layers).eval()

    model = Model(
        build=build,
        inputs=[Input("x", shape=(64, 64), min_value=-1.0, max_value=1.0)],
        name="tiny",
    )
"""
ASKED = ("--backend", "onnxruntime", "-k", "against or artifact", "--time-limit")


def layers(count: int) -> str:
    return LAYERS.replace("COUNT", str(count))


@pytest.mark.slow
def test_equal_builds_do_not_fail_and_one_with_four_times_the_layers_does(project: Project) -> None:
    old = project.write("old/tiny.py", layers(10))
    project.write("tiny.py", layers(10))
    equal = project.run(*ASKED, "20", "--against", str(old))
    check = equal.check("latency_over_other_percent")
    assert check["verdict"] in ("PASS", "INCONCLUSIVE"), equal.output  # the machine's noise may leave it open
    assert check["other"]["sha256"] == equal.evidence["cells"][0]["artifact"]["sha256"]
    assert "the same artifact, to the byte" in equal.output

    before = (equal.folder / "build/hil/evidence.json").rename(equal.folder / "before.json")
    project.write("tiny.py", layers(40))
    slower = project.run(*ASKED, "60", "--against", str(before))
    check = slower.check("latency_over_other_percent")
    assert (slower.status, check["verdict"]) == (1, "FAIL"), slower.output
    assert check["other"]["sha256"] == json.loads(before.read_text())["cells"][0]["artifact"]["sha256"]
    assert 5 <= check["pairs"] == check["samples"] == len(check["each_percent"]) <= 20
    assert 3 < check["bound_low"] < check["value"] < check["bound"]
    assert "against before.json: p50" in slower.output
    assert check["p50_ms"]["this"] > 1.5 * check["p50_ms"]["other"]
    assert check["artifact_bytes"]["this"] > 3 * check["artifact_bytes"]["other"]


@pytest.mark.slow
def test_an_old_build_that_cannot_be_had_leaves_it_open_and_is_no_failure_of_this_one(project: Project) -> None:
    project.write("tiny.py", layers(1))
    old = project.write("old/tiny.py", layers(1).replace("torch.manual_seed(0)", "raise RuntimeError('no weights')"))
    done = project.run("--backend", "onnxruntime", "-k", "against", "--against", str(old))
    assert done.status == 1, done.output
    check = done.check("latency_over_other_percent")
    assert check["verdict"] == done.evidence["verdict"] == "INCONCLUSIVE"
    assert "the other build cannot be exported: build() raised" in check["reason"]


def test_a_build_that_is_declared_otherwise_is_refused_before_anything_is_run(project: Project) -> None:
    project.write("tiny.py", layers(1))
    old = project.write("old/tiny.py", layers(1).replace("shape=(64, 64)", "shape=(32, 64)"))
    done = project.run("--against", str(old))
    assert done.status == 4, done.output
    assert "shape of input 'x'" in done.output
    assert "Traceback" not in done.output
    assert not (project.folder / "build").exists()
