"""A runtime's libraries as an archive: those that are needed, stripped where that is safe, made once."""

from __future__ import annotations

import stat
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from harness.bundle.native.libraries import loaded_alike, provide_libraries
from harness.bundle.wheels import Wheel
from harness.errors import BackendError
from harness.host.cache import file_sha256

MAIN = "pkg/lib/libmain.so"
STRIP = "strip"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def library(path: Path, *needed: Path, source: str = "") -> Path:
    """A shared library that needs others, with symbols for a debugger."""
    path.parent.mkdir(parents=True, exist_ok=True)
    words = ["g++", "-shared", "-fPIC", "-g", "-x", "c++", "-", "-o", str(path), f"-Wl,-soname,{path.name}"]
    text = source or f"int needs = {len(needed)};"
    command = [*words, "-x", "none", "-Wl,--no-as-needed", *map(str, needed)]
    subprocess.run(command, input=text, text=True, check=True, timeout=60)
    return path


def wheel(folder: Path, name: str, files: Mapping[str, Path]) -> Wheel:
    """A wheel of files, MEMBER: its content."""
    path = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.write(content, member)
    return Wheel(
        name=name, version="1", path=path, sha256=file_sha256(path), bytes=path.stat().st_size, unpacked_bytes=0
    )


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Wheel]:
    """Two whose libraries need each other's, and some that nobody needs."""
    made = tmp_path_factory.mktemp("made")
    own = library(made / "libown.so")
    deep = library(made / "libdeep.so.1")
    other = library(made / "libother-1a2b.so", deep)
    main = library(made / "libmain.so", own, other)
    text = made / "module.py"
    text.write_text("libown.so")
    one = {
        MAIN: main,
        "pkg/lib/libown.so": own,
        "pkg/lib/libunused.so": library(made / "libunused.so"),
        "pkg/m.py": text,
    }
    two = {"other.libs/libother-1a2b.so": other, "other-1.data/purelib/other/libdeep.so.1": deep}
    return [wheel(made, "pkg", one), wheel(made, "other", two)]


def script(path: Path, text: str, version: str = "1") -> str:
    """A Python program in the place of strip, which is given what to do, and the files to write and to read."""
    path.write_text(
        f"#!{sys.executable}\nimport sys\nif sys.argv[1:] == ['--version']: print('{version}'); sys.exit()\n"
        f"_, _, copy, source = sys.argv[1:]\n{text}\n"
    )
    path.chmod(0o755)
    return str(path)


def damaged(source: Path, target: Path, offset: int) -> Path:
    content = bytearray(source.read_bytes())
    content[offset] ^= 1
    target.write_bytes(content)
    return target


def last_loaded_byte(path: Path) -> int:
    with path.open("rb") as file:
        loaded = [one for one in ELFFile(file).iter_segments() if one["p_type"] == "PT_LOAD" and one["p_filesz"]]
        return int(loaded[-1]["p_offset"] + loaded[-1]["p_filesz"] - 1)


def test_libraries_are_exactly_those_that_are_needed_in_their_own_places(wheels: list[Wheel]) -> None:
    made = provide_libraries(wheels, MAIN, STRIP)
    names = ["other.libs/libother-1a2b.so", "other/libdeep.so.1", MAIN, "pkg/lib/libown.so"]
    with zipfile.ZipFile(made.source) as archive:
        assert archive.namelist() == names
        assert {info.external_attr >> 16 for info in archive.infolist()} == {stat.S_IFREG | 0o755}
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    assert made.described == {"libraries": {name: {"bytes": sizes[name], "stripped": True} for name in names}}
    assert made.unpacked_bytes == sum(sizes.values())
    assert sizes[MAIN] < zipfile.ZipFile(wheels[0].path).getinfo(MAIN).file_size


def test_a_library_that_strip_would_damage_is_taken_as_it_is(wheels: list[Wheel], tmp_path: Path) -> None:
    with zipfile.ZipFile(wheels[0].path) as archive:
        archive.extract(MAIN, tmp_path)
        original = archive.read(MAIN)
    offset = last_loaded_byte(tmp_path / MAIN)
    text = f"content = bytearray(open(source, 'rb').read()); content[{offset}] ^= 1; open(copy, 'wb').write(content)"
    made = provide_libraries([wheels[0]], MAIN, script(tmp_path / "strip", text))
    assert made.described["libraries"][MAIN] == {"bytes": len(original), "stripped": False}
    (tmp_path / "sent.so").write_bytes(zipfile.ZipFile(made.source).read(MAIN))
    assert loaded_alike(tmp_path / MAIN, tmp_path / "sent.so")
    # What strip would have taken away is there, but zeros: it takes no room on its way.
    with (tmp_path / "sent.so").open("rb") as file:
        assert {byte for one in ELFFile(file).iter_sections("SHT_SYMTAB") for byte in one.data()} == {0}


def test_a_strip_that_fails_is_an_error_and_not_a_library_that_it_would_damage(
    wheels: list[Wheel], tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match="cannot be stripped"):
        provide_libraries([wheels[0]], MAIN, script(tmp_path / "strip", "sys.exit('no space left')"))


def test_libraries_that_are_opened_by_name_come_along(wheels: list[Wheel]) -> None:
    made = provide_libraries(wheels, MAIN, STRIP, "pkg/lib/libunu")
    assert "pkg/lib/libunused.so" in made.described["libraries"]


def test_libraries_of_operators_come_along_with_what_they_need(wheels: list[Wheel]) -> None:
    made = provide_libraries(wheels, "pkg/lib/libown.so", STRIP, ("pkg/lib/libunused.so", "other.libs/libother"))
    names = ["other.libs/libother-1a2b.so", "other/libdeep.so.1", "pkg/lib/libown.so", "pkg/lib/libunused.so"]
    assert sorted(made.described["libraries"]) == names


def test_a_main_library_that_no_wheel_has_is_named_with_the_wheels(wheels: list[Wheel], cache: Path) -> None:
    with pytest.raises(BackendError) as caught:
        provide_libraries(wheels, "pkg/lib/libmain.so.2", STRIP)
    assert caught.value.wanted == "pkg/lib/libmain.so.2"
    assert caught.value.found == "not in pkg-1-py3-none-any.whl, other-1-py3-none-any.whl"
    assert list((cache / "libraries" / "files").iterdir()) == []


def test_libraries_are_made_once(wheels: list[Wheel], tmp_path: Path) -> None:
    once = f"open({str(tmp_path / 'called')!r}, 'x'); import shutil; shutil.copyfile(source, copy)"
    made = provide_libraries([wheels[1]], "other/libdeep.so.1", script(tmp_path / "strip", once))
    again = script(tmp_path / "strip", "sys.exit('called again')")
    assert provide_libraries([wheels[1]], "other/libdeep.so.1", again) == made
    another = script(tmp_path / "strip", "sys.exit('called again')", "2")
    with pytest.raises(BackendError, match="called again"):
        provide_libraries([wheels[1]], "other/libdeep.so.1", another)


def test_the_same_wheels_make_the_same_archive_elsewhere(
    wheels: list[Wheel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = provide_libraries(wheels, MAIN, STRIP)
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "another-cache"))
    again = provide_libraries(wheels, MAIN, STRIP)
    assert (again.sha256, again.source == made.source) == (made.sha256, False)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return library(tmp_path / "liboriginal.so")


def test_a_stripped_library_is_loaded_alike(original: Path, tmp_path: Path) -> None:
    copy = tmp_path / "stripped.so"
    subprocess.run([STRIP, "--strip-all", "-o", copy, original], check=True, timeout=60)
    assert copy.stat().st_size < original.stat().st_size
    assert loaded_alike(original, copy)


def test_a_library_that_differs_in_a_byte_that_is_loaded_is_not_loaded_alike(original: Path, tmp_path: Path) -> None:
    assert not loaded_alike(original, damaged(original, tmp_path / "copy.so", last_loaded_byte(original)))


@pytest.mark.parametrize(
    "kept", [pytest.param(0, id="empty"), pytest.param(64, id="header"), pytest.param(5000, id="half")]
)
def test_what_is_left_of_a_library_is_not_loaded_alike(original: Path, tmp_path: Path, kept: int) -> None:
    (tmp_path / "cut.so").write_bytes(original.read_bytes()[:kept])
    assert not loaded_alike(original, tmp_path / "cut.so")


def test_a_library_whose_segments_are_others_is_not_loaded_alike(original: Path, tmp_path: Path) -> None:
    other = library(tmp_path / "other" / original.name, source="int zeros[9999]; int* pointer = zeros;")
    assert not loaded_alike(original, other)
