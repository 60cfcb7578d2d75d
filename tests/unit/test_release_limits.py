"""Limits made again of what was committed: those of the run, whatever the working tree says now."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from harness.backends import load_backend
from harness.cell import Cell
from harness.evidence.schema import RunEntry
from harness.model.process import read_hosted
from harness.release.committed import CellLimits, committed_files, limits_of
from harness.release.committed_baseline import baseline_refusals
from harness.release.conditions import cells_of
from harness.release.refusal import Refusal
from tests.support.evidences import make_cell, make_check, make_run, read
from tests.support.repositories import METRICS, MODEL, RIG, SHARED, Project

LOOSE = SHARED.replace(b"10", b"99")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "repository")


def made(
    project: Project, run: RunEntry | None = None, *, rule: str = "any", device: str = "rig"
) -> tuple[CellLimits | None, list[Refusal]]:
    """Make the limits of the cell again, of evidence whose files are as committed."""
    run, policy = run or project.run(), project.policy(rule, device)
    files, refusals = committed_files(project.root, run, policy)
    assert refusals == []
    cells, _ = cells_of(policy, run)
    limits, refusals = limits_of(project.root, run, policy, cells, files, metrics=list(METRICS.values()))
    assert len({each.reason for each in refusals}) == len(refusals)
    return limits.get(device), refusals


def values(limits: CellLimits | None) -> dict[str, float]:
    assert limits is not None
    return {limit.key: limit.value for limit in limits.limits}


EXPECTED = {"parity": 30.0, "latency_p99_ms": 10.0, "load_time_s": 9.0, "memory_peak_mib": 50.0}


def test_they_are_those_that_the_run_itself_has(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    limits, refusals = made(project, rule="HEAD")
    file = read_hosted(project.root / "../models/net.py", list(METRICS.values()))
    cell = Cell(file, project.device("rig"), load_backend("onnxruntime"))
    assert refusals == []
    assert limits is not None
    assert limits.limits == cell.limits
    assert values(limits) == EXPECTED
    assert limits.parity_limit == file.model.parity_limit
    file.process.close()


def test_what_was_loosened_in_the_working_tree_does_not_count(project: Project) -> None:
    run = project.run()
    loose = {
        "../models/net.py": MODEL.replace(b"LIMITS)", b"{})"),
        "../models/shared.py": LOOSE,
        "devices/rig.toml": RIG.replace(b"9", b"99"),
        "devices/local.toml": b'[device]\ndescription = "mine"\nlink = "local"\nbackends = ["onnxruntime"]\n',
    }
    project.write(loose)
    limits, refusals = made(project, run)
    assert (values(limits), refusals) == (EXPECTED, [])


def test_a_file_of_limits_in_the_current_folder_is_the_committed_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = b'import json\nfrom pathlib import Path\nLIMITS = json.loads(Path("limits.json").read_text())\n'
    project.write({"../models/shared.py": shared, "limits.json": b'{"latency_p99_ms": 10}'})
    project.commit()
    run = project.run()
    project.write({"limits.json": b'{"latency_p99_ms": 99}'})
    monkeypatch.chdir(project.root)
    limits, refusals = made(project, run)
    assert (values(limits), refusals) == (EXPECTED, [])
    assert Path.cwd() == project.root


def test_a_cache_inside_of_the_repository_is_no_source_of_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write({"../.gitignore": b".cache\n"})
    project.commit()
    monkeypatch.setenv("HILGATE_CACHE", str(project.top / ".cache"))
    limits, refusals = made(project, rule="HEAD")
    assert (values(limits), refusals) == (EXPECTED, [])


def test_a_path_of_modules_in_the_repository_leads_to_the_commit(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / "../models/shared.py").unlink()
    project.write({"../source/shared.py": SHARED})
    project.commit()
    run = project.run()
    project.write({"../source/shared.py": LOOSE})
    monkeypatch.syspath_prepend(str(project.top / "source"))
    limits, refusals = made(project, run)
    assert (values(limits), refusals) == (EXPECTED, [])


def test_a_source_that_is_loaded_from_the_working_tree_all_the_same_must_be_the_commits(project: Project) -> None:
    """As a package that is installed from there ("pip install -e") is."""
    model = MODEL.replace(b"from shared", b"import sys; sys.path.insert(0, %r)\nfrom shared")
    (project.root / "../models/shared.py").unlink()
    project.write({"../source/shared.py": SHARED})
    project.write({"../models/net.py": model % str(project.top / "source")})
    of_commit = project.commit()[:12]
    run = project.run()
    limits, refusals = made(project, run)
    assert (values(limits), refusals) == (EXPECTED, [])
    project.write({"../source/shared.py": LOOSE})
    _, refusals = made(project, run)
    assert [each.reason for each in refusals] == [
        f"the model file ../models/net.py loads source/shared.py, which is not as in commit {of_commit}"
    ]


def test_a_model_file_that_loads_what_git_does_not_keep_is_read_in_a_clean_tree(project: Project) -> None:
    model = MODEL + b'\nfrom pathlib import Path\nDATA = Path(__file__).with_name("data.bin").read_bytes()\n'
    project.write({"../models/net.py": model, "../.gitignore": b"data.bin\n", "../models/data.bin": b"1"})
    project.commit()
    run = project.run()
    limits, refusals = made(project, run, rule="HEAD")
    assert (values(limits), refusals) == (EXPECTED, [])
    project.write({"../models/shared.py": LOOSE})
    limits, refusals = made(project, run)
    assert limits is None
    assert len(refusals) == 1
    assert refusals[0].reason.startswith("the model file ../models/net.py cannot be read as committed:")
    assert "data.bin" in refusals[0].reason


def test_data_that_git_lfs_keeps_is_taken_from_the_working_tree_by_its_hash(project: Project) -> None:
    data = b"\0" * 2000
    oid = hashlib.sha256(data).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n".encode()
    model = MODEL + b'\nfrom pathlib import Path\nassert len(Path(__file__).with_name("w.bin").read_bytes()) == 2000\n'
    project.write({"../models/net.py": model, "../models/w.bin": pointer})
    project.commit()
    run = project.run()
    project.write({"../models/w.bin": data})
    limits, refusals = made(project, run)
    assert (values(limits), refusals) == (EXPECTED, [])
    project.write({"../models/w.bin": b"\1" * 2000})
    assert "cannot be read as committed" in made(project, run)[1][0].reason


def test_links_and_submodules_of_a_commit_are_as_in_a_checkout(project: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "other")
    project.git("submodule", "--quiet", "add", str(other.top), "parts")
    (project.root / "../models/shared.py").unlink()
    (project.root / "../models/shared.py").symlink_to("../parts/models/shared.py")
    project.commit()
    limits, refusals = made(project)
    assert (values(limits), refusals) == (EXPECTED, [])


def test_a_device_file_of_the_projects_own_is_not_passed_over_for_hilgates(project: Project) -> None:
    """Evidence that names hilgate's own "local", where the project has a stricter one of that name."""
    run = project.run()
    project.write({"devices/local.toml": b'extends = "local"\n[limits]\nmemory_peak_mib = 5\n'})
    commit = project.commit()
    entries = [each.as_json() for each in run.files]
    limits, refusals = made(project, project.run(files=entries, commit=commit))
    reason = "the evidence does not name devices/local.toml, which makes the device rig as committed"
    assert [each.reason for each in refusals] == [reason]
    assert limits is not None


def test_a_device_that_is_emulated_by_its_committed_file_is_not_called_real(project: Project) -> None:
    project.write({"devices/emu.toml": b'extends = "qemu-pi4"\n'})
    project.commit()
    names = ("qemu-pi4", "pi4")
    entries = [project.entry("device", name, f"hilgate:{name}") for name in names]
    files = project.files(project.entry("device", "emu", "devices/emu.toml"), *entries)
    cell = make_cell("onnxruntime", [make_check("parity", 0.5, 30.0)], device="emu")
    run = read(make_run([cell], commit=project.git("rev-parse", "HEAD"), files=files))
    project.write({"devices/emu.toml": b'extends = "pi4"\n'})
    _, refusals = made(project, run, device="emu")
    reason = "net/emu/onnxruntime: emu is real by the evidence, and emulated by its file (link qemu)"
    assert [each.reason for each in refusals] == [reason]


def test_a_model_file_of_another_model_is_refused(project: Project) -> None:
    project.write({"../models/net.py": MODEL.replace(b"Model(build", b'Model(name="other", build')})
    project.commit()
    limits, refusals = made(project)
    assert limits is None
    assert [each.reason for each in refusals] == [
        "the model file ../models/net.py is of the model other, and not of net"
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"1 / 0\n", "ZeroDivisionError"),
        (b"import os; os._exit(3)\n", "ended in the middle of a question"),
        (MODEL.replace(b"LIMITS)", b"{'latency': 3})"), "unknown limit 'latency'"),
    ],
)
def test_a_model_file_that_cannot_be_read_is_a_reason(project: Project, content: bytes, said: str) -> None:
    project.write({"../models/net.py": content})
    project.commit()
    limits, refusals = made(project)
    assert limits is None
    assert len(refusals) == 1
    assert said in refusals[0].reason


def test_a_device_that_cannot_be_loaded_is_a_reason(project: Project) -> None:
    run = project.run()
    project.write({"devices/local.toml": b"[limits]\nlatency_p99_ms = 3\n"})
    commit = project.commit()
    policy = project.policy  # of a project whose device is wrong by now no policy can be loaded
    project.write({"devices/local.toml": b'extends = "local"\n'})
    assert policy is not None
    entries = [each.as_json() for each in run.files]
    limits, refusals = made(project, project.run(files=entries, commit=commit))
    assert limits is None
    assert len(refusals) == 1
    assert refusals[0].reason.startswith("the device rig cannot be loaded as committed:")
    assert "devices/local.toml" in refusals[0].reason


def test_where_a_file_was_refused_nothing_more_is_said(project: Project) -> None:
    run, policy = project.run(), project.policy("any")
    cells, _ = cells_of(policy, run)
    assert limits_of(project.root, run, policy, cells, [], metrics=list(METRICS.values())) == ({}, [])


def test_what_a_limit_is_set_on_must_have_been_checked(project: Project) -> None:
    """A check that is taken out of evidence, or that a test of the user's own never made."""
    run = project.run(without="memory_peak_mib")
    _, refusals = made(project, run)
    assert len(refusals) == 1
    assert refusals[0].reason.startswith("net/rig/onnxruntime: memory_peak_mib has a limit (")
    assert refusals[0].reason.endswith("devices/rig.toml: limits.onnxruntime.memory_peak_mib), and was not checked")


# The baseline of an emulated device: a limit follows from it.
COUNTED: dict[str, Any] = {
    "model": "net",
    "backend": "onnxruntime",
    "instructions_per_inference": 1000,
    "by_content": {"uniform": 1000, "samples": 2000},
    "context": {},
    **{key: {} for key in ("inputs", "runtime", "settings", "counted")},
    **dict.fromkeys(("cpu", "python"), ""),
}


def with_baseline(project: Project, check: dict[str, Any], *, is_named: bool = True) -> RunEntry:
    """Return evidence of a cell of an emulated device that has a baseline, with one check of its instructions."""
    content = {"schema": 1, "device": "emu", "cells": [COUNTED]}
    project.write({"devices/emu.toml": b'extends = "qemu-pi4"\n', "baselines/emu.json": json.dumps(content).encode()})
    entries = [project.entry("device", name, f"hilgate:{name}") for name in ("qemu-pi4", "pi4")]
    entries.append(project.entry("device", "emu", "devices/emu.toml"))
    entries += [project.entry("baseline", "emu", "baselines/emu.json")] if is_named else []
    checks = [make_check("parity", 0.5, 30.0), make_check("instructions_per_inference", 1010, 1020, **check)]
    cell = make_cell("onnxruntime", checks, device="emu", emulated=True)
    return read(make_run([cell], commit=project.commit(), files=project.files(*entries)))


def test_a_committed_baseline_must_have_been_compared_with(project: Project) -> None:
    run = with_baseline(project, {}, is_named=False)
    reason = "the evidence was not judged by baselines/emu.json, which is committed"
    assert [each.reason for each in made(project, run, device="emu")[1]] == [reason]


@pytest.mark.parametrize(
    ("check", "is_right"),
    [
        ({"baseline": {"file": "baselines/emu.json", "value": 1000}}, True),
        ({"baseline": {"file": "baselines/emu.json", "value": 2000}, "content": "samples"}, True),
        ({"baseline": {"file": "baselines/emu.json", "refused": "another CPU"}}, True),
        ({"baseline": {"file": "baselines/emu.json", "value": 3000}}, False),
        ({"baseline": {"file": "baselines/emu.json", "value": 2000}, "content": "uniform"}, False),
        ({"baseline": {"value": 1000, "by_content": {"uniform": 9}}}, False),
        ({"baseline": {}}, False),
        ({"baseline": "1000"}, False),
    ],
)
def test_a_baseline_must_be_the_committed_one(project: Project, check: dict[str, Any], is_right: bool) -> None:
    run = with_baseline(project, check)
    found = [each.reason for each in baseline_refusals(project.root, run, project.device("emu"), run.cells[0])]
    assert (found == []) is is_right
    for reason in found:
        assert reason.startswith("net/emu/onnxruntime: instructions_per_inference was compared with ")
        assert reason.endswith(", and baselines/emu.json has 1000")
