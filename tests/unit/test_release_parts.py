"""Parts of a bundle: collected from the cache by their hashes, or each that cannot be had is named."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.bundle.bundle import AGENT
from harness.errors import InputError
from harness.release import parts as parts_module
from harness.release.parts import collect
from tests.support.small_bundle import KINDS, SmallBundle


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_bundle_is_collected(tmp_path: Path, kind: str) -> None:
    bundle = SmallBundle(tmp_path, kind)
    cell = bundle.cell()
    parts = collect(bundle.evidence, cell)
    assert parts.manifest == (bundle.evidence / "bundles" / f"{cell.bundle.sha256}.json").read_bytes()  # type: ignore[union-attr]
    assert list(parts.artifact) == ["model.onnx"]
    names = [archive.path.name for archive in parts.archives]
    expected: dict[str, tuple[list[str], dict[str, str], bool]] = {
        "shipped": (["tiny-1.0-py3-none-any.whl", "tiny.zip"], {"tiny": "1.0"}, True),
        "installed": ([], {"onnxruntime": "1.2.3", "numpy": "2.0.0"}, False),
        "native": (["libonnxruntime.zip", "runner.zip"], {"onnxruntime": "1.2.3"}, True),
        "native-installed": (["runner.zip"], {"onnxruntime": "1.2.3"}, False),
    }
    archives, packages, is_shipped = expected[kind]
    assert (names, dict(parts.packages)) == (archives, packages)
    assert dict(parts.installed) == ({} if is_shipped else packages)
    assert parts.is_native == kind.startswith("native")
    assert sorted(parts.agent) == (
        [] if parts.is_native else sorted([*(path.name for path in AGENT.glob("*.py")), "backend.py"])
    )


def test_an_artifact_without_an_entry_named_by_a_key_is_found_as_well(tmp_path: Path) -> None:
    bundle = SmallBundle(tmp_path)
    exports = bundle.cache / "exports"
    (exports / ("e" * 64)).rename(exports / "unkeyed-0123")
    assert list(collect(bundle.evidence, bundle.cell()).artifact) == ["model.onnx"]


@pytest.mark.parametrize(
    ("kind", "store", "message"),
    [
        ("native", "exports", "the artifact: model.onnx"),
        ("native", "runners", "the runner"),
        ("native", "libraries", "the runtime's libraries"),
        ("shipped", "wheels", "the wheel tiny-1.0-py3-none-any.whl"),
        ("shipped", "bytecode", "the byte code of tiny-1.0-py3-none-any.whl"),
    ],
)
def test_a_part_that_is_gone_is_named(tmp_path: Path, kind: str, store: str, message: str) -> None:
    bundle = SmallBundle(tmp_path, kind)
    bundle.forget(store)
    with pytest.raises(InputError, match="cannot be had any more") as caught:
        collect(bundle.evidence, bundle.cell())
    assert message in caught.value.found
    assert caught.value.found.count("\n") == 0
    assert "run the tests again" in caught.value.hint


def test_all_parts_that_are_gone_are_named_at_once(tmp_path: Path) -> None:
    bundle = SmallBundle(tmp_path, "shipped")
    shutil.rmtree(bundle.cache)
    with pytest.raises(InputError) as caught:
        collect(bundle.evidence, bundle.cell())
    assert len(caught.value.found.splitlines()) == 3


def test_a_damaged_archive_counts_as_gone(tmp_path: Path) -> None:
    bundle = SmallBundle(tmp_path)
    (path,) = (bundle.cache / "runners" / "files").rglob("*.zip")
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError) as caught:
        collect(bundle.evidence, bundle.cell())
    assert "the runner" in caught.value.found


def test_an_agent_that_has_changed_since_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = SmallBundle(tmp_path, "installed")
    cell = bundle.cell()
    other = tmp_path / "agent"
    shutil.copytree(AGENT, other)
    (other / "ring.py").write_text("changed\n")
    (other / "wire.py").unlink()
    (other / "more.py").write_text("")
    monkeypatch.setattr(parts_module, "AGENT_FOLDER", other)
    with pytest.raises(InputError) as caught:
        collect(bundle.evidence, cell)
    assert [line.partition(":")[0] for line in caught.value.found.splitlines()] == [
        "agent/more.py",
        "agent/ring.py",
        "agent/wire.py",
    ]
    assert "hilgate has changed since" in caught.value.found


@pytest.mark.parametrize("key", ["bundle", "artifact", "load"])
def test_evidence_that_does_not_say_what_was_tested_is_refused(tmp_path: Path, key: str) -> None:
    bundle = SmallBundle(tmp_path)
    with pytest.raises(InputError, match="does not say what was tested") as caught:
        collect(bundle.evidence, bundle.cell(**{key: None}))
    assert key in caught.value.wanted


def test_another_manifest_than_the_evidence_names_is_refused(tmp_path: Path) -> None:
    bundle = SmallBundle(tmp_path)
    cell = bundle.cell()
    (path,) = (bundle.evidence / "bundles").iterdir()
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(InputError, match="not the one that the evidence names"):
        collect(bundle.evidence, cell)


@pytest.mark.parametrize("what", ["nothing", "link", "fifo", "folder"])
def test_what_is_no_file_is_not_read_as_a_manifest(tmp_path: Path, what: str) -> None:
    bundle = SmallBundle(tmp_path)
    cell = bundle.cell()
    (path,) = (bundle.evidence / "bundles").iterdir()
    aside = path.rename(tmp_path / "aside")
    if what == "link":
        path.symlink_to(aside)
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        collect(bundle.evidence, cell)


def file_named(name: str) -> dict[str, Any]:
    return {"files": {name: {"sha256": "0" * 64, "bytes": 0}}}


BAD_MANIFESTS: dict[str, tuple[dict[str, Any], str]] = {
    "absolute": (file_named("/etc/passwd"), "absolute"),
    "leading-out": (file_named("artifact/../../x"), "leads out"),
    "newline": (file_named("artifact/a\nb"), "newline"),
    "backslash": (file_named("artifact/a\\b"), "backslash"),
    "doubled-slash": (file_named("artifact//a"), "shortest"),
    "not-utf8": (file_named("artifact/\udcff"), "not UTF-8"),
    "long": (file_named("artifact/" + "a" * 4000), "bytes"),
    "elsewhere": (file_named("bin/x"), "below agent/ and artifact/"),
    "at-the-top": (file_named("run"), "below agent/ and artifact/"),
    "schema": ({"schema": 2}, "schema"),
    "backend": ({"backend": "libtorch"}, "another backend's"),
    "no-runtime": ({"runtime": {}}, "either an agent or a runner"),
    "hash": ({"files": {"artifact/a": {"sha256": "x", "bytes": 0}}}, "sha256"),
    "bytes": ({"files": {"artifact/a": {"sha256": "0" * 64, "bytes": -1}}}, "bytes"),
    "byte-code": ({"runtime": {"python": "3.11.2", "wheels": [], "bytecode": ["0" * 64]}}, "byte code of each"),
}


@pytest.mark.parametrize(("change", "message"), BAD_MANIFESTS.values(), ids=BAD_MANIFESTS)
def test_a_manifest_that_no_run_writes_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    bundle = SmallBundle(tmp_path)
    bundle.manifest = {**bundle.manifest, **change}
    with pytest.raises(InputError) as caught:
        collect(bundle.evidence, bundle.cell())
    assert message in str(caught.value)


def test_a_key_that_is_in_a_manifest_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = SmallBundle(tmp_path)
    text = json.dumps(bundle.manifest).replace('"schema": 1', '"schema": 1, "schema": 1')
    monkeypatch.setattr(json, "dumps", lambda *_, **__: text)
    with pytest.raises(InputError, match="twice"):
        collect(bundle.evidence, bundle.cell())


def test_a_loaded_file_that_was_not_in_the_bundle_is_refused(tmp_path: Path) -> None:
    bundle = SmallBundle(tmp_path)
    load = {"artifact": "artifact/other.onnx", "inputs": ["x"], "outputs": ["y"]}
    with pytest.raises(InputError, match="not in the bundle"):
        collect(bundle.evidence, bundle.cell(load=load))
