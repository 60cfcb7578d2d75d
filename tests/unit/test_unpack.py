"""A runtime's archives on the device: what goes where, what is left out, and what is refused."""

from __future__ import annotations

import ast
import json
import os
import stat
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from harness.agent import unpack as module
from harness.agent.unpack import installed_path, unpack
from harness.bundle.bytecode import compile_wheel
from harness.bundle.wheels import Wheel
from harness.host.cache import file_sha256

SOURCE = Path(module.__file__ or "")


def _archive(path: Path, members: dict[str, str], mode: int = 0o100644) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, text)
    return str(path)


def _files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("member", "path"),
    [
        pytest.param("pkg/a.py", "pkg/a.py", id="plain"),
        pytest.param("pkg-1.0.dist-info/METADATA", "pkg-1.0.dist-info/METADATA", id="metadata"),
        pytest.param("pkg/", "pkg", id="folder"),
        pytest.param("pkg-1.0.data/purelib/pkg/a.py", "pkg/a.py", id="purelib"),
        pytest.param("pkg-1.0.data/platlib/pkg/a.so", "pkg/a.so", id="platlib"),
        pytest.param("pkg-1.0.data/purelib/", None, id="purelib-itself"),
        pytest.param("pkg-1.0.data/scripts/run", None, id="scripts"),
        pytest.param("pkg-1.0.data/headers/pkg.h", None, id="headers"),
        pytest.param("pkg-1.0.data/data/share/man", None, id="data"),
        pytest.param("pkg/pkg-1.0.data/scripts/run", "pkg/pkg-1.0.data/scripts/run", id="data-further-down"),
        pytest.param("torch/include/ATen/ATen.h", None, id="torch-headers"),
        pytest.param("pkg-1.0.data/purelib/torch/include/a.h", None, id="torch-headers-in-purelib"),
        pytest.param("torch/includes.py", "torch/includes.py", id="not-headers"),
        pytest.param("numpy/random/lib/libnpyrandom.a", None, id="static-archive"),
        pytest.param("torch/lib/torch.lib", None, id="import-library"),
        pytest.param("torch/bin/torch_shm_manager", "torch/bin/torch_shm_manager", id="torch-looks-for-it"),
        pytest.param("numpy/testing/__init__.py", "numpy/testing/__init__.py", id="testing-is-imported"),
    ],
)
def test_members_go_where_an_import_finds_them(member: str, path: str | None) -> None:
    assert installed_path(member) == path


@pytest.mark.parametrize(
    "member",
    [
        "../x",
        "a/../../x",
        "/etc/x",
        "a//x",
        "./x",
        "a/./x",
        "",
        "/",
        "..",
        "a\\..\\x",
        "a\0b",
        "p-1.data/purelib/../../x",
    ],
)
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, member: str) -> None:
    with pytest.raises(ValueError, match="leaves the folder"):
        installed_path(member)


def test_nothing_is_written_outside(tmp_path: Path) -> None:
    archive = _archive(tmp_path / "a.whl", {"ok.py": "1", "../../outside": "x"})
    with pytest.raises(ValueError, match="outside"):
        unpack([archive], str(tmp_path / "in" / "folder"))
    assert not (tmp_path / "in").exists()  # an archive is looked at whole before anything is written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.whl"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, kind: int) -> None:
    archive = _archive(tmp_path / "a.whl", {"link": "/etc/passwd"}, kind | 0o777)
    with pytest.raises(ValueError, match="no regular file"):
        unpack([archive], str(tmp_path / "folder"))
    assert not (tmp_path / "folder").exists()


def test_data_folders_are_laid_out_and_the_rest_of_them_left_out(tmp_path: Path) -> None:
    members = {
        "pkg/a.py": "1",
        "pkg-1.data/purelib/pkg/b.py": "2",
        "pkg-1.data/platlib/c.so": "3",
        "pkg-1.data/scripts/run": "4",
        "torch/include/a.h": "5",
    }
    unpack([_archive(tmp_path / "a.whl", members)], str(tmp_path / "folder"))
    assert _files(tmp_path / "folder") == {"pkg/a.py": "1", "pkg/b.py": "2", "c.so": "3"}


def test_a_later_archive_replaces_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    archives = [_archive(tmp_path / f"{name}.whl", {"ns/__init__.py": name, f"ns/{name}.py": ""}) for name in "ab"]
    unpack(archives, str(tmp_path / "folder"))
    assert _files(tmp_path / "folder") == {"ns/__init__.py": "b", "ns/a.py": "", "ns/b.py": ""}


@pytest.mark.parametrize(("mode", "unpacked"), [(0o100755, 0o700), (0o100644, 0o600), (0, 0o600), (0o106755, 0o700)])
def test_programs_stay_programs(tmp_path: Path, mode: int, unpacked: int) -> None:
    unpack([_archive(tmp_path / "a.whl", {"torch/bin/run": ""}, mode)], str(tmp_path))
    assert stat.S_IMODE((tmp_path / "torch/bin/run").stat().st_mode) == unpacked


def test_a_large_member_is_never_in_memory_whole(tmp_path: Path) -> None:
    archive = _archive(tmp_path / "a.whl", {"lib.so": "\0" * (32 << 20)})
    tracemalloc.start()
    try:
        unpack([archive], str(tmp_path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "lib.so").stat().st_size == 32 << 20
    assert peak < 6 << 20


def test_a_damaged_archive_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.py", "x = 1111")
    path.write_bytes(path.read_bytes().replace(b"1111", b"2222"))
    with pytest.raises(zipfile.BadZipFile):
        unpack([str(path)], str(tmp_path / "folder"))


IMPORT = "import json, sys; sys.path.insert(0, sys.argv[1]); import pkg.m as m; print(json.dumps([m.x, m.__cached__]))"


def test_shipped_byte_code_is_used_whatever_the_source_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))
    path = Path(_archive(tmp_path / "pkg-1-py3-none-any.whl", {"pkg/__init__.py": "", "pkg/m.py": "x = 'shipped'\n"}))
    wheel = Wheel(
        name="pkg", version="1", path=path, sha256=file_sha256(path), bytes=path.stat().st_size, unpacked_bytes=14
    )
    folder = tmp_path / "folder"
    unpack([str(path), str(compile_wheel(wheel).source)], str(folder))
    (folder / "pkg/m.py").write_text("x = 'source'\n")
    os.utime(folder / "pkg/m.py", (1, 1))
    done = subprocess.run(
        [sys.executable, "-B", "-I", "-c", IMPORT, str(folder)], stdout=subprocess.PIPE, check=True, timeout=60
    )
    cached = folder / "pkg" / "__pycache__" / f"m.{sys.implementation.cache_tag}.pyc"
    assert json.loads(done.stdout) == ["shipped", str(cached)]


def test_it_runs_alone_on_the_oldest_python_of_a_device() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or "."] if isinstance(node, ast.ImportFrom) else [item.name for item in node.names])
    ]
    assert [name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names] == []
