"""The files that decided a run, as its evidence names them: by what was read, and by a path that another can follow."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from harness.backends import load_backend
from harness.bundle import lock_file
from harness.cell import Cell
from harness.device import load_device
from harness.evidence.schema import FileEntry
from harness.host.shipped import DEVICES
from harness.measure import known_metrics
from harness.model.model_file import load_model
from harness.run.files import describe_files
from harness.run.options import Options

METRICS = list(known_metrics().values())
MODEL = b"""
from harness import Input, Model
model = Model(build=dict, inputs=[Input("x", shape=(2,))])
"""
BASE = b'extends = "local"\n[limits]\nload_time_s = 9\n'
LOCK = b"schema = 1\n"
BASELINE = json.dumps({"schema": 1, "device": "counted", "cells": []}).encode()


def options(root: Path, **more: Any) -> Options:
    return Options(
        models=(),
        devices=(),
        device_folders=(root / "devices", DEVICES),
        backends=(),
        time_limit_s=1,
        evidence=root,
        root=root,
        seed=0,
        allow_inconclusive=False,
        **more,
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a folder of a repository, with a lock file, a baseline and two devices that extend others."""
    root = tmp_path / "repository" / "robot"
    files = {
        "../models/run_files_net.py": MODEL,
        "devices/base.toml": BASE,
        "devices/desk.toml": b'extends = "base"\n',
        "devices/counted.toml": b'extends = "qemu-pi4"\n',
        "baselines/counted.json": BASELINE,
        "hilgate.lock": LOCK,
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    monkeypatch.setattr(lock_file._PROJECT, "root", root)
    return root


def cells(project: Path, *devices: str) -> list[Cell]:
    """Cells of the project's model with two backends on each device."""
    file = load_model(project / "../models/run_files_net.py", METRICS)
    loaded = [load_device(name, options(project).device_folders, METRICS) for name in devices]
    return [Cell(file, device, load_backend(name)) for device in loaded for name in ("torchscript", "onnxruntime")]


def named(entries: list[FileEntry]) -> dict[str, tuple[str, str, str]]:
    return {entry.path: (entry.kind, entry.name, entry.sha256) for entry in entries}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_model_devices_with_what_they_extend_lock_and_baseline_are_named_once_each(project: Path) -> None:
    entries = describe_files(options(project), cells(project, "desk", "counted", "base"))
    assert len(named(entries)) == len(entries)
    shipped = {name: sha256((DEVICES / f"{name}.toml").read_bytes()) for name in ("local", "qemu-pi4", "pi4")}
    assert named(entries) == {
        "../models/run_files_net.py": ("model", "run_files_net", sha256(MODEL)),
        "devices/desk.toml": ("device", "desk", sha256(b'extends = "base"\n')),
        "devices/base.toml": ("device", "base", sha256(BASE)),
        "devices/counted.toml": ("device", "counted", sha256(b'extends = "qemu-pi4"\n')),
        **{f"hilgate:{name}": ("device", name, each) for name, each in shipped.items()},
        "hilgate.lock": ("lock", "hilgate.lock", sha256(LOCK)),
        "baselines/counted.json": ("baseline", "counted", sha256(BASELINE)),
    }


def test_the_hash_is_of_what_was_read_not_of_what_lies_there_now(project: Path) -> None:
    planned = cells(project, "desk")
    for path in ("../models/run_files_net.py", "devices/desk.toml", "devices/base.toml"):
        (project / path).write_bytes(b"# another")
    found = {entry.path: entry.sha256 for entry in describe_files(options(project), planned)}
    assert found["../models/run_files_net.py"] == sha256(MODEL)
    assert found["devices/base.toml"] == sha256(BASE)
    assert found["devices/desk.toml"] == sha256(b'extends = "base"\n')


def test_a_file_that_is_read_again_has_its_new_hash(project: Path) -> None:
    cells(project, "desk")
    (project / "../models/run_files_net.py").write_bytes(MODEL + b"# changed\n")
    (entry, *_) = describe_files(options(project), cells(project, "desk"))
    assert entry.sha256 == sha256(MODEL + b"# changed\n")


def test_a_baseline_that_is_about_to_be_written_decided_nothing(project: Path) -> None:
    entries = describe_files(options(project, write_baseline=True), cells(project, "counted"))
    assert "baseline" not in {entry.kind for entry in entries}


def test_in_a_clone_of_hilgate_its_devices_are_the_projects_own(project: Path) -> None:
    entries = describe_files(options(DEVICES.parent), cells(project, "local"))
    assert [entry.path for entry in entries if entry.kind == "device"] == ["devices/local.toml"]


def test_a_link_is_named_by_the_file_that_it_leads_to(project: Path) -> None:
    """A repository has that file; of the link it has the name that it leads to."""
    (project / "devices/desk.toml").rename(project / "real.toml")
    (project / "devices/desk.toml").symlink_to("../real.toml")
    entries = describe_files(options(project), cells(project, "desk"))
    assert [entry.path for entry in entries if entry.name == "desk"] == ["real.toml"]
