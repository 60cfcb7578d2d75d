"""What C++ runners are built with: compilers, headers and sysroots, found, fetched or named by the user."""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path

import pytest

from harness.bundle.native import packages, tool
from harness.bundle.native.compiler import find_compiler
from harness.bundle.native.packages import provide_headers, provide_sysroot
from harness.errors import BackendError
from harness.host.progress_log import showing_progress

API, PARSER = "onnxruntime/onnxruntime_cxx_api.h", "nlohmann/json.hpp"
INSTALL = "sudo apt-get install"
APT_GET = """#!/bin/sh
echo "$2" >> "$SAID"
cat "$APT_CONFIG" etc/sources.list >> "$SAID"
[ -z "$FAILS" ] || { echo "Reading lists"; echo "E: Failed to fetch: 404"; exit 100; }
[ "$2" = update ] || touch libc6_2%3a2.36-9_arm64.deb
"""
DPKG_DEB = """#!/bin/sh
mkdir -p "$3/usr/include" && touch "$3/usr/include/stdio.h"
"""


def program(path: Path, text: str) -> Path:
    """An executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="ascii")
    return folder


@pytest.fixture(autouse=True)
def nothing_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An x86-64 host whose user has said nothing, with an empty cache."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for name in ("CXX_X86_64", "CXX_AARCH64", "SYSROOT_X86_64", "SYSROOT_AARCH64", "HEADERS"):
        monkeypatch.delenv(f"HILGATE_{name}", raising=False)
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt that says what it was asked for in a file, and whose packages are empty."""
    for name, text in (("apt-get", APT_GET), ("dpkg-deb", DPKG_DEB), ("apt-config", "#!/bin/sh\n")):
        program(tmp_path / "bin" / name, text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    monkeypatch.setattr(packages, "KEYRING", touch(tmp_path, "keyring.gpg") / "keyring.gpg")
    monkeypatch.setenv("HILGATE_DEBIAN_MIRROR", "http://mirror.example/debian")
    return tmp_path / "said"


@pytest.mark.parametrize(
    ("machine", "arch", "install", "variable"),
    [
        pytest.param("x86_64", "x86_64", "g++", "HILGATE_CXX_X86_64", id="own"),
        pytest.param("x86_64", "aarch64", "g++-aarch64-linux-gnu", "HILGATE_CXX_AARCH64", id="arm64"),
        pytest.param("aarch64", "x86_64", "g++-x86-64-linux-gnu", "HILGATE_CXX_X86_64", id="x86-64-from-arm64"),
    ],
)
def test_where_there_is_no_compiler_the_package_and_the_variable_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, arch: str, install: str, variable: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError) as caught:
        find_compiler(arch)
    assert f"no C++ compiler for it\n  wanted: {'g++' if machine == arch else f'{arch}-linux-gnu-g++'}," in str(
        caught.value
    )
    assert caught.value.hint == f"{INSTALL} {install}, or name one: {variable}=PROGRAM"


@pytest.mark.parametrize("variable", ["HILGATE_CXX_X86_64", "HILGATE_CXX_AARCH64"])
def test_a_compiler_that_is_named_and_does_not_exist_is_the_one_that_is_missed(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "/no/such/c++")
    with pytest.raises(BackendError, match="found:  '/no/such/c") as caught:
        find_compiler(variable.removeprefix("HILGATE_CXX_").lower())
    assert caught.value.where == f"${variable}, in the environment"


def test_a_compiler_that_is_named_builds_for_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = program(tmp_path / "my-c++", '#!/bin/sh\n[ "$1" = --version ] && echo "my C++ 13\nof mine" || echo "/my$1"\n')
    monkeypatch.setenv("HILGATE_CXX_X86_64", str(own))
    compiler = find_compiler("x86_64")
    assert (compiler.program, compiler.version) == (str(own), "my C++ 13")
    assert (compiler.sysroot, *compiler.flags, *compiler.link_flags, *compiler.cmake) == (None,)
    assert compiler.tool("strip") == "/my-print-prog-name=strip"


def test_another_architecture_has_a_sysroot_and_its_newest_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sysroot = touch(tmp_path / "pi", *(f"usr/include/c++/{version}/vector" for version in ("9", "12", "10.2", "v1")))
    monkeypatch.setenv("HILGATE_SYSROOT_AARCH64", str(sysroot))
    monkeypatch.setenv("HILGATE_CXX_AARCH64", str(program(tmp_path / "my-c++", "#!/bin/sh\necho 13\n")))
    compiler = find_compiler("aarch64")
    assert compiler.sysroot == sysroot
    assert compiler.flags[:2] == ["-nostdinc++", f"-isystem{sysroot}/usr/include/c++/12"]
    assert f"-L{sysroot}/usr/lib/gcc/aarch64-linux-gnu/12" in compiler.link_flags
    assert f"-DCMAKE_SYSROOT={sysroot}" in compiler.cmake


def test_a_sysroot_without_a_cpp_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILGATE_SYSROOT_AARCH64", str(touch(tmp_path / "pi", "usr/include/c++/v1/vector")))
    monkeypatch.setenv("HILGATE_CXX_AARCH64", str(program(tmp_path / "my-c++", "#!/bin/sh\necho 13\n")))
    with pytest.raises(BackendError, match=r"no C\+\+ library(.|\n)*headers for arm64(.|\n)*where: .*/pi"):
        find_compiler("aarch64")


@pytest.mark.parametrize("content", ["missing", "empty"])
def test_a_sysroot_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("HILGATE_SYSROOT_AARCH64", str(tmp_path / content))
    with pytest.raises(BackendError, match=r"a folder with usr/include(.|\n)*where: .\$HILGATE_SYSROOT_AARCH64"):
        provide_sysroot("aarch64")


def test_headers_that_are_named_are_taken_from_wherever_below_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for a json.hpp that is another library's."""
    folder = touch(tmp_path / "mine", f"ort/include/{API}", f"include/{PARSER}", "include/boost/json.hpp")
    monkeypatch.setenv("HILGATE_HEADERS", str(folder))
    headers = provide_headers()
    assert (headers.json, headers.onnxruntime_folders[0]) == (folder / "include", folder / "ort/include/onnxruntime")


@pytest.mark.parametrize("changed", [f"include/{API}", "include/onnxruntime/onnxruntime_c_api.h", f"include/{PARSER}"])
def test_other_headers_have_another_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    folder = touch(tmp_path / "mine", f"include/{API}", f"include/{PARSER}")
    monkeypatch.setenv("HILGATE_HEADERS", str(folder))
    before = provide_headers().identity
    assert provide_headers().identity == before
    (folder / changed).write_text("changed", encoding="ascii")
    assert provide_headers().identity != before


def test_a_header_that_is_missing_where_the_user_says_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILGATE_HEADERS", str(touch(tmp_path / "mine", PARSER)))
    with pytest.raises(BackendError) as caught:
        provide_headers()
    assert (caught.value.wanted, caught.value.where) == ("onnxruntime_cxx_api.h", "$HILGATE_HEADERS")
    assert str(tmp_path / "mine") in caught.value.found


@pytest.mark.parametrize("there", [[API], [API, "boost/json.hpp"]])
def test_json_is_the_packages_own_where_the_user_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: list[str]
) -> None:
    monkeypatch.setenv("HILGATE_HEADERS", str(touch(tmp_path / "mine", *there)))
    headers = provide_headers()
    assert headers.onnxruntime_folders[0] in [(tmp_path / "mine" / name).parent for name in there]
    assert "NLOHMANN_JSON_VERSION_MAJOR" in (headers.json / PARSER).read_text(encoding="utf-8")


def test_what_libtorch_is_built_with_needs_no_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    headers = provide_headers(onnxruntime=False)
    assert ((headers.json / PARSER).is_file(), headers.onnxruntime_folders) == (True, ())


@pytest.mark.parametrize(
    ("lacks", "arch", "install"),
    [
        pytest.param("apt-get", "x86_64", "sudo dnf install gcc-c++", id="fedora"),
        pytest.param("apt-get", "aarch64", "sudo dnf install gcc-c++-aarch64-linux-gnu", id="fedora-cross"),
        pytest.param("nothing", "x86_64", f"{INSTALL} g++", id="debian-with-dnf"),
    ],
)
def test_the_compiler_is_installed_as_the_host_installs_things(
    monkeypatch: pytest.MonkeyPatch, lacks: str, arch: str, install: str
) -> None:
    there = {"dnf", "apt-get"} - {lacks}
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in there else None)
    with pytest.raises(BackendError, match="compiler for it") as caught:
        find_compiler(arch)
    assert caught.value.hint.startswith(f"{install}, or name one")


@pytest.mark.parametrize(
    ("lacks", "found", "install"),
    [
        pytest.param("apt-get", "not installed: apt-get", "", id="apt-get"),
        pytest.param("dpkg-deb", "not installed: dpkg-deb", "", id="dpkg-deb"),
        pytest.param("keyring", "debian-archive-keyring", f"{INSTALL} debian-archive-keyring; ", id="keyring"),
        pytest.param("mirror", "this machine's apt knows no mirror of Debian's", "", id="mirror"),
    ],
)
def test_where_packages_cannot_be_fetched_it_says_what_to_do(
    apt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str, found: str, install: str
) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == lacks else which(name))
    if lacks == "keyring":
        (tmp_path / "keyring.gpg").unlink()
    if lacks == "mirror":
        monkeypatch.setattr(packages, "debian_sources", lambda suite: [])
    with pytest.raises(BackendError) as caught:
        provide_headers()
    assert found in caught.value.found
    asked = "on a machine without apt name folders" if lacks == "apt-get" else "is this machine's apt set up"
    assert caught.value.hint.startswith(f"{install}{asked}")
    assert "HILGATE_HEADERS=DIR" in caught.value.hint
    assert not apt.exists()


def test_packages_are_unpacked_once(apt: Path, tmp_path: Path) -> None:
    said: list[str] = []
    with showing_progress(said.append):
        root = provide_sysroot("aarch64")
    assert (root / "usr/include/stdio.h").is_file()
    assert json.loads((root.parent / "versions.json").read_text()) == {"libc6": "2:2.36-9"}
    with showing_progress(said.append):
        assert provide_sysroot("aarch64") == root
    assert len(said) == 1
    asked = apt.read_text().splitlines()
    assert [line for line in asked if line in ("update", "download")] == ["update", "download"]
    assert 'APT::Architecture "arm64";' in asked
    assert [line for line in asked if line.startswith("deb ")] == [asked[-1]] * 2
    assert asked[-1].endswith("http://mirror.example/debian bookworm main")


def test_a_mirror_that_fails_is_quoted_and_leaves_nothing(
    apt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILS", "1")
    with pytest.raises(BackendError) as caught:
        provide_sysroot("aarch64")
    assert caught.value.found == "exit status 100; it said:\nReading lists\nE: Failed to fetch: 404"
    assert "HILGATE_SYSROOT_AARCH64=DIR" in caught.value.hint
    assert [path for path in (tmp_path / "cache/packages").iterdir() if path.is_dir()] == []


def test_a_program_that_is_absent_is_named() -> None:
    with pytest.raises(BackendError) as caught:
        tool.run(["/no/such/program", "an argument"], "it does not work", hint="get it")
    assert (caught.value.what, caught.value.hint) == ("it does not work", "get it")
    assert "No such file or directory" in caught.value.found
    assert caught.value.where == "/no/such/program 'an argument'"


@pytest.mark.parametrize(
    ("lines", "first", "last"),
    [
        pytest.param([f"note {i}" for i in range(40)], "note 25", "note 39", id="without-an-error-the-end"),
        pytest.param(
            [*(f"note {i}" for i in range(40)), "a.cpp:1: error: x", *(f"then {i}" for i in range(40))],
            "a.cpp:1: error: x",
            "then 13",
            id="from-the-first-error-on",
        ),
    ],
)
def test_of_a_program_that_fails_the_lines_that_count_are_shown(
    tmp_path: Path, lines: list[str], first: str, last: str
) -> None:
    text = "\n".join(lines).replace("'", "")
    with pytest.raises(BackendError) as caught:
        tool.run(["sh", "-c", f"echo '{text}' >&2; exit 3"], "it does not work")
    status, *shown = caught.value.found.splitlines()
    assert (status, shown[0], shown[-1], len(shown)) == ("exit status 3; it said:", first, last, 15)


def test_a_program_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "LIMIT_S", 0.2)
    with pytest.raises(BackendError, match=r"it took more than 0\.2 s and was ended"):
        tool.run(["sleep", "60"], "it does not work")


def test_a_program_has_its_own_variables_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    assert tool.run(["sh", "-c", "echo $OURS $ITS $LC_ALL"], "", environment={"ITS": "2"}) == "1 2 C.UTF-8\n"
