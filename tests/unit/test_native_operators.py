"""Which libraries register operators, and which of them a C++ program can open."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from harness.bundle.imports import check_imports, module_files
from harness.bundle.native.operators import needs_python, of_folders, of_wheels, registers_operators
from harness.bundle.native.planning import _module_places
from harness.bundle.wheels import Wheel
from harness.errors import BackendError

from .test_native_libraries import library, wheel

# By the names that a compiler makes of torch::Library's constructor, and of Python's own function.
REGISTERS = 'void made() __asm__("_ZN5torch7LibraryC1ENS0_4KindE"); void used() { made(); }\n'
PYTHON = 'extern "C" void PyModule_Create2(); void more() { PyModule_Create2(); }\n'


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("libraries")
    sources = {"plain": "int plain;", "registers": REGISTERS, "python": REGISTERS + PYTHON}
    return {name: library(folder / f"{name}.so", source=source) for name, source in sources.items()}


@pytest.mark.parametrize(
    ("name", "registers", "python"),
    [
        pytest.param("plain", False, False, id="neither"),
        pytest.param("registers", True, False, id="registers"),
        pytest.param("python", True, True, id="made for Python"),
    ],
)
def test_a_library_is_looked_at_for_what_it_calls(
    libraries: dict[str, Path], name: str, registers: bool, python: bool
) -> None:
    assert registers_operators(libraries[name]) == registers
    assert needs_python(libraries[name]) == python


def test_what_is_no_library_registers_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("INPUT(libother.so)")
    assert not registers_operators(tmp_path / "text.so")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory, libraries: dict[str, Path]) -> list[Wheel]:
    folder = tmp_path_factory.mktemp("wheels")
    ops = {"ops/_C.so": libraries["registers"], "ops/image.so": libraries["python"], "ops/more.so": libraries["plain"]}
    return [
        wheel(folder, "ops", ops),
        wheel(folder, "bound", {"bound/_C.so": libraries["python"]}),
        wheel(folder, "pure", {"pure/more.so": libraries["plain"]}),
    ]


def test_those_that_register_are_taken_from_the_wheels(wheels: list[Wheel]) -> None:
    assert of_wheels(wheels, ["ops", "ops.detection"], "here") == ["ops/_C.so"]
    assert of_wheels(wheels, [], "here") == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        pytest.param("bound", "bound/_C.so, which need Python", id="made-for-python"),
        pytest.param("pure", "no library that registers any", id="none"),
        pytest.param("absent", "bound 1, pure 1", id="no-such-module"),
    ],
)
def test_what_a_wheel_does_not_have_is_said(wheels: list[Wheel], name: str, found: str) -> None:
    with pytest.raises(BackendError) as caught:
        of_wheels(wheels, [name], "device.toml")
    error = caught.value
    assert found in error.found
    assert name in error.what
    assert all((error.wanted, error.where, error.hint))


def test_an_installed_modules_libraries_are_named_by_their_own_paths(libraries: dict[str, Path]) -> None:
    folder = libraries["plain"].parent
    assert of_folders(lambda name: [folder], ["ops"], "here") == [str(folder / "registers.so")]
    with pytest.raises(BackendError, match="there is no module ops"):
        of_folders(lambda name: [], ["ops"], "here")


def test_a_module_is_a_folder_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mixed-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member in ("single.py", "fast.cpython-311-x86_64-linux-gnu.so", "package/__init__.py", "singles/a.py"):
            archive.writestr(member, "")
    mixed = Wheel(name="mixed", version="1", path=path, sha256="", bytes=0, unpacked_bytes=0)
    assert module_files(mixed, "single") == ["single.py"]
    assert module_files(mixed, "fast") == ["fast.cpython-311-x86_64-linux-gnu.so"]
    check_imports([mixed], ["package.part", "single", "fast"], "here")
    with pytest.raises(BackendError, match="has no module other"):
        check_imports([mixed], ["other"], "here")


def test_a_module_of_this_machine_is_found_without_importing_it() -> None:
    assert [place.name for place in _module_places("harness")] == ["harness"]
    assert [place.name for place in _module_places("antigravity")] == ["antigravity.py"]
    assert "antigravity" not in sys.modules
    assert _module_places("no_such_module") == []
