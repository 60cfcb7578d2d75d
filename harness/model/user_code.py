"""The user's own code: always imported from its source, and run under settings of its own.

Research code changes what belongs to the whole process: numpy's error state, the filters of warnings. What it changes
counts while it runs, and not for hilgate's own arithmetic beside it (issue 15).
"""

from __future__ import annotations

import functools
import re
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any, Literal

import numpy as np

from ..host.shown_path import shown_path

# What code is installed by a package manager lies in folders of these names.
INSTALLED = frozenset({"site-packages", "dist-packages"})

# What torch says of TorchScript at every call; who deploys it has chosen it.
JIT_DEPRECATED = r"`torch\.jit\.\w+` is deprecated"

# Modules that read a program's command line, and end it where that is not as they want.
PARSERS = frozenset(
    {"argparse", "optparse", "getopt", "click", "typer", "absl", "fire", "tyro", "hydra", "jsonargparse"}
)

# Of an error's text: a state_dict that does not fit has a thousand names in it.
LONGEST = 2000

# What looks like a relative path of a file in an error's text.
FILE_NAME = re.compile(r"(?<![\w/])[\w.][\w./+-]*\.\w+")

# The folders of model files: what lies there is the user's, wherever that is.
_folders: set[Path] = set()
# numpy's error state as the user's code left it; none while it has not run.
_errors: dict[str, Any] = {}
_load_code = SourceFileLoader.get_code


@contextmanager
def users_code(action: Literal["default", "ignore"] = "default") -> Iterator[None]:
    """Enter the user's code: a warning is no error there, and numpy's error state is what that code made of it.

    Args:
        action: what becomes of a warning, whatever the filters of the pytest that runs it are: it is shown once at each
            place, or dropped.
    """
    ours = np.geterr()
    np.seterr(**_errors)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            warnings.filterwarnings("ignore", JIT_DEPRECATED, DeprecationWarning)
            yield
    finally:
        _errors.update(np.geterr())
        np.seterr(**ours)


def words(error: BaseException) -> str:
    """Say an error of the user's code: its type, its text (of a long one the beginning and the end), and its place.

    The place is the innermost line of the user's own files: what is below it in an installed package is not theirs.
    """
    place = raised_at(error)
    return f"{_text(error)}\nat {place}" if place else _text(error)


def raised_at(error: BaseException) -> str:
    """Name the innermost frame of the user's own files: "net.py:41, in forward: x = self.fc(x)"; "" of none."""
    try:
        frames = traceback.extract_tb(error.__traceback__)
    except Exception:  # noqa: BLE001  # the traceback of whatever a user's loader made
        return ""
    theirs = [frame for frame in frames if Path(frame.filename).is_file() and _is_from_source(Path(frame.filename))]
    if not theirs:
        return ""
    frame = theirs[-1]
    inside = "" if frame.name == "<module>" else f", in {frame.name}"
    line = f": {frame.line}" if frame.line else ""
    return f"{shown_path(Path(frame.filename))}:{frame.lineno}{inside}{line}"


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as other:  # noqa: BLE001  # a class of the user's own
        text = f"(its text cannot be had: {type(other).__name__})"
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters …\n{text[-half:]}"
    return f"{type(error).__name__}: {text}"


def missing_file_hint(error: BaseException) -> str:
    """Say where a file was looked for that the user's code names by a relative path; "" where that is not the error."""
    if isinstance(error, SyntaxError | ImportError):
        return ""  # it names the file that was found
    name = getattr(error, "filename", None) if isinstance(error, FileNotFoundError) else None
    name = name if isinstance(name, str) else _named_beside(error)
    if not name or Path(name).is_absolute():
        return ""
    beside = f"Path(__file__).with_name({name!r})" if Path(name).name == name else f"Path(__file__).parent / {name!r}"
    return f"a relative path begins at the current folder, {Path.cwd()}; beside the model file it is {beside}"


def _named_beside(error: BaseException) -> str:
    """The relative path in an error's text that lies beside a model file, and not in the current folder.

    torch.jit.load and readers written in C or Rust raise errors of their own, without the file's name (issue 16).
    """
    for name in FILE_NAME.findall(_text(error)):
        if not Path(name).exists() and any((folder / name).is_file() for folder in _folders):
            return str(name)
    return ""


def parsed_arguments_hint(error: BaseException) -> str:
    """Say who read a command line that is none of its own; "" where nobody did.

    A training script parses its arguments when it is imported, and ends the process where they are not as it wants.
    """
    frames = traceback.extract_tb(error.__traceback__)
    parsers = [number for number, frame in enumerate(frames) if _is_parser(frame.filename)]
    callers = [frame for frame in frames[: parsers[0]] if not is_installed(Path(frame.filename))] if parsers else []
    if not isinstance(error, SystemExit) or not callers:
        return ""
    parser, who = _parser_name(frames[parsers[0]].filename), callers[-1]
    return (
        f"{parser} read the command line, called by {Path(who.filename).name}, line {who.lineno}: {who.line}; there is "
        'none here for the model: parse it under `if __name__ == "__main__":`, or give it a list: parse_args([])'
    )


def _is_parser(path: str) -> bool:
    return _parser_name(path) in PARSERS


def _parser_name(path: str) -> str:
    """The top-level module that a file is of."""
    parts = Path(path).parts
    at = max((place for place, part in enumerate(parts) if part in INSTALLED), default=len(parts) - 2)
    return Path(parts[min(at + 1, len(parts) - 1)]).stem


def import_from_source(folder: Path) -> None:
    """Import what is the user's from its source from now on, in this process, and write no byte code of it.

    Python takes byte code for that of a source with the same size and time in whole seconds: an edit within the second
    is not seen (issue 15, point 9). Installed packages keep theirs: compiling torch takes many seconds.

    The loader itself is changed, and no finder is added: so are files that the user's code loads by their path.

    Args:
        folder: a model file's. What lies in it is the user's even where it is inside an installed package.
    """
    _folders.add(folder)
    SourceFileLoader.get_code = _code_of  # type: ignore[assignment, method-assign]


def _code_of(loader: SourceFileLoader, fullname: str) -> CodeType | None:
    path = loader.get_filename(fullname)
    if not _is_from_source(Path(path)):
        return _load_code(loader, fullname)
    code: CodeType = loader.source_to_code(loader.get_data(path), path)
    return code


def _is_from_source(path: Path) -> bool:
    return any(
        path.is_relative_to(folder) and not INSTALLED.intersection(path.relative_to(folder).parts)
        for folder in _folders
    ) or not is_installed(path)


def is_installed(path: Path) -> bool:
    """Whether a file is an installed package's, the standard library's or hilgate's own, and not the user's."""
    if INSTALLED.intersection(path.parts):
        return True
    resolved = path.resolve()
    return any(resolved.is_relative_to(folder) for folder in _foreign())


@functools.cache
def _foreign() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    folders = [Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return (*folders, Path(__file__).resolve().parents[1])
