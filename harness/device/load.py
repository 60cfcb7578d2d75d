"""Loading device files: finding a device's file and those that it extends, merging and checking them.

A device NAME is the file NAME.toml in the first folder that has one: the user's folders, then hilgate's own. Its tables
(each key: docs/device-file.md):

    extends = "other"        at the top: keys that this file lacks are taken from that device
    [device]                 the machine: description, link and backends, and optional keys
    [runtime]                python; packages (shipped by hilgate) or environment (already installed there)
    [limits]                 METRIC = NUMBER: limits of the board with every backend
    [limits.BACKEND]         further limits with one backend, which the device need not list
    [options.BACKEND]        options that the backend defines and checks
    [rules]                  offline = true: the cloud is not allowed
    [measure]                block_ms: how long the inferences that are judged together last

Along a chain of ``extends`` tables are merged key by key; lists and single values are replaced (``packages = []`` means
none). Only ``optional`` is not inherited: a file itself must say which backends a gate may leave out (issue 16). The
extended device is looked up like any other, but a file that extends its own name means the one in the *later* folders:
a user's devices/local.toml with ``extends = "local"`` refines the one that hilgate ships.
"""

from __future__ import annotations

import functools
import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from ..checks.limits import Limit, Metric, parse_limits
from ..errors import DeviceError
from ..host.shown_path import shown_path
from ..host.suggestion import did_you_mean
from .device import DEVICE_NAME, KNOWN_HOSTS, Device, DeviceFile, device_names
from .link_facts import link_class
from .tables import BACKEND_NAME, KEYS, File


def load_device(name: str, folders: Sequence[Path], metrics: Iterable[Metric] | None) -> Device:
    """Load a device from the first folder that has it.

    Args:
        name: the device's name.
        folders: of device files: the user's first, then hilgate's own.
        metrics: those that limits may be set on; None where limits do not matter: they are not read, and it has none.

    Raises:
        DeviceError: there is no such device, or its files are wrong; the message lists everything that is wrong.
    """
    chain = _chain(name, folders)
    for source in chain[1:]:  # `optional` is not inherited: see above
        if isinstance(machine := source.table.get("device"), dict):
            machine.pop("optional", None)
    merged: dict[str, Any] = functools.reduce(_merge, [source.table for source in reversed(chain)])
    file, problems = None, list[DeviceError]()
    try:
        file = File.model_validate(merged)
    except ValidationError as error:
        problems += [_problem(chain, detail["type"], detail["loc"], detail["input"]) for detail in error.errors()]
    limits = {} if metrics is None else _limits(chain, merged.get("limits"), tuple(metrics), problems)
    if file is not None:
        problems += _contradictions(chain, file)
    # Raised outside the except block, to keep pydantic's own text and URLs out of the traceback.
    if file is None or problems:
        text = "\n".join(map(str, problems))
        raise problems[0] if len(problems) == 1 else DeviceError(f"device {name!r}: {len(problems)} errors", found=text)
    tables: dict[str, Any] = {
        "runtime": file.runtime,
        "options": file.options,
        "rules": file.rules,
        "measure": file.measure,
    }
    tables["known_hosts"] = folders[0] / KNOWN_HOSTS
    tables["files"] = tuple(DeviceFile(name=each.name, path=each.path, sha256=each.sha256) for each in chain)
    machine = dict(file.device)
    if (link := link_class(file.device.link)) is not None and link.emulated:
        machine["host"] = None  # inherited from the board that it emulates
    return Device(name=name, path=chain[0].path, **machine, **tables, limits=limits.pop("", ()), backend_limits=limits)


class _Source(NamedTuple):
    """One file of a chain of ``extends``, unmerged; the chain begins with the device's own file."""

    name: str
    path: Path
    sha256: str
    table: dict[str, Any]


def _chain(name: str, folders: Sequence[Path]) -> list[_Source]:
    # In a clone the user's folder and hilgate's own are the same: it must not count as a later folder of itself.
    folders = list(dict.fromkeys(folder.resolve() for folder in folders))
    chain, extended, places = list[_Source](), _checked_name(name, ""), folders
    while True:
        chain.append(_find(extended, places, folders, chain))
        last = chain[-1].path
        if any(last.samefile(source.path) for source in chain[:-1]):
            names, hint = " -> ".join(source.name for source in chain), "take `extends` out of one of these files"
            where = _where(chain[-2:-1], "extends")
            raise DeviceError("`extends` runs in a circle", found=names, where=where, hint=hint)
        if "extends" not in chain[-1].table:
            return chain
        extended = _checked_name(chain[-1].table.pop("extends"), f"{shown_path(last)}: extends")
        places = folders[folders.index(last.parent) + 1 :] if extended == chain[-1].name else folders


def _checked_name(name: object, where: str) -> str:
    if isinstance(name, str) and DEVICE_NAME.fullmatch(name):
        return name
    wanted = "letters, digits, `_`, `-` and `.`, the first one a letter, a digit or `_`"
    hint = "give the name of a device file, without its folder and .toml"
    raise DeviceError("this is not a device's name", wanted=wanted, found=repr(name), where=where, hint=hint)


def _find(name: str, places: Sequence[Path], folders: Sequence[Path], chain: Sequence[_Source]) -> _Source:
    """Read the first file of a name.

    Args:
        name: the device's name.
        places: the folders to search.
        folders: all folders, to suggest other names.
        chain: the files that lead to this one by ``extends``; empty for the device itself.

    Raises:
        DeviceError: none of the places has it.
    """
    paths = [folder / f"{name}.toml" for folder in places]
    for path in paths:
        if (content := _read(path)) is not None:
            return _Source(name, path, hashlib.sha256(content).hexdigest(), _parsed(path, content))
    names = device_names(folders)
    what, where = f"there is no device {name!r}", ""
    hint = (
        did_you_mean(name.removesuffix(".toml"), names)
        or f'a board: hilgate add {name} USER@HOST; this machine: write that file, extends = "local" and what differs'
    )
    if chain:
        what, where = f"{chain[-1].name!r} extends {name!r}, which does not exist", _where(chain[-1:], "extends")
        if chain[-1].name == name:
            what = f"{name!r} extends itself, {name} -> {name}: no later folder has another {name}.toml"
            hint = "take `extends` out, or name another device"
    wanted = f"one of {', '.join(names) or '(none exists)'}"
    found = f"looked for {', '.join(map(shown_path, paths)) or 'nothing: no folders'}"
    raise DeviceError(what, wanted=wanted, found=found, where=where, hint=hint)


def _read(path: Path) -> bytes | None:
    """Read a file; return None if it does not exist."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    try:
        # utf-8-sig, because an editor's byte order mark would be an invisible error in column 1.
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # bad TOML and bad UTF-8 are ValueErrors
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DeviceError:
    details = {"wanted": "TOML in UTF-8", "found": str(error), "where": shown_path(path)}
    return DeviceError("a device file cannot be read", **details, hint="correct it; texts need quotes")


def _merge(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {key: _merge(base.get(key), value) for key, value in over.items()}


def _problem(chain: Sequence[_Source], kind: str, loc: tuple[int | str, ...], value: object) -> DeviceError:
    """Describe a problem that pydantic found.

    Args:
        chain: the device's files.
        kind: pydantic's type of error.
        loc: the key's path.
        value: what was found there.
    """
    loc = tuple(key for key in loc if key != "[key]")
    *tables, key = keys = [key for key in loc if isinstance(key, str)]
    dotted, where = ".".join(map(str, loc)), _where(chain, *loc)
    if kind == "extra_forbidden":
        siblings = [known.split(".")[-1] for known in KEYS if known.split(".")[:-1] == tables]
        elsewhere = [f"its place is {known!r}" for known in KEYS if known.split(".")[-1] == key]
        hint = elsewhere[0] if elsewhere else did_you_mean(key, siblings) or "take it out"
        what, wanted = f"unknown key {dotted!r}", f"one of {', '.join(siblings)}"
        return DeviceError(what, wanted=wanted, found=f"{key} = {value!r}", where=where, hint=hint)
    wanted, _, example = (KEYS.get(".".join(keys[:2])) or KEYS[keys[0]]).partition(": ")
    what, found = (f"{dotted!r} is missing", "") if kind == "missing" else (f"{dotted!r} is wrong", repr(value))
    return DeviceError(what, wanted=wanted, found=found, where=where, hint=f"write, for instance: {example}")


def _limits(
    chain: Sequence[_Source], table: object, metrics: Sequence[Metric], problems: list[DeviceError]
) -> dict[str, tuple[Limit, ...]]:
    """Parse the table of limits.

    Args:
        chain: the device's files.
        table: the merged table.
        metrics: those that limits may be set on.
        problems: errors are appended here.

    Returns:
        The limits by backend; those for every backend under "".
    """
    spare = [metric.limit_key for metric in metrics if metric.device_limit]
    limits: dict[str, tuple[Limit, ...]] = {}
    for name, value in table.items() if isinstance(table, dict) else ():
        # [limits.memory_peak_mib] is not taken for a backend's table: that would be a limit that silently never counts.
        own = isinstance(value, dict) and name not in spare and BACKEND_NAME.fullmatch(name)
        for key, bound in value.items() if own else ((name, value),):
            where = _where(chain, "limits", name, key) if own else _where(chain, "limits", name)
            try:
                parsed = parse_limits({key: bound}, metrics=metrics, owner="device", where=where, error=DeviceError)
                limits[name if own else ""] = limits.get(name if own else "", ()) + parsed
            except DeviceError as error:
                error.hint = error.hint or ("" if key in spare else did_you_mean(key, spare))
                problems.append(error)
    return limits


def _contradictions(chain: Sequence[_Source], file: File) -> Iterator[DeviceError]:
    """Yield the errors of keys that are valid by themselves but contradict each other."""
    machine = file.device
    packages, environment = file.runtime.packages, file.runtime.environment
    for wrong, keys, wanted in (
        (not machine.backends, "device.backends", "at least one backend"),
        (len(set(machine.backends)) < len(machine.backends), "device.backends", "each backend once"),
        (not set(machine.optional) <= set(machine.backends), "device.optional device.backends", "some of the backends"),
        *_misfits_of_link(file),
        (environment and packages, "runtime.packages runtime.environment", "packages or environment, not both"),
    ):
        if wrong:
            values = {key: functools.reduce(getattr, key.split("."), file) for key in keys.split()}
            found = ", ".join(f"{key} = {value!r}" for key, value in values.items() if value is not None)
            where = "\n".join(_where(chain, *key.split(".")) for key in values)
            hint = "correct one of them; [] takes away the list of a file that is extended"
            yield DeviceError(f"{keys.split()[0]!r} does not fit", wanted=wanted, found=found, where=where, hint=hint)


def _misfits_of_link(file: File) -> Iterator[tuple[bool, str, str]]:
    """List the keys that the device's link needs, and those that it refuses: (whether it is wrong, keys, wanted)."""
    name = file.device.link
    link = link_class(name)
    if link is None:
        return
    for keys, is_wrong_when_given in ((link.required_keys, False), (link.refused_keys, True)):
        for key, wanted in keys.items():
            value = functools.reduce(getattr, key.split("."), file)
            yield bool(value) is is_wrong_when_given, f"{key} device.link", f'{wanted}, as link = "{name}"'


def _where(chain: Sequence[_Source], *loc: int | str) -> str:
    """Name a key and the file of the chain that determines it; if no file has the key, the device's own file."""

    def inner(node: Any, key: str) -> Any:
        return node.get(key) if isinstance(node, dict) else None

    keys = [key for key in loc if isinstance(key, str)]
    writers = (source for source in chain if functools.reduce(inner, keys, source.table) is not None)
    return f"{shown_path(next(writers, chain[0]).path)}: {'.'.join(map(str, loc))}"
