"""Raw samples: those of the check are read, whatever else the evidence's path leads to is a problem in words."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.evidence import samples
from harness.evidence.samples import ReadSamples, read_samples
from harness.evidence.schema import CheckEntry
from harness.model.model import Array

RAW = "samples/net-pi4-onnxruntime.npy"
DURATIONS = np.array([3, -1, 1 << 62, 4], np.int64)
RELEASES = np.arange(12, dtype=np.int64).reshape(4, 3)


def saved(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def read(folder: Path, content: bytes | None = None, *, raw: str | None = RAW, **keys: Any) -> ReadSamples:
    """Read what a check names, once the file of samples has this content; with its hash, unless ``keys`` has one."""
    if content is not None:
        (folder / "samples").mkdir(exist_ok=True)
        (folder / RAW).write_bytes(content)
        keys = {"raw_sha256": hashlib.sha256(content).hexdigest(), **keys}
    check = {"metric": "latency_p99_ms", "verdict": "PASS", "samples": 4, "raw": raw, **keys}
    return read_samples(folder, CheckEntry.model_validate(check))


@pytest.mark.parametrize("array", [DURATIONS, RELEASES, RELEASES[:1], np.asfortranarray(RELEASES).copy("C")])
def test_what_was_saved_is_read(tmp_path: Path, array: Array) -> None:
    result = read(tmp_path, saved(array), samples=len(array))
    assert (result.problem, result.remark, result.is_verified) == ("", "", True)
    assert result.values is not None
    assert result.values.dtype == np.int64
    np.testing.assert_array_equal(result.values, array)


def test_samples_without_a_hash_are_read_and_not_called_verified(tmp_path: Path) -> None:
    result = read(tmp_path, saved(DURATIONS), raw_sha256=None)
    assert result.values is not None
    assert not result.is_verified
    assert "not verified" in result.remark


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        pytest.param({"samples": 4, "processes": [2, 2]}, "", id="exactly"),
        pytest.param({"samples": 3, "processes": [2, 1]}, "the check counts 3", id="too-many"),
        pytest.param({"samples": 5}, "fewer than the check counts", id="too-few"),
        pytest.param({"samples": 3}, "", id="some-were-dropped"),
        pytest.param(
            {"samples": 1, "by_content": {"uniform": {"samples": 3}, "samples": {"samples": 1}}}, "", id="two"
        ),
        pytest.param(
            {"samples": 1, "by_content": {"uniform": {"samples": 4}, "samples": {"samples": 1}}}, "have 5", id="2"
        ),
        pytest.param(
            {"samples": 4, "by_content": {"uniform": {"samples": True}, "a": 3}}, "", id="by-content-nonsense"
        ),
        pytest.param({"samples": 4, "by_content": {"uniform": {"samples": 10**300}}}, "", id="by-content-huge"),
        pytest.param({"samples": 4, "by_content": []}, "", id="by-content-a-list"),
    ],
)
def test_as_many_samples_as_the_check_counts(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    result = read(tmp_path, saved(DURATIONS), **keys)
    assert problem in result.problem
    assert (result.values is None) is bool(problem)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(saved(DURATIONS)[:9], id="cut-in-the-header"),
        pytest.param(saved(DURATIONS)[:-1], id="cut"),
        pytest.param(saved(DURATIONS) + b"\0", id="more"),
        pytest.param(saved(DURATIONS.astype(np.float64)), id="float64"),
        pytest.param(saved(DURATIONS.astype(np.int32)), id="int32"),
        pytest.param(saved(DURATIONS.astype(">i8")), id="big-endian"),
        pytest.param(saved(RELEASES[:, :2].copy()), id="n-by-2"),
        pytest.param(saved(np.asfortranarray(RELEASES)), id="in-fortrans-order"),
        pytest.param(saved(np.array(4, np.int64)), id="a-number"),
        pytest.param(saved(DURATIONS).replace(b"(4,)", b"(10000000000000,)"), id="shape-huge"),
        pytest.param(saved(DURATIONS).replace(b"(4,), ", b"(-4,),"), id="shape-negative"),
        pytest.param(saved(DURATIONS).replace(b"'<i8'", b"'|O' "), id="objects"),
        pytest.param(b"\x93NUMPY\x01\x00\xff\xff" + b"[" * 65535, id="header-nested"),
        pytest.param(b"cos\nsystem\n(S'echo'\ntR.", id="pickle"),
    ],
)
def test_a_file_that_is_no_such_array_is_a_problem(tmp_path: Path, content: bytes) -> None:
    result = read(tmp_path, content)
    assert result.values is None
    assert "not a whole .npy file of int64" in result.problem


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([print], object), allow_pickle=True)
    assert "not a whole .npy file" in read(tmp_path, buffer.getvalue()).problem


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        pytest.param(None, "no raw samples", id="none"),
        pytest.param("samples/other.npy", "are not there", id="not-there"),
        pytest.param("samples/" + "x" * 5000, "cannot be read", id="name-too-long"),
        pytest.param("samples/\ud800", "are not there", id="half-a-surrogate-pair"),
        pytest.param("samples/folder", "no regular file", id="a-folder"),
        pytest.param("samples/pipe", "no regular file", id="a-pipe"),
        pytest.param("samples/link.npy", "behind a link", id="a-link"),
        *(
            pytest.param(raw, "leads out of their folder", id=name)
            for name, raw in {
                "absolute": "/etc/passwd",
                "above": "samples/../evidence.json",
                "the-folder": "samples/",
                "itself": "samples/.",
                "the-folder-above": "samples/..",
                "elsewhere": "replay/x.npy",
                "deeper": "samples/folder/x.npy",
                "nul": "samples/x\0.npy",
                "empty": "",
            }.items()
        ),
    ],
)
def test_a_path_that_leads_elsewhere_is_not_followed(tmp_path: Path, raw: str | None, problem: str) -> None:
    content = saved(DURATIONS)
    (tmp_path / "samples" / "folder").mkdir(parents=True)
    os.mkfifo(tmp_path / "samples" / "pipe")
    (tmp_path / "samples" / "link.npy").symlink_to(tmp_path / RAW)
    for path in ("replay/x.npy", "samples/folder/x.npy"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    result = read(tmp_path, content, raw=raw)
    assert result.values is None
    assert problem in result.problem


def test_a_folder_of_samples_that_is_a_link_is_not_followed_and_the_evidences_own_may_be_one(tmp_path: Path) -> None:
    content = saved(DURATIONS)
    sha256 = hashlib.sha256(content).hexdigest()
    (tmp_path / "real" / "samples").mkdir(parents=True)
    (tmp_path / "real" / RAW).write_bytes(content)
    (tmp_path / "linked").symlink_to("real")
    assert read(tmp_path / "linked", raw_sha256=sha256).is_verified
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "samples").symlink_to(tmp_path / "real" / "samples")
    assert "behind a link" in read(tmp_path / "other", raw_sha256=sha256).problem


def test_samples_that_were_changed_are_not_read(tmp_path: Path) -> None:
    sha256 = hashlib.sha256(saved(DURATIONS)).hexdigest()
    result = read(tmp_path, saved(DURATIONS + 1), raw_sha256=sha256)
    assert result.values is None
    assert "their SHA-256 is another" in result.problem


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "LARGEST_BYTES", len(saved(DURATIONS)) - 1)
    assert "larger than" in read(tmp_path, saved(DURATIONS)).problem
