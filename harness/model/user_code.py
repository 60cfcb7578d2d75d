"""Running the user's own code: imported from its source, under settings of its own; and describing its errors.

Research code changes settings of the whole process, such as numpy's error state and the filters of warnings. What it
changes applies while it runs, and not to hilgate's own arithmetic beside it (issue 15).
"""

from __future__ import annotations

import functools
import hashlib
import os
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

# Folders of these names hold code that a package manager installed.
INSTALLED = frozenset({"site-packages", "dist-packages"})
_IN_INSTALLED = re.compile(rf"(?:^|/)(?:{'|'.join(sorted(INSTALLED))})(?:/|$)")

# torch's warning at every use of TorchScript; whoever deploys it has chosen it.
JIT_DEPRECATED = r"`torch\.jit\.\w+` is deprecated"

# Modules that parse the command line, and exit if they do not accept it.
PARSERS = frozenset(
    {"argparse", "optparse", "getopt", "click", "typer", "absl", "fire", "tyro", "hydra", "jsonargparse"}
)

# How many characters of an error's text are shown: that of a state_dict that does not fit has a thousand names.
LONGEST = 2000

# Matches what looks like a relative path of a file in an error's text.
FILE_NAME = re.compile(r"(?<![\w/])[\w.][\w./+-]*\.\w+")

# The folders of model files: what lies in them is the user's code, even inside of an installed package.
_folders: set[Path] = set()
# numpy's error state as the user's code left it; empty before it has run.
_errors: dict[str, Any] = {}
# The hashes of the user's sources as they were read, by resolved path.
_sums: dict[Path, str] = {}
_load_code = SourceFileLoader.get_code


@contextmanager
def users_code(action: Literal["default", "ignore"] = "default") -> Iterator[None]:
    """Run the user's code inside the block: warnings are no errors there, and numpy's error state is its own.

    Args:
        action: What happens to a warning, whatever pytest's own filters are: it is shown once per place ("default"), or
            dropped ("ignore").
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
    """Describe an error of the user's code: its type, its text (shortened in the middle), and where it was raised.

    That is the innermost line in the user's own files: what lies below it, in an installed package, is not theirs.
    """
    place = raised_at(error)
    return f"{_text(error)}\nat {place}" if place else _text(error)


def raised_at(error: BaseException) -> str:
    """Describe the innermost frame in the user's own files: "net.py:41, in forward: x = self.fc(x)"; "" if none."""
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
    """Explain where a file was looked for, if the error is about a missing file by relative path; else return ""."""
    if isinstance(error, SyntaxError | ImportError):
        return ""  # it names the file that was found
    name = getattr(error, "filename", None) if isinstance(error, FileNotFoundError) else None
    name = name if isinstance(name, str) else _named_beside(error)
    if not name or Path(name).is_absolute():
        return ""
    beside = f"Path(__file__).with_name({name!r})" if Path(name).name == name else f"Path(__file__).parent / {name!r}"
    return f"a relative path begins at the current folder, {Path.cwd()}; beside the model file it is {beside}"


def _named_beside(error: BaseException) -> str:
    """Find a relative path in an error's text that exists beside a model file, but not in the current folder.

    torch.jit.load and readers written in C or Rust raise errors of their own, without the file's name (issue 16).
    """
    for name in FILE_NAME.findall(_text(error)):
        if not Path(name).exists() and any((folder / name).is_file() for folder in _folders):
            return str(name)
    return ""


def parsed_arguments_hint(error: BaseException) -> str:
    """Explain which code parsed the command line and exited, if that is the error; else return "".

    A training script parses its arguments when it is imported, and exits if it does not accept them.
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
    """Return the top-level module to which a file belongs."""
    parts = Path(path).parts
    at = max((place for place, part in enumerate(parts) if part in INSTALLED), default=len(parts) - 2)
    return Path(parts[min(at + 1, len(parts) - 1)]).stem


def import_from_source(folder: Path) -> None:
    """Have this process import the user's code from its source from now on, and write no bytecode of it.

    Python accepts cached bytecode for a source of the same size and modification time in whole seconds, so that an edit
    within a second is not seen (issue 15, point 9). Installed packages keep their bytecode: compiling torch takes many
    seconds.

    The loader itself is replaced, rather than a finder added, so that files which the user's code loads by their path
    are included.

    Args:
        folder: A model file's folder. What lies in it is the user's code, even inside of an installed package.
    """
    _folders.add(folder)
    SourceFileLoader.get_code = _code_of  # type: ignore[assignment, method-assign]


def _code_of(loader: SourceFileLoader, fullname: str) -> CodeType | None:
    path = loader.get_filename(fullname)
    if not _is_from_source(Path(path)):
        return _load_code(loader, fullname)
    source = loader.get_data(path)
    _sums.setdefault(Path(path).resolve(), hashlib.sha256(source).hexdigest())
    code: CodeType = loader.source_to_code(source, path)
    return code


def source_sha256(path: Path) -> str:
    """Return the hash of a source of the user's as it was read when this process first ran it; "" if it has not."""
    return _sums.get(path.resolve(), "")


def forget_source(path: Path) -> None:
    """Forget the hash of a source that is about to be read and run once more."""
    _sums.pop(path.resolve(), None)


def _is_from_source(path: Path) -> bool:
    return any(
        path.is_relative_to(folder) and not INSTALLED.intersection(path.relative_to(folder).parts)
        for folder in _folders
    ) or not is_installed(path)


def is_installed(path: Path | str) -> bool:
    """Tell whether a file belongs to an installed package, the standard library or hilgate, and not to the user.

    As texts, for it is asked of all modules at once, which are two thousand with PyTorch: Path takes ten times as long.
    """
    path = os.fspath(path)
    if _IN_INSTALLED.search(path):
        return True
    return (os.path.realpath(path) + os.sep).startswith(_foreign())


@functools.cache
def _foreign() -> tuple[str, ...]:
    """Return the folders of what is not the user's, each with a separator at its end."""
    paths = sysconfig.get_paths()
    folders = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return tuple(os.path.realpath(folder) + os.sep for folder in [*folders, str(Path(__file__).parents[1])])
