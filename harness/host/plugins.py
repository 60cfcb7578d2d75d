"""Plug-ins: backends, export formats, links, metrics and commands that a project adds as files in a folder of its own.

The folder is named by ``hil_plugins`` in pytest.ini, or by the variable HILGATE_PLUGINS, which counts more. Its
sub-folders are named as the packages whose search path (``__path__``) they extend:

    backends/NAME.py    harness.backends.NAME
    export/NAME.py      harness.export.NAME
    links/NAME.py       harness.links.NAME
    measure/NAME.py     harness.measure.NAME
    commands/NAME.py    harness.cli.commands.NAME

So a file may be moved from there into hilgate, or back, without a change. Processes that hilgate starts inherit the
variable, and so find the same files. What is in the folder runs as the user: it is refused where another user may
write to it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import pkgutil
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ..agent import private
from ..errors import HilgateError, InputError
from .suggestion import did_you_mean

VARIABLE = "HILGATE_PLUGINS"
# Sub-folder -> the package that it extends.
PACKAGES = {
    "backends": "harness.backends",
    "export": "harness.export",
    "links": "harness.links",
    "measure": "harness.measure",
    "commands": "harness.cli.commands",
}
FOLDERS = {package: folder for folder, package in PACKAGES.items()}
HINT = "CONTRIBUTING.md, “To add”, has an example of each kind"

# What a module must define: its name -> a function that says what is wrong with a value ("" where nothing is), and what
# is wanted, in words.
Contract = Mapping[str, tuple[Callable[[Any], str], str]]


def use_plugins(folder: Path | None) -> Callable[[], None]:
    """Let this process, and those that it starts, find the plug-ins in a folder, unless HILGATE_PLUGINS names another.

    Args:
        folder: the project's, from its pytest.ini; None where that names none.

    Returns:
        A function that restores the variable.

    Raises:
        InputError: the folder does not exist, holds what is no plug-in, or another user may write to it.
    """
    before = os.environ.get(VARIABLE)
    chosen = Path(before) if before else folder
    if chosen is not None:
        _check_folder(str(chosen.absolute()))
        os.environ[VARIABLE] = str(chosen.absolute())
    for package in PACKAGES.values():
        if package in sys.modules:  # what is not imported yet is extended when it is looked through
            _extended(package)

    def restore() -> None:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before

    return restore


def plugin_folder(package: str) -> Path | None:
    """Return the folder whose files are plug-ins of a package ("harness.backends"); None where there is none.

    Raises:
        InputError: as use_plugins.
    """
    named = os.environ.get(VARIABLE)
    if not named or package not in FOLDERS:
        return None
    folder = Path(named).absolute()
    _check_folder(str(folder))
    place = folder / FOLDERS[package]
    return place if place.is_dir() else None


def module_names(package: str) -> list[str]:
    """List the modules of a package, hilgate's own and those of plug-ins, sorted; without those that begin with "_".

    Raises:
        InputError: as use_plugins; or a plug-in has the name of a module of hilgate's, or none that Python can import.
    """
    search_path = _extended(package).__path__
    own, added = (_names_in(search_path[:1]), _names_in(search_path[1:]))
    for name in added:
        _check_name(package, name, own)
    return sorted({*own, *added})


def is_plugin(module: ModuleType) -> bool:
    """Return whether a module is a plug-in's, and not hilgate's own."""
    place = plugin_folder(module.__name__.rpartition(".")[0])
    return place is not None and Path(str(module.__file__)).is_relative_to(place)


def import_module(name: str) -> ModuleType:
    """Import a module by its whole name, also where it is a plug-in."""
    package = name.rpartition(".")[0]
    if package in FOLDERS:
        _extended(package)
    return importlib.import_module(name)


def load_module(
    package: str, name: str, contract: Contract, what: str, error: type[HilgateError] = InputError
) -> ModuleType:
    """Import a module of a package, and check that it defines what it must.

    Args:
        package: such as "harness.backends".
        name: the module's, in the package.
        contract: what it must define.
        what: its kind, for messages: "backend".
        error: the class to raise.

    Raises:
        HilgateError: (as ``error``) it cannot be imported, or lacks something: the message names file and names.
    """
    place = plugin_folder(package)
    path = next((path for path in _paths(place, name) if path.exists()), None)
    try:
        module = import_module(f"{package}.{name}")
    except (Exception, SystemExit) as cause:
        if path is None:
            raise  # hilgate's own
        found = f"{type(cause).__name__}: {cause}"
        raise error(f"the {what} {name!r} cannot be imported", found=found, where=str(path), hint=HINT) from cause
    check_module(module, contract, what, error)
    return module


def check_module(module: ModuleType, contract: Contract, what: str, error: type[HilgateError] = InputError) -> None:
    """Refuse a module that does not define what it must; the arguments are those of load_module."""
    wanted, found = list[str](), list[str]()
    for name, (problem_of, description) in contract.items():
        problem = problem_of(getattr(module, name)) if hasattr(module, name) else "it is not there"
        if problem:
            wanted.append(f"{name}, {description}")
            found.append(f"{name}: {problem}")
    if found:
        name = module.__name__.rpartition(".")[2]
        raise error(
            f"the {what} {name!r} lacks what it must have",
            wanted="\n".join(wanted),
            found="\n".join(found),
            where=str(module.__file__),
            hint=HINT,
        )


def instance_of(*kinds: type) -> Callable[[Any], str]:
    """Make a check for a contract: a value is of one of these types."""
    return lambda value: "" if isinstance(value, kinds) else f"it is {value!r}, of type {type(value).__name__}"


def function(value: Any) -> str:
    """Check for a contract that a value can be called."""
    return "" if callable(value) else f"it is {value!r}, which cannot be called"


def class_with(*methods: str) -> Callable[[Any], str]:
    """Make a check for a contract: a value is a class that has these methods, or attributes."""

    def problem_of(value: Any) -> str:
        if not isinstance(value, type):
            return f"it is {value!r}, and no class"
        missing = [name for name in methods if not hasattr(value, name)]
        return f"the class has no {', '.join(missing)}" if missing else ""

    return problem_of


def _extended(package: str) -> ModuleType:
    """Import a package, and let it find its plug-ins' modules behind its own."""
    module = importlib.import_module(package)
    place = plugin_folder(package)
    module.__path__[1:] = [str(place)] if place is not None else []
    return module


def _names_in(search_path: Iterable[str]) -> list[str]:
    return [module.name for module in pkgutil.iter_modules(search_path) if not module.name.startswith("_")]


def _paths(place: Path | None, name: str) -> list[Path]:
    return [] if place is None else [place / f"{name}.py", place / name / "__init__.py"]


def _check_name(package: str, name: str, own: list[str]) -> None:
    where = f"{plugin_folder(package)}/{name}.py"
    if not name.isidentifier():
        hint = f"rename it: {name.replace('-', '_')}.py"
        raise InputError("a plug-in's file has no name that Python can import", found=name, where=where, hint=hint)
    if name in own:
        raise InputError(
            f"a plug-in has the name of a module of hilgate's, {package}.{name}",
            wanted="a name of its own, so that no file decides by its place in a search path what runs",
            found=name,
            where=where,
            hint="rename the file",
        )


@functools.lru_cache(maxsize=8)
def _check_folder(folder: str) -> None:
    """Refuse a folder that is none of plug-ins, or not safe to run code from. Checked once in a process."""
    where = f"{folder} (hil_plugins in pytest.ini, or the variable {VARIABLE})"
    place = Path(folder)
    if not place.is_dir():
        hint = "make it, or correct its name"
        raise InputError(
            "there is no folder of plug-ins", wanted="a folder", found="nothing of that name", where=where, hint=hint
        )
    try:
        private.check_way(folder)
        for path in (place, *sorted(place.rglob("*"))):
            if path != place and path.is_symlink():  # the way to what it names would have to be looked at, too
                what, hint = "the folder of plug-ins has a link in it", "put the file itself there"
                raise InputError(what, wanted="files and folders", where=str(path), hint=hint)
            with contextlib.suppress(FileNotFoundError):  # another process of ours renames what it has compiled
                private.check_entry(str(path), path.stat())
        folders = sorted(path.name for path in place.iterdir() if path.is_dir())
    except private.NotOurs as error:
        raise InputError(
            "other users may change what is in the folder of plug-ins, and it would run as you",
            wanted=error.wanted,
            found=f"{error.filename}: {error.strerror}",
            where=where,
            hint=f"look at what is in it; then chmod -R go-w {shlex.quote(folder)}, or what is above it",
        ) from error
    except OSError as error:
        hint = "make it readable for the user who runs this"
        raise InputError("the folder of plug-ins cannot be read", found=str(error), where=where, hint=hint) from error
    for name in folders:
        if name not in PACKAGES and not name.startswith((".", "__")):
            what, wanted = "the folder of plug-ins has a folder of no kind", "one of " + ", ".join(PACKAGES)
            raise InputError(what, wanted=wanted, found=name, where=where, hint=did_you_mean(name, list(PACKAGES)))
