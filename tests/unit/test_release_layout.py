"""The folder of a release: what is in it, with which modes, and that nothing of what was not tested gets into it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.bundle.bundle import AGENT
from harness.errors import InputError
from harness.release.layout import Laid, lay_out
from harness.release.parts import collect
from harness.release.sums import read_sums
from tests.support.small_bundle import KINDS, MODEL, SmallBundle, make_answers


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))


def files_in(folder: Path) -> dict[str, int]:
    """Return the mode of each path that is no folder."""
    found = {}
    for home, _, names in os.walk(folder):
        for name in names:
            path = Path(home, name)
            found[str(path.relative_to(folder))] = stat.S_IMODE(path.lstat().st_mode)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_all_files_are_regular_hashed_and_of_two_modes(tmp_path: Path, kind: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        laid = SmallBundle(tmp_path, kind).lay_out()
    finally:
        os.umask(before)
    modes = files_in(laid.folder)
    assert sorted(modes) == sorted([*laid.hashes, "SHA256SUMS"])
    assert {path for path, mode in modes.items() if mode == 0o755} == set(laid.executable)
    assert set(modes.values()) == {0o644, 0o755}
    assert all(stat.S_ISREG((laid.folder / path).lstat().st_mode) for path in modes)
    folders = [Path(home) for home, _, _ in os.walk(laid.folder)]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o755}
    hashes = {path: hashlib.sha256((laid.folder / path).read_bytes()).hexdigest() for path in laid.hashes}
    assert hashes == laid.hashes == read_sums(laid.sums, "SUMS")
    assert (laid.folder / "SHA256SUMS").read_bytes() == laid.sums
    assert hashlib.sha256(laid.sums).hexdigest() == laid.sha256
    assert (laid.folder / "check/executable").read_text().splitlines() == list(laid.executable)
    assert laid.model_bytes == len(MODEL)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=laid.folder, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


EVERY = ["README.md", "artifact/model.onnx", "check/0-in-0.bin", "check/0-out-0.bin", "check/check.json"]
EVERY += ["check/executable", "env", "evidence.json", "manifest.json", "net-v2.1.service", "run"]


def test_a_runtime_is_unpacked_as_on_the_board(tmp_path: Path) -> None:
    laid = SmallBundle(tmp_path, "shipped").lay_out()
    agent = [f"agent/{path.name}" for path in AGENT.glob("*.py")]
    runtime = ["__init__.py", "__pycache__/__init__.cpython-311.pyc", "bin/a program", "ümlaut.txt"]
    named = [f"runtime/tiny/{name}" for name in runtime] + ["runtime/tiny-1.0.dist-info/WHEEL", "agent/backend.py"]
    assert sorted(laid.hashes) == sorted([*EVERY, *agent, *named])
    assert laid.executable == ("run", "runtime/tiny/bin/a program")


def test_a_runner_comes_without_an_agent(tmp_path: Path) -> None:
    laid = SmallBundle(tmp_path, "native").lay_out()
    named = ["hilgate/engine.so", "hilgate/runner", "onnxruntime/capi/libonnxruntime.so.1.2.3"]
    assert sorted(laid.hashes) == sorted([*EVERY, *(f"runtime/{name}" for name in named)])
    assert laid.executable == ("run", *(f"runtime/{name}" for name in named))


def test_an_installed_runtime_leaves_nothing_to_unpack(tmp_path: Path) -> None:
    laid = SmallBundle(tmp_path, "installed").lay_out()
    assert not (laid.folder / "runtime").exists()
    assert "must be installed there | `numpy 2.0.0, onnxruntime 1.2.3`" in (laid.folder / "README.md").read_text()


def test_equal_parts_make_equal_releases(tmp_path: Path) -> None:
    bundle = SmallBundle(tmp_path, "shipped")
    cell = bundle.cell()
    names = []
    for place in ("first", "second"):
        (tmp_path / place).mkdir()
        parts = collect(bundle.evidence, cell)
        names.append(lay_out(tmp_path / place, parts, cell, b"{}\n", bundle.answers, bundle.facts()).sha256)
    assert names[0] == names[1]


def test_the_check_has_the_answers_and_how_to_load(tmp_path: Path) -> None:
    bundle = SmallBundle(tmp_path, "installed", answers=make_answers(2))
    laid = bundle.lay_out()
    check = json.loads((laid.folder / "check/check.json").read_text())
    assert {key: check[key] for key in ("schema", "backend", "p50_ms", "p50_ratio_max", "inferences", "most_s")} == {
        "schema": 1,
        "backend": "onnxruntime",
        "p50_ms": 1.25,
        "p50_ratio_max": 1.5,
        "inferences": 800,  # a second
        "most_s": 10,
    }
    assert check["load"] == {
        "artifact": "artifact/model.onnx",
        "inputs": ["x"],
        "outputs": ["y"],
        "operators": [],
        "options": {},
        "threads": 2,
        "interop_threads": 1,
        "flush_denormals": False,
        "library": None,
    }
    assert check["wanted"] == {"packages": {"onnxruntime": "1.2.3", "numpy": "2.0.0"}, "python": "3.11.2"}
    assert check["same"] == {"arch": "x86_64", "memory_mib": 1024}
    assert check["cases"][1] == {
        "inputs": [{"file": "check/1-in-0.bin", "dtype": "<f4", "shape": [1, 4]}],
        "answers": [
            {
                "file": "check/1-out-0.bin",
                "dtype": "<f8",
                "shape": [1, 3],
                "output_dtype": "<f4",
                "atol": 1e-6,
                "rtol": 1e-5,
            }
        ],
    }
    assert np.fromfile(laid.folder / "check/1-out-0.bin", "<f8").tolist() == [1.0, 2.0, 3.0]


def test_arrays_are_stored_in_c_order_and_little_endian(tmp_path: Path) -> None:
    path = tmp_path / "answers.npz"
    rows = np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))
    np.savez(path, **{"0.in.0": rows, "0.out.0": np.array(2.5, dtype=">f8")})  # type: ignore[arg-type]
    bundle = SmallBundle(tmp_path, answers=path.read_bytes())
    laid = bundle.lay_out()
    case = json.loads((laid.folder / "check/check.json").read_text())["cases"][0]
    assert [case["inputs"][0][key] for key in ("dtype", "shape")] == ["<i4", [2, 3]]
    assert [case["answers"][0][key] for key in ("dtype", "shape")] == ["<f8", []]
    assert np.fromfile(laid.folder / "check/0-in-0.bin", "<i4").tolist() == [0, 1, 2, 3, 4, 5]


def npz(path: Path, **arrays: Any) -> bytes:
    np.savez(path, **arrays)
    return path.read_bytes()


ONE = {"0.in.0": np.zeros(4, np.float32), "0.out.0": np.zeros(3)}
BAD_ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "no-output": ({"0.in.0": ONE["0.in.0"], "0.in.1": ONE["0.in.0"]}, "lack an array"),
    "more": ({**ONE, "0.in.1": np.zeros(1), "0.x": np.zeros(1), "more": np.zeros(1)}, "lack an array"),
    "beside": ({**ONE, "more": np.zeros(1)}, "not those of the evidence"),
    "texts": ({**ONE, "0.out.0": np.array(["a"])}, "no check compares"),
    "complex": ({**ONE, "0.out.0": np.zeros(2, complex)}, "no check compares"),
    "booleans of an output of floats": ({**ONE, "0.out.0": np.zeros(3, bool)}, "of another type than the outputs"),
    "pickle": ({**ONE, "0.out.0": np.array([{}], dtype=object)}, "cannot be read"),
}


@pytest.mark.parametrize(("arrays", "message"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_answers_that_no_check_could_compare_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    bundle = SmallBundle(tmp_path)
    bundle.answers = npz(tmp_path / "answers.npz", **arrays)
    with pytest.raises(InputError) as caught:
        bundle.lay_out()
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK", make_answers()[:-30]], ids=["empty", "no-zip", "cut"])
def test_answers_that_cannot_be_read_are_refused(tmp_path: Path, content: bytes) -> None:
    bundle = SmallBundle(tmp_path)
    answers = {"path": "answers/net.npz", "sha256": hashlib.sha256(content).hexdigest(), "allowed": [[]]}
    cell = bundle.cell(answers=answers)
    (tmp_path / "net").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        lay_out(tmp_path / "net", collect(bundle.evidence, cell), cell, b"{}", content, bundle.facts())


@pytest.mark.parametrize("keys", [{"answers": None}, {"answers": {"path": "a", "sha256": "0" * 64, "allowed": []}}])
def test_a_cell_without_its_answers_is_refused(tmp_path: Path, keys: dict[str, Any]) -> None:
    bundle = SmallBundle(tmp_path)
    cell = bundle.cell(**keys)
    (tmp_path / "net").mkdir()
    with pytest.raises(InputError, match=r"could check itself by|not those that the evidence names"):
        lay_out(tmp_path / "net", collect(bundle.evidence, cell), cell, b"{}", bundle.answers, bundle.facts())
    assert not list((tmp_path / "net").iterdir())


@pytest.mark.parametrize("name", ["", "../net", "a/b", "-net", ".net", "net\n", "a b", "n" * 101, "$(id)"])
def test_a_name_that_would_need_quotes_is_refused(tmp_path: Path, name: str) -> None:
    bundle = SmallBundle(tmp_path)
    cell = bundle.cell()
    (tmp_path / "net").mkdir()
    with pytest.raises(InputError, match="cannot have this name"):
        lay_out(tmp_path / "net", collect(bundle.evidence, cell), cell, b"{}", bundle.answers, bundle.facts(name=name))


def test_an_artifact_that_was_changed_in_the_cache_is_refused(tmp_path: Path) -> None:
    bundle = SmallBundle(tmp_path)
    path = bundle.cache / "exports" / ("e" * 64) / "model.onnx"
    path.write_bytes(MODEL[:-1] + b"L")
    with pytest.raises(InputError, match=r"damaged in the cache: artifact/model\.onnx"):
        bundle.lay_out()


def test_an_archive_that_must_not_be_unpacked_is_refused(tmp_path: Path) -> None:
    bundle = SmallBundle(tmp_path)
    bundle.manifest["runtime"]["runner"]["sha256"] = bundle.store("runners", "bad.zip", {"../up": ""})
    with pytest.raises(InputError, match="damaged in the cache: runtime") as caught:
        bundle.lay_out()
    assert "leaves the folder" in caught.value.found
    assert not (tmp_path / "up").exists()


def test_a_file_with_a_name_that_no_release_may_have_is_refused(tmp_path: Path) -> None:
    bundle = SmallBundle(tmp_path)
    bundle.manifest["runtime"]["runner"]["sha256"] = bundle.store("runners", "odd.zip", {"a\nb": ""})
    with pytest.raises(InputError, match="cannot be in a release"):
        bundle.lay_out()


def test_a_library_that_was_not_shipped_is_refused(tmp_path: Path) -> None:
    bundle = SmallBundle(tmp_path)
    load = {"artifact": "artifact/model.onnx", "inputs": ["x"], "outputs": ["y"], "library": "runtime/other.so"}
    cell = bundle.cell(load=load)
    (tmp_path / "net").mkdir()
    with pytest.raises(InputError, match="a library that was not in the bundle"):
        lay_out(tmp_path / "net", collect(bundle.evidence, cell), cell, b"{}", bundle.answers, bundle.facts())


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    bundle = SmallBundle(tmp_path)
    cell = bundle.cell()
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "file").write_text("somebody's")
    with pytest.raises(InputError, match="empty folder"):
        lay_out(tmp_path / "net", collect(bundle.evidence, cell), cell, b"{}", bundle.answers, bundle.facts())
    assert [path.name for path in (tmp_path / "net").iterdir()] == ["file"]


ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from harness.errors import StorageError
from harness.release.layout import lay_out
from harness.release.parts import collect
from tests.support.small_bundle import SmallBundle

bundle = SmallBundle(Path(sys.argv[1]), "shipped")
cell = bundle.cell()
parts = collect(bundle.evidence, cell)
folder = Path(sys.argv[1], "disk", "net")
folder.mkdir()
try:
    lay_out(folder, parts, cell, b"x" * 4096, bundle.answers, bundle.facts())
    print("laid out")
except StorageError as error:
    print(error.found, Path(error.where).is_relative_to(folder), (folder / "SHA256SUMS").exists())
"""


@pytest.mark.parametrize("size_kib", [8, 60, 200, 240, 4096])
def test_a_full_disk_is_a_storage_error(tmp_path: Path, size_kib: int) -> None:
    """Wherever it becomes full; SHA256SUMS is written last."""
    (tmp_path / "disk").mkdir()
    mount = f'mount -t tmpfs -o size={size_kib}k,mode=755 none "$DISK" && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    environment = {**os.environ, "DISK": str(tmp_path / "disk"), "PYTHONPATH": os.pathsep.join([*sys.path, "."])}
    if subprocess.run([*command, "true"], env=environment, check=False, capture_output=True).returncode:
        pytest.skip("no user may mount a file system here")
    program = [*command, sys.executable, "-c", ON_A_SMALL_DISK, str(tmp_path)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)
    full = "laid out" if size_kib == 4096 else f"{os.strerror(errno.ENOSPC)} True False"
    assert done.stdout.splitlines() == [full], done.stderr


def test_nothing_is_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was laid out is hashed while it is written."""
    bundle = SmallBundle(tmp_path, "shipped")
    cell = bundle.cell()
    parts = collect(bundle.evidence, cell)
    folder = tmp_path / "net"
    folder.mkdir()
    opened = []
    real = Path.open

    def spy(path: Path, *arguments: Any, **keys: Any) -> Any:
        opened.append(path)
        return real(path, *arguments, **keys)

    monkeypatch.setattr(Path, "open", spy)
    laid = lay_out(folder, parts, cell, b"{}", bundle.answers, bundle.facts())
    assert isinstance(laid, Laid)
    assert len(opened) == len(set(opened))
    assert not [path for path in opened if path.is_relative_to(folder)]
