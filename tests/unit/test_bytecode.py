"""Byte code made on the host: of every module that is unpacked, once, the same each time."""

from __future__ import annotations

import importlib.util
import json
import marshal
import platform
import sys
import zipfile
from pathlib import Path

import pytest

from harness.bundle import bytecode
from harness.bundle.bytecode import compile_wheel, same_bytecode
from harness.bundle.wheels import Wheel
from harness.host.cache import file_sha256

TAG = sys.implementation.cache_tag
MEMBERS = {
    "pkg/__init__.py": "",
    "pkg/a.py": "def f():\n    assert __debug__, 'kept'\n    return 1\n",
    "top.py": "# coding: latin-1\nx = 'é'\n",
    "pkg-1.data/purelib/pkg/b.py": "y = 2\n",
    "pkg-1.data/scripts/run.py": "z = 3\n",
    "torch/include/gen.py": "z = 4\n",
    "pkg/escape.py": 'pattern = "\\d"\n',
    "pkg/template.py": "class {{ name }}:\n",
    "pkg/future.py": "match x with y\n",
    "pkg/nul.py": "x = 1\0\n",
    "pkg/data.txt": "no module",
}
COMPILED = ["pkg/__pycache__/__init__", "pkg/__pycache__/a", "pkg/__pycache__/b", "pkg/__pycache__/escape"]


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "pkg-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in MEMBERS.items():
            archive.writestr(name, text.encode("latin-1"))
    return Wheel(
        name="pkg",
        version="1",
        path=path,
        sha256=file_sha256(path),
        bytes=path.stat().st_size,
        unpacked_bytes=sum(map(len, MEMBERS.values())),
    )


def test_every_module_that_is_unpacked_and_compiles_is_there(wheel: Wheel) -> None:
    made = compile_wheel(wheel)
    with zipfile.ZipFile(made.source) as archive:
        infos = archive.infolist()
    assert sorted(info.filename for info in infos) == [f"{one}.{TAG}.pyc" for one in ["__pycache__/top", *COMPILED]]
    assert made.unpacked_bytes == sum(info.file_size for info in infos)
    assert (made.bytes, made.sha256) == (made.source.stat().st_size, file_sha256(made.source))


def test_a_file_is_what_python_expects_and_is_never_checked(wheel: Wheel) -> None:
    with zipfile.ZipFile(compile_wheel(wheel).source) as archive:
        content = archive.read(f"pkg/__pycache__/a.{TAG}.pyc")
    assert content[:4] == importlib.util.MAGIC_NUMBER
    assert int.from_bytes(content[4:8], "little") == 0b01
    assert content[8:16] == importlib.util.source_hash(MEMBERS["pkg/a.py"].encode())
    names: dict[str, object] = {}
    exec(marshal.loads(content[16:]), names)  # noqa: S102, S302  # our own, of a line ago
    assert names["f"]() == 1  # type: ignore[operator]


def test_the_archive_says_nothing_about_when_it_was_made(wheel: Wheel) -> None:
    with zipfile.ZipFile(compile_wheel(wheel).source) as archive:
        assert {(info.date_time, info.external_attr, info.compress_type) for info in archive.infolist()} == {
            ((1980, 1, 1, 0, 0, 0), 0o100644 << 16, zipfile.ZIP_DEFLATED)
        }


def test_a_wheel_is_compiled_once(wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    made = compile_wheel(wheel)
    monkeypatch.setattr(bytecode, "_compiled", None)
    assert compile_wheel(wheel) == made


@pytest.mark.parametrize("damage", ["archive", "record"])
def test_what_is_damaged_is_made_anew(wheel: Wheel, tmp_path: Path, damage: str) -> None:
    made = compile_wheel(wheel)
    (record,) = (tmp_path / "cache" / "bytecode" / "sets").iterdir()
    (made.source if damage == "archive" else record).write_text("{}", encoding="utf-8")
    again = compile_wheel(wheel)
    assert file_sha256(again.source) == again.sha256
    assert json.loads(record.read_text(encoding="utf-8"))["sha256"] == again.sha256
    assert sorted(path.name for path in (tmp_path / "cache" / "bytecode").iterdir()) == ["files", "sets"]


def test_another_interpreter_has_its_own(wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_wheel(wheel)
    monkeypatch.setattr(importlib.util, "MAGIC_NUMBER", b"\1\2\r\n")
    compile_wheel(wheel)
    assert len(list((tmp_path / "cache" / "bytecode" / "sets").iterdir())) == 2


@pytest.mark.parametrize(
    ("host", "device", "same"),
    [
        pytest.param("3.11.2", "3.11.9", True, id="micro"),
        pytest.param("3.11.2", "3.12.2", False, id="minor"),
        pytest.param("3.11.2", "3.1.1", False, id="prefix"),
        pytest.param("3.14.0", "3.14.0rc1", False, id="candidate"),
        pytest.param("3.14.0rc1", "3.14.0rc1", True, id="same-candidate"),
    ],
)
def test_byte_code_is_shared_within_a_minor_version(
    monkeypatch: pytest.MonkeyPatch, host: str, device: str, same: bool
) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: host)
    assert same_bytecode(device) is same
