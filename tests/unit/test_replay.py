"""Replay: its ratio is the comparison's, its settings are the device's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness import Closeness
from harness.errors import StorageError
from harness.export import Artifact
from harness.model.model import Array
from harness.parity import replay
from harness.parity.replay import how_to_replay
from harness.parity.replay.program import DEFAULTS, ratio_of, settings_of
from harness.parity.replay.write import write_replay
from harness.parity.rule.comparison import Expected, compare_output

INF, NAN = np.inf, np.nan
LARGEST = float(np.finfo(np.float32).max)


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


def f16(*values: float) -> Array:
    return np.array(values, np.float16)


@pytest.mark.parametrize(
    ("eager", "exact", "found"),
    [
        pytest.param(f32(1, 2), [1, 2 + 1e-7], f32(1, 2.5), id="finite"),
        pytest.param(f32(1, 2), [1, 2], f32(1, 2), id="equal"),
        pytest.param(f32(1, INF), [1, LARGEST / 2], f32(1, LARGEST / 4), id="only-the-float64-run-is-finite"),
        pytest.param(f32(1, INF), [1, LARGEST / 2], f32(1, INF), id="infinite-as-eager"),
        pytest.param(f32(1, LARGEST), [1, 1e39], f32(1, LARGEST / 2), id="only-eager-is-finite"),
        pytest.param(f32(1, LARGEST), [1, 1e39], f32(1, INF), id="infinite-as-the-float64-run"),
        pytest.param(f32(1, 3), [1, NAN], f32(1, 4), id="eager-beside-nan"),
        pytest.param(f32(1, NAN), [1, NAN], f32(1, NAN), id="nan"),
        pytest.param(f32(1, 3), [1, 3], f32(1, NAN), id="nan-that-should-not-be"),
        pytest.param(f32(1, INF), [1, INF], f32(1, -INF), id="the-other-infinity"),
        pytest.param(f32(1e-42), [1e-42], f32(0), id="flushed-to-zero"),
        pytest.param(f32(), [], f32(), id="no-elements"),
        pytest.param(f32(1), [1], f32(1, 2), id="shape"),
        pytest.param(f16(1, 6e4), [1, 1e5], f16(1, 5e4), id="float16-only-eager-is-finite"),
    ],
)
def test_the_ratio_is_that_of_the_comparison(eager: Array, exact: list[float], found: Array) -> None:
    expected = Expected("y", eager, np.array(exact, np.float64))
    wanted = compare_output(expected, found).ratio
    assert ratio_of(found, expected.eager, expected.exact, expected.scale) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(f32(1, 2.5), id="finite"),
        pytest.param(f32(1, INF), id="infinite"),
        pytest.param(f32(1, 2), id="equal"),
    ],
)
def test_the_ratio_is_that_of_a_closeness_too(found: Array) -> None:
    closeness = Closeness(rtol=0.1)
    expected = Expected("y", f32(1, 2), np.array([1.0, 2.0]), closeness=closeness)
    wanted = compare_output(expected, found).ratio
    assert ratio_of(found, expected.eager, expected.exact, closeness.allowed(expected.eager)) == pytest.approx(wanted)


FACTS = {"cell": "net", "what": "it is off", "tolerance": 30.0}


def replay_into(folder: Path, inputs: dict[str, Array] | None = None, artifact_format: str = "onnx") -> None:
    artifact = Artifact.__new__(Artifact)
    (folder.parent / "net.onnx").write_text("a graph")
    file = SimpleNamespace(name="net.onnx")
    for key, value in {"format": artifact_format, "folder": folder.parent, "files": (file,)}.items():
        object.__setattr__(artifact, key, value)
    write_replay(folder, artifact, inputs or {"x": f32(1)}, [Expected("y", f32(1), np.ones(1))], {}, FACTS)


def test_an_array_may_have_any_name(tmp_path: Path) -> None:
    names = {name: f32(1) for name in ("file", "allow_pickle", "/model/Mul_output_0", "a b")}
    replay_into(tmp_path / "net", names)
    stored = np.load(tmp_path / "net" / "inputs.npz")
    assert sorted(stored) == sorted(names)


def test_a_replay_of_a_run_that_was_killed_is_written_anew(tmp_path: Path) -> None:
    replay_into(tmp_path / "net")
    (tmp_path / "net" / "found.npz").unlink()
    replay_into(tmp_path / "net")
    assert (tmp_path / "net" / "found.npz").exists()


def test_a_folder_that_is_no_replay_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "inputs.npz").write_text("mine")
    with pytest.raises(StorageError):
        replay_into(tmp_path / "net")
    assert (tmp_path / "net" / "inputs.npz").read_text() == "mine"


RUNNER = """
def infer(path, inputs, settings, notify):
    notify(f"{settings['threads']} thread")
    return [inputs["x"] + (open(path).read() == "a graph")]
"""


def run_replay(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run it as a person does, and without a word of the environment's."""
    return subprocess.run(
        [sys.executable, "-I", str(folder / "replay.py")], check=False, capture_output=True, text=True
    )


def test_a_format_is_run_again_by_the_file_that_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "toy.py").write_text(RUNNER)
    monkeypatch.setattr(replay, "__path__", [*replay.__path__, str(tmp_path / "more")])
    replay_into(tmp_path / "net", artifact_format="toy")
    assert how_to_replay(tmp_path / "net") == f"See it again: python {tmp_path}/net/replay.py"
    done = run_replay(tmp_path / "net")
    assert done.returncode == 1, done.stderr
    assert "1 thread" in done.stdout
    assert "the difference is still there" in done.stdout


@pytest.mark.parametrize(
    ("artifact_format", "reason"),
    [
        ("none", "nothing runs the format none again: there is no harness/parity/replay/none.py"),
        ("write", "replay/write.py has no infer(path, inputs, settings, notify)"),
    ],
)
def test_of_a_format_that_nothing_runs_again_that_is_said(artifact_format: str, reason: str, tmp_path: Path) -> None:
    replay_into(tmp_path / "net", artifact_format=artifact_format)
    assert how_to_replay(tmp_path / "net").startswith(f"Kept in {tmp_path}/net, but nothing runs")
    assert how_to_replay(tmp_path / "net").endswith(reason)
    done = run_replay(tmp_path / "net")
    assert done.returncode == 1
    assert reason in done.stderr


@pytest.mark.parametrize(
    ("case", "settings"),
    [
        pytest.param({}, {}, id="nothing-known"),
        pytest.param({"fingerprint": None}, {}, id="no-fingerprint"),
        pytest.param({"fingerprint": {"threads": 4}}, {"threads": 4}, id="the-devices-threads"),
        pytest.param(
            {"threads": 3, "options": {"providers": ["A"]}},
            {"threads": 3, "providers": ["A"]},
            id="what-its-file-wants",
        ),
        pytest.param(
            {"threads": 4, "fingerprint": {"threads": 4, "settings": {"threads": 2, "providers": ["A", "B"]}}},
            {"threads": 2, "providers": ["A", "B"]},
            id="what-was-really-set",
        ),
    ],
)
def test_the_settings_are_the_devices(case: dict[str, Any], settings: dict[str, Any]) -> None:
    assert settings_of(case) == {**DEFAULTS, **settings}
