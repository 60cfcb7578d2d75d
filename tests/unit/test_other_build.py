"""What --against may name, and what is refused before anything is exported."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from harness.backends import load_backend
from harness.cell import Cell
from harness.device import load_device
from harness.errors import InputError
from harness.export import write_record
from harness.host.shipped import DEVICES
from harness.measure import known_metrics
from harness.model.model import Input, Model
from harness.model.model_file import ModelFile
from harness.run.options import Options
from harness.run.other_build import differences, read_other_build

DECLARED: dict[str, Any] = {
    "build": lambda: None,
    "inputs": [Input("x", shape=("n", 4), min_value=0, max_value=1)],
    "dims": {"n": (1, 4)},
    "measure": {"n": 1},
}
OTHERS = """
from harness import Input, Model
model = Model(
    build=lambda: 1 / 0,  # nothing is built
    inputs=[Input("x", shape=("n", 4), dtype="DTYPE", min_value=0, max_value=1)],
    dims={"n": (1, 4)},
    measure={"n": 1},
)
"""


def model(**differs: Any) -> Model:
    return Model(**(DECLARED | differs))


def x(**differs: Any) -> list[Input]:
    usual: dict[str, Any] = {"name": "x", "shape": ("n", 4), "min_value": 0, "max_value": 1}
    return [Input(**(usual | differs))]


@pytest.mark.parametrize(
    ("differs", "what"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"name": "old", "limits": {"latency_p99_ms": 3}, "opset": 17, "tolerance": 5}, [], id="no-matter"),
        pytest.param({"inputs": x(name="image")}, ["inputs"], id="name"),
        pytest.param({"inputs": [*x(), *x(name="y")]}, ["inputs"], id="one-more"),
        pytest.param({"inputs": x(dtype="float16")}, ["dtype of input 'x'"], id="dtype"),
        pytest.param({"inputs": x(shape=("n", 8))}, ["shape of input 'x'"], id="shape"),
        pytest.param({"inputs": x(max_value=255)}, ["max_value of input 'x'"], id="range"),
        pytest.param({"inputs": x(allow_nan=True)}, ["allow_nan of input 'x'"], id="nan"),
        pytest.param({"dims": {"n": (1, 8)}}, ["dims"], id="dims"),
        pytest.param({"measure": {"n": 4}}, ["measure"], id="measure"),
        pytest.param({"measure": {}}, ["measure"], id="measure-left-out-is-the-largest"),
        pytest.param({"exporter": "torch.jit.script"}, ["exporter"], id="exporter"),
        pytest.param({"imports": ["torchvision"]}, ["imports"], id="imports"),
        pytest.param({"files": {"onnx": "net.onnx"}}, ["where its onnx comes from"], id="given"),
        pytest.param({"files": {"torchscript": "net.pt"}}, [], id="given-in-a-format-that-is-not-run"),
    ],
)
def test_what_is_declared_otherwise_is_named(differs: dict[str, Any], what: list[str]) -> None:
    assert [name for name, _, _ in differences(model(), model(**differs), {"onnx"})] == what


def cell(
    folder: Path, backend: str = "onnxruntime", *, device: str = "local", name: str = "net", **differs: Any
) -> Cell:
    file = ModelFile(folder / f"{name}.py", model(name=name, **differs), ())
    return Cell(file, load_device(device, (DEVICES,), known_metrics().values()), load_backend(backend))


def read(path: Path, *cells: Cell) -> Any:
    return read_other_build(cast(Options, cast(Any, type("Asked", (), {"against": path}))), cells)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of exports that has one, of the hash that HASH says."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("HILGATE_CACHE", str(folder))
    export = folder / "exports" / "key"
    for each in (folder, export.parent, export):
        each.mkdir(mode=0o700)
    (export / "model.onnx").write_bytes(b"an artifact")
    write_record(export, "onnx", ["model.onnx"], "torch.onnx.export(dynamo=True)", [])
    return export


HASH = "f3dab9ba07a2f5e0ba1b9e6d0a2d2d4e8a3c1a0f4f5cba8e2c8d0b2b0d7e9a11"


def evidence(folder: Path, cells: Sequence[Mapping[str, Any]], commit: str | None = "abc1234") -> Path:
    """An evidence.json with cells."""
    base = {"device": "local", "backend": "onnxruntime", "verdict": "PASS", "checks": [], "measure": {"n": 1}}
    content = {
        "schema": 1,
        "tool": "hilgate 0.1",
        "started": "2026-11-26T10:00:00Z",
        "commit": commit,
        "verdict": "PASS",
        "cells": [{"model": "net", **base, **one} for one in cells],
    }
    path = folder / "evidence.json"
    path.write_text(json.dumps(content))
    return path


def made(sha256: str, exporter: str = "torch.onnx.export(dynamo=True)") -> dict[str, Any]:
    return {"sha256": sha256, "bytes": 11, "exporter": exporter, "warnings": []}


def real_hash(export: Path) -> str:
    recorded: str = json.loads((export / "artifact.json").read_text())["files"][0]["sha256"]
    return recorded


def test_an_artifact_of_evidence_is_found_by_its_hash_in_the_cell_of_the_same_backend(
    tmp_path: Path, cache: Path
) -> None:
    cells: list[dict[str, Any]] = [
        {"backend": "torchscript", "artifact": made(HASH)},
        {"device": "rig", "artifact": made(HASH)},
        {"model": "other", "artifact": made(HASH)},
        {"artifact": made(real_hash(cache))},
    ]
    other = read(evidence(tmp_path, cells), cell(tmp_path))
    assert other.artifacts["onnxruntime"].folder == cache
    assert other.described["onnxruntime"] == {
        "model": "net",
        "device": "local",
        "commit": "abc1234",
        "started": "2026-11-26T10:00:00Z",
    }


def test_evidence_of_another_device_will_do_where_there_is_no_other(tmp_path: Path, cache: Path) -> None:
    other = read(evidence(tmp_path, [{"device": "rig", "artifact": made(real_hash(cache))}]), cell(tmp_path))
    assert other.described["onnxruntime"]["device"] == "rig"


@pytest.mark.parametrize(
    ("cells", "differs", "said"),
    [
        pytest.param([], {}, ["no artifact to compare net-local-onnxruntime with"], id="no-cells"),
        pytest.param([{}], {}, ["no artifact", "no cell with an artifact"], id="a-cell-that-failed-to-export"),
        pytest.param(
            [{"backend": "torchscript", "artifact": made(HASH)}],
            {},
            ["wanted: one of backend onnxruntime", "net on local, torchscript", "choose a --backend"],
            id="another-backend",
        ),
        pytest.param(
            [{"model": "a", "artifact": made(HASH)}, {"model": "b", "artifact": made(HASH[::-1])}],
            {},
            ["several artifacts", "a on local", "b on local"],
            id="two-other-models",
        ),
        pytest.param(
            [{"artifact": made(HASH)}],
            {},
            ["the cache no longer has the artifact", HASH, "git worktree add ../old abc1234"],
            id="not-in-the-cache",
        ),
        pytest.param([{"artifact": made(HASH)}], {"measure": {"n": 4}}, ["measure", "{'n': 4}"], id="other-sizes"),
        pytest.param(
            [{"artifact": made(HASH)}],
            {"exporter": "torch.onnx.export(dynamo=False)"},
            ["exporter", "dynamo=False", "dynamo=True"],
            id="another-exporter",
        ),
        pytest.param(
            [{"artifact": made(HASH)}], {"files": {"onnx": "net.onnx"}}, ["exporter", "'given'"], id="now-a-given-file"
        ),
    ],
)
@pytest.mark.usefixtures("cache")
def test_evidence_that_cannot_be_compared_with_is_refused(
    tmp_path: Path, cells: Sequence[Mapping[str, Any]], differs: dict[str, Any], said: Sequence[str]
) -> None:
    with pytest.raises(InputError) as caught:
        read(evidence(tmp_path, cells), cell(tmp_path, **differs))
    assert [text for text in said if text not in str(caught.value)] == []


def test_an_artifact_that_was_changed_in_the_cache_is_not_there(tmp_path: Path, cache: Path) -> None:
    path = evidence(tmp_path, [{"artifact": made(real_hash(cache))}], commit="abc1234+changes")
    (cache / "model.onnx").write_bytes(b"another one")
    with pytest.raises(InputError, match=r"add ../old abc1234 \(without the changes that were not committed\)"):
        read(path, cell(tmp_path))


@pytest.mark.parametrize(
    ("named", "text", "said"),
    [
        pytest.param("none.py", None, "no such file", id="missing"),
        pytest.param(".", None, "a folder", id="a-folder"),
        pytest.param("net.py", "x = 1\n", "--against names the model itself", id="itself"),
        pytest.param("sub/../net.py", "x = 1\n", "--against names the model itself", id="itself-by-another-path"),
        pytest.param("broken.json", "{", "the evidence is not JSON", id="no-json"),
    ],
)
def test_what_is_nothing_to_compare_with_is_refused(tmp_path: Path, named: str, text: str | None, said: str) -> None:
    (tmp_path / "sub").mkdir()
    if text is not None:
        (tmp_path / named).write_text(text)
    with pytest.raises(InputError, match=said):
        read(tmp_path / named, cell(tmp_path))


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        pytest.param(lambda at: [cell(at), cell(at, name="two")], "one model with one other build", id="two-models"),
        pytest.param(lambda at: [cell(at, device="qemu-pi4")], "their baseline", id="emulated"),
        pytest.param(lambda at: [cell(at), cell(at, device="qemu-pi4")], "found:  qemu-pi4", id="one-is-emulated"),
    ],
)
def test_a_run_that_cannot_be_compared_is_refused(
    tmp_path: Path, cells: Callable[[Path], list[Cell]], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path / "old.py", *cells(tmp_path))


def test_without_the_option_there_is_none(tmp_path: Path) -> None:
    assert read(cast(Path, None), cell(tmp_path)) is None


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_model_file_is_read_and_compared_before_anything_is_built(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "old.py"
    path.write_text(OTHERS.replace("DTYPE", dtype))
    if dtype == "float32":
        assert read(path, cell(tmp_path)).file.name == "old"
        return
    with pytest.raises(InputError, match="dtype of input 'x'") as caught:
        read(path, cell(tmp_path))
    assert (caught.value.found, caught.value.where) == ("'float16'", str(path))


@pytest.mark.parametrize(
    ("at", "is_tree", "refused"),
    [
        pytest.param("apart/model.py", True, False, id="a-worktree-with-code-of-its-own"),
        pytest.param("old/model.py", True, True, id="a-worktree-that-imports-this-trees-code"),
        pytest.param("new/old/model.py", True, True, id="a-worktree-inside-of-this-tree"),
        pytest.param("new/old/model.py", False, False, id="a-variant-in-this-tree-that-shares-code"),
        pytest.param("copy/model.py", False, False, id="a-copy-that-is-in-no-tree"),
    ],
)
def test_a_worktree_that_is_built_of_this_trees_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, is_tree: bool, refused: bool
) -> None:
    path, new = tmp_path / at, tmp_path / "new"
    path.parent.mkdir(parents=True)
    for folder in (new, *([path.parent] if is_tree else [])):
        (folder / ".git").mkdir(parents=True)
    (new / "src").mkdir()
    (new / "src" / "mynet_of_new.py").write_text("WIDTH = 4\n")
    monkeypatch.syspath_prepend(str(new / "src"))  # as one that is installed editable
    monkeypatch.chdir(new)  # as modules say that have no file
    text = (
        "import sys\nsys.modules['no_file'] = type(sys)('no_file')\nsys.modules['no_file'].__file__ = '_no_file.py'\n"
    )
    imports = "" if at.startswith("apart") else "import mynet_of_new\n"
    path.write_text(text + imports + OTHERS.replace("DTYPE", "float32"))
    if not refused:
        assert read(path, cell(new)).file is not None
        return
    with pytest.raises(InputError, match="would be compared with itself") as caught:
        read(path, cell(new))
    assert caught.value.found == f"mynet_of_new: {new / 'src' / 'mynet_of_new.py'}"
