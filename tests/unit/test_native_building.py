"""Runners and their engines, built from next to nothing: once, the same anywhere, with the compiler's words."""

from __future__ import annotations

import platform
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.backends import Native
from harness.bundle.archive import Archive
from harness.bundle.native import building
from harness.bundle.native.building import Sdk, build_runners, check_glibc, newest_glibc, provide_runner
from harness.bundle.native.compiler import find_compiler
from harness.bundle.native.packages import Headers
from harness.bundle.wheels import Wheel
from harness.errors import BackendError
from harness.host.progress_log import showing_progress

NATIVE = Native(engine="tiny", library="lib/libmain.so", includes=("include",))
PROGRAM = "int main() {}\n"
# Where it stands is in it, but for what a prefix stands for.
ENGINE = '#include "tiny.h"\nextern "C" const char* where() { return __FILE__; }\n'
HEADER = 'extern "C" const char* header() { return __FILE__; }\n'


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def shared(path: Path, source: str, *flags: str) -> Path:
    words = ["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", str(path), *flags]
    subprocess.run(words, input=source, text=True, check=True, timeout=60)
    return path


@pytest.mark.parametrize(
    ("source", "flags", "version"),
    [
        pytest.param("int f() { return 1; }", ["-nostdlib"], (0,), id="none"),
        # Since then in the C library itself, on every architecture.
        pytest.param("#include <time.h>\nint f() { return clock_gettime(0, nullptr); }", [], (2, 17), id="2.17"),
    ],
)
def test_the_newest_glibc_is_read_from_what_was_built(
    tmp_path: Path, source: str, flags: Sequence[str], version: tuple[int, ...]
) -> None:
    assert newest_glibc(shared(tmp_path / "lib.so", source, *flags)) == version


@pytest.mark.parametrize(
    ("wants", "libc", "runs"),
    [
        pytest.param("2.34", "glibc-2.34", True, id="equal"),
        pytest.param("2.34", "glibc-2.36", True, id="newer"),
        pytest.param("2.9", "glibc-2.17", True, id="newer-by-number"),
        pytest.param("2.2.5", "glibc-2.31", True, id="three-numbers"),
        pytest.param("2.34", "glibc-2.31", False, id="older"),
        pytest.param("2.17", "glibc-2.9", False, id="older-by-number"),
        pytest.param("2.34", "musl-1.2", False, id="musl"),
        pytest.param("2.34", "musl-3.0", False, id="musl-by-number"),
        pytest.param("2.34", "", False, id="unknown"),
    ],
)
def test_a_runner_is_refused_where_the_c_library_is_too_old(wants: str, libc: str, runs: bool) -> None:
    runner = Archive(Path("runner.zip"), "", 0, 0, {"glibc": wants})
    if runs:
        check_glibc(runner, "aarch64", libc, "pi")
        return
    with pytest.raises(BackendError) as caught:
        check_glibc(runner, "aarch64", libc, "pi (devices/pi.toml)")
    assert (caught.value.wanted, caught.value.found) == (f"glibc {wants} or newer", libc or "no glibc")
    assert caught.value.where == "pi (devices/pi.toml)"
    assert "HILGATE_SYSROOT_AARCH64=" in caught.value.hint


@pytest.fixture
def sdk(tmp_path: Path) -> Sdk:
    """Of a runtime that has one library and one header."""
    for name in ("include", "lib"):
        (tmp_path / "a runtime" / name).mkdir(parents=True)
    shared(tmp_path / "a runtime" / NATIVE.library, "int one = 1;")
    (tmp_path / "a runtime/include/tiny.h").write_text(HEADER)
    return Sdk("1.0", tmp_path / "a runtime", "identity")


@pytest.fixture
def headers(tmp_path: Path) -> Headers:
    return Headers(tmp_path / "headers", (), "headers")


def sources(folder: Path, monkeypatch: pytest.MonkeyPatch, engine: str = ENGINE) -> Path:
    """Runners' sources as they are laid out, with next to nothing in them."""
    shutil.copytree(building.SOURCES, folder, ignore=shutil.ignore_patterns("tests", "examples"))
    for path in folder.glob("*/*.cpp"):
        path.write_text(PROGRAM if path.name == "main.cpp" else "")
    (folder / "engines" / "tiny.cpp").write_text(engine)
    monkeypatch.setattr(building, "SOURCES", folder)
    return folder


def provide(sdk: Sdk, headers: Headers, said: list[str]) -> Archive:
    with showing_progress(said.append):
        return provide_runner(NATIVE, sdk, headers, find_compiler(platform.machine()))


def test_a_runner_is_built_once_and_says_what_it_needs(
    sdk: Sdk, headers: Headers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources(tmp_path / "sources", monkeypatch)
    said: list[str] = []
    made = provide(sdk, headers, said)
    assert provide(sdk, headers, said) == made
    assert said == [f"building the C++ runner of tiny 1.0 for {platform.machine()}, once"]
    with zipfile.ZipFile(made.source) as archive:
        assert archive.namelist() == ["hilgate/runner", "hilgate/engine.so"] == list(made.described["files"])
    assert made.described["glibc"].startswith("2.")
    assert "g++" in made.described["compiler"]


def test_no_place_is_in_what_is_built_even_where_paths_have_blanks(
    sdk: Sdk, headers: Headers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources(tmp_path / "sources", monkeypatch)
    made = provide(sdk, headers, [])
    sources(tmp_path / "other sources", monkeypatch)
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "another cache"))
    assert provide(sdk, headers, []).described == made.described
    with zipfile.ZipFile(made.source) as archive:
        assert not [name for name in archive.namelist() if str(tmp_path).encode() in archive.read(name)]


def test_a_users_own_flags_and_build_type_change_nothing(
    sdk: Sdk, headers: Headers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources(tmp_path / "sources", monkeypatch)
    made = provide(sdk, headers, [])
    for name, value in (("CMAKE_BUILD_TYPE", "Debug"), ("CXXFLAGS", "-g"), ("CMAKE_CXX_STANDARD", "11")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "another cache"))
    assert provide(sdk, headers, []).described == made.described


def test_what_a_compiler_says_of_an_engine_is_shown_and_nothing_is_kept(
    sdk: Sdk, headers: Headers, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources(tmp_path / "sources", monkeypatch, "int f() { return nonsense; }\n")
    with pytest.raises(BackendError, match=r"of tiny does not build(.|\n)*error: .nonsense. was not declared"):
        provide(sdk, headers, [])
    assert list((cache / "runners" / "files").iterdir()) == []


@pytest.mark.parametrize("what", ["includes", "libraries"])
def test_what_a_runtime_lacks_for_building_is_named(headers: Headers, tmp_path: Path, what: str) -> None:
    compiler = find_compiler(platform.machine())
    missing: dict[str, Any] = {what: [tmp_path / "missing"]}
    with pytest.raises(BackendError) as caught:
        build_runners(tmp_path / "build", compiler, headers, engine="tiny", **missing)
    assert (caught.value.wanted, caught.value.found) == (
        "the runtime's headers and libraries",
        f"no {tmp_path / 'missing'}",
    )


def test_of_a_wheel_only_what_is_built_with_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "pkg-1.0-py3-none-any.whl"
    wanted = ["pkg/include/a/b.h", "pkg/lib/liba.so.1.0", "pkg/lib/libb.so"]
    with zipfile.ZipFile(path, "w") as archive:
        for name in (*wanted, "pkg/include_other/a.h", "pkg/lib/libc.so", "pkg/module.py"):
            archive.writestr(name, name)
    native = Native("tiny", "pkg/lib/liba.so.{version}", linked=("pkg/lib/libb.so",), includes=("pkg/include",))
    sdk = Sdk.of_wheel(Wheel("pkg", "1.0", path, "", 0, 0))
    with sdk.unpacked(native, tmp_path / "work") as root:
        assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == wanted


def test_an_installed_package_is_another_one_where_its_record_is(tmp_path: Path) -> None:
    record = tmp_path / "my_pkg-1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    identities = set()
    for text in ("a,sha256=1,1", "a,sha256=2,1"):
        record.write_text(text)
        identities.add(Sdk.installed(tmp_path, "my-pkg", "1.0").identity)
    assert len(identities) == 2


def test_a_sysroot_in_another_place_is_the_same_one(
    sdk: Sdk, headers: Headers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that was moved, or is seen under another name, builds nothing anew."""
    sources(tmp_path / "sources", monkeypatch)
    said: list[str] = []
    for place in ("one", "two"):
        root = tmp_path / place
        plain = find_compiler(platform.machine())
        # An option that means nothing, with the sysroot's path in it.
        moved = replace(plain, sysroot=root, flags=[f"-fdebug-prefix-map={root}=."], cmake=())
        with showing_progress(said.append):
            provide_runner(NATIVE, sdk, headers, moved)
    assert len(said) == 1
