"""TOML files that extend each other, as those of devices and endpoints: found by name, merged, and told of in errors.

NAME is the file NAME.toml in the first folder that has one: the user's folders, then hilgate's own. The key ``extends``
at the top names another one: tables are merged key by key, lists and single values are replaced. What is extended is
looked up like any other, but a file that extends its own name means the one in the *later* folders: a user's
devices/local.toml with ``extends = "local"`` refines the one that hilgate ships.
"""

from __future__ import annotations

import functools
import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from ..errors import InputError
from .file_table import FileTable
from .regular_file import read_regular
from .shown_path import shown_path
from .suggestion import did_you_mean

F = TypeVar("F", bound=FileTable)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# Of a file; the largest of ours has two thousand.
MOST_BYTES = 1 << 20


class Source(NamedTuple):
    """One file of a chain of ``extends``, unmerged; the chain begins with the file that was asked for."""

    name: str
    path: Path
    sha256: str
    table: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of files that extend each other, in the words of its messages.

    Attributes:
        noun: what a file describes: "device".
        article: of the noun.
        keys: what a message says of each key, by its path: what is expected, then ": " and an example.
        error: the class to raise.
        hint: what to do where there is no file of a name, and no name is like it.
    """

    noun: str
    article: str
    keys: Mapping[str, str]
    error: type[InputError]
    hint: Callable[[str], str]

    def read_chain(self, name: object, folders: Sequence[Path], where: str = "") -> list[Source]:
        """Read the file of a name, and those that it extends, without ``extends`` itself.

        Args:
            name: the file's, without its folder and .toml.
            folders: the user's first, then hilgate's own.
            where: which key names it, for errors; "" where it was named on a command line.

        Raises:
            InputError: (as ``error``) there is no such file; one cannot be read; or they extend each other in a circle.
        """
        # In a clone the user's folder and hilgate's own are the same: it must not count as a later folder of itself.
        folders = list(dict.fromkeys(folder.resolve() for folder in folders))
        chain, extended, places = list[Source](), self._checked_name(name, where), folders
        while True:
            chain.append(self._find(extended, places, folders, chain, where))
            last = chain[-1].path
            if any(last.samefile(source.path) for source in chain[:-1]):
                names, hint = " -> ".join(source.name for source in chain), "take `extends` out of one of these files"
                where = where_of(chain[-2:-1], "extends")
                raise self.error("`extends` runs in a circle", found=names, where=where, hint=hint)
            if "extends" not in chain[-1].table:
                return chain
            extended = self._checked_name(chain[-1].table.pop("extends"), f"{shown_path(last)}: extends")
            places = folders[folders.index(last.parent) + 1 :] if extended == chain[-1].name else folders

    def problem(self, chain: Sequence[Source], kind: str, loc: tuple[int | str, ...], value: object) -> InputError:
        """Describe a problem that pydantic found.

        Args:
            chain: the files.
            kind: pydantic's type of error.
            loc: the key's path.
            value: what was found there.
        """
        loc = tuple(key for key in loc if key != "[key]")
        *tables, key = keys = [key for key in loc if isinstance(key, str)]
        dotted, where = ".".join(map(str, loc)), where_of(chain, *loc)
        if kind == "extra_forbidden":
            siblings = [known.split(".")[-1] for known in self.keys if known.split(".")[:-1] == tables]
            elsewhere = [f"its place is {known!r}" for known in self.keys if known.split(".")[-1] == key]
            hint = elsewhere[0] if elsewhere else did_you_mean(key, siblings) or "take it out"
            what, wanted = f"unknown key {dotted!r}", f"one of {', '.join(siblings)}"
            return self.error(what, wanted=wanted, found=f"{key} = {value!r}", where=where, hint=hint)
        wanted, _, example = (
            self.keys.get(".".join(keys)) or self.keys.get(".".join(keys[:2])) or self.keys[keys[0]]
        ).partition(": ")
        what, found = (f"{dotted!r} is missing", "") if kind == "missing" else (f"{dotted!r} is wrong", repr(value))
        return self.error(what, wanted=wanted, found=found, where=where, hint=f"write, for instance: {example}")

    def validated(
        self, chain: Sequence[Source], file: type[F], shown: Callable[[object], object] = lambda value: value
    ) -> tuple[F | None, list[InputError]]:
        """Check the tables of a chain, merged; return the file, or None and what is wrong with it.

        It raises nothing, for pydantic's own text and URLs would then stand in the traceback.

        Args:
            chain: the files.
            file: what a whole one is.
            shown: what of a wrong value messages may show.
        """
        try:
            return file.model_validate(merged(chain)), []
        except ValidationError as error:
            found = [(each["type"], each["loc"], shown(each["input"])) for each in error.errors()]
        return None, [self.problem(chain, *each) for each in found]

    def joined(self, name: str, problems: Sequence[InputError]) -> InputError:
        """Return the one error that tells several; the only one as it is."""
        if len(problems) == 1:
            return problems[0]
        return self.error(f"{self.noun} {name!r}: {len(problems)} errors", found="\n".join(map(str, problems)))

    def _checked_name(self, name: object, where: str) -> str:
        if isinstance(name, str) and NAME.fullmatch(name):
            return name
        wanted = "letters, digits, `_`, `-` and `.`, the first one a letter, a digit or `_`"
        hint = f"give the name of {self.article} {self.noun} file, without its folder and .toml"
        what = f"this is not {self.article} {self.noun}'s name"
        raise self.error(what, wanted=wanted, found=repr(name), where=where, hint=hint)

    def _find(
        self, name: str, places: Sequence[Path], folders: Sequence[Path], chain: Sequence[Source], where: str
    ) -> Source:
        """Read the first file of a name.

        Args:
            name: the file's.
            places: the folders to search.
            folders: all folders, to suggest other names.
            chain: the files that lead to this one by ``extends``; empty for the first.
            where: which key names the first.

        Raises:
            InputError: (as ``error``) none of the places has it.
        """
        paths = [folder / f"{name}.toml" for folder in places]
        for path in paths:
            if (content := self._read(path)) is not None:
                return Source(name, path, hashlib.sha256(content).hexdigest(), self._parsed(path, content))
        names = file_names(folders)
        what = f"there is no {self.noun} {name!r}"
        hint = did_you_mean(name.removesuffix(".toml"), names) or self.hint(name)
        if chain:
            what, where = f"{chain[-1].name!r} extends {name!r}, which does not exist", where_of(chain[-1:], "extends")
            if chain[-1].name == name:
                what = f"{name!r} extends itself, {name} -> {name}: no later folder has another {name}.toml"
                hint = f"take `extends` out, or name another {self.noun}"
        wanted = f"one of {', '.join(names) or '(none exists)'}"
        found = f"looked for {', '.join(map(shown_path, paths)) or 'nothing: no folders'}"
        raise self.error(what, wanted=wanted, found=found, where=where, hint=hint)

    def _read(self, path: Path) -> bytes | None:
        """Read a file; return None if it does not exist."""
        try:
            return read_regular(path, MOST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unreadable(path, error) from error

    def _parsed(self, path: Path, content: bytes) -> dict[str, Any]:
        try:
            # utf-8-sig, because an editor's byte order mark would be an invisible error in column 1.
            return tomllib.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:  # bad TOML and bad UTF-8 are ValueErrors
            raise self._unreadable(path, error) from error

    def _unreadable(self, path: Path, error: Exception) -> InputError:
        details = {"wanted": "TOML in UTF-8", "found": str(error), "where": shown_path(path)}
        what = f"{self.article} {self.noun} file cannot be read"
        return self.error(what, **details, hint="correct it; texts need quotes")


def file_names(folders: Iterable[Path]) -> list[str]:
    """List the names of the files in these folders, sorted; a folder that does not exist has none."""
    files = (path for folder in folders for path in folder.glob("*.toml"))
    return sorted({path.stem for path in files if path.is_file() and NAME.fullmatch(path.stem)})


def merged(chain: Sequence[Source]) -> dict[str, Any]:
    """Merge the tables of a chain: what an earlier file says counts."""
    return functools.reduce(_merge, [source.table for source in reversed(chain)])


def _merge(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {key: _merge(base.get(key), value) for key, value in over.items()}


def where_of(chain: Sequence[Source], *loc: int | str) -> str:
    """Name a key and the file of the chain that determines it; if no file has the key, the first."""
    return f"{shown_path(source_of(chain, *loc).path)}: {'.'.join(map(str, loc))}"


def source_of(chain: Sequence[Source], *loc: int | str) -> Source:
    """Return the file of the chain that determines a key; if no file has the key, the first."""

    def inner(node: Any, key: str) -> Any:
        return node.get(key) if isinstance(node, dict) else None

    keys = [key for key in loc if isinstance(key, str)]
    writers = (source for source in chain if functools.reduce(inner, keys, source.table) is not None)
    return next(writers, chain[0])
