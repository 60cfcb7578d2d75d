"""Device files: what the machine under test is, and what it can spare.

A device NAME is the file NAME.toml in the first folder that has one: the user's folders, then hilgate's own. In it:

    extends = "other"        at the top: what this file does not say is taken from that device
    [device]                 description, link, backends; if need be host, store, arch, cpu, memory_mib, threads,
                             interop_threads, flush_denormals; optional, which of its C++ backends are left out where
                             the host cannot build them
    [runtime]                python; packages (we ship them) or environment (it is there already)
    [limits]                 METRIC = NUMBER, what the board can spare under every backend
    [limits.BACKEND]         the same for one backend, beside the others; it need not be one that the device lists
    [options.BACKEND]        whatever that backend understands, and checks itself
    [rules]                  offline = true: the cloud is not allowed

Along a chain of ``extends`` tables merge key by key; lists and single values are replaced (``packages = []`` is none).
``optional`` alone is not taken from a file that is extended: what a gate may leave out, its own file says (issue 16).
The other device is looked up like any, but a file that extends its own name means the one in the *later* folders: a
user's devices/local.toml with ``extends = "local"`` refines the one that hilgate ships.
"""

from __future__ import annotations

import functools
import importlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..checks.limits import Limit, Metric, parse_limits
from ..errors import DeviceError
from ..host.shown_path import shown_path
from ..host.suggestion import did_you_mean

KNOWN_HOSTS = "known_hosts"  # in the user's folder of devices

_DEVICE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_BACKEND_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]*\Z")
_Backend = Annotated[str, Field(pattern=_BACKEND_NAME)]
_PACKAGE = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?==[0-9][A-Za-z0-9.!+_-]*\Z")
# Not strict, so that TOML's lists become tuples; what is in them stays strict.
_Packages = Annotated[tuple[Annotated[str, Field(pattern=_PACKAGE)], ...], Field(strict=False)]
_Backends = Annotated[tuple[_Backend, ...], Field(strict=False)]


class _Table(BaseModel):
    """A table of the file. A key's description is what a message says was wanted, then a line that would be right."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Runtime(_Table):
    """The libraries on the device: shipped by us (``packages``) or there already (``environment``)."""

    python: str | None = Field(None, pattern=r"^(3\.[0-9]+|/.+)$", description='3.X or absolute path: python = "3.11"')
    packages: _Packages = Field((), description='a list of exact pins, name==version: packages = ["torch==2.9.1"]')
    environment: str | None = Field(None, pattern="^/", description='absolute path there: environment = "/opt/venv"')

    @property
    def program(self) -> str | None:
        """The Python that is named by its path: the environment's, or ``python`` where that is no version."""
        if self.environment:
            return f"{self.environment}/bin/python"
        return self.python if self.python and self.python.startswith("/") else None


class Rules(_Table):
    """What the competition allows."""

    offline: bool = Field(False, description="true or false: offline = true")


class _Machine(_Table):
    description: str = Field(min_length=1, description='a text: description = "Raspberry Pi 4 Model B, 4 GB"')
    link: str = Field(pattern="^[a-z0-9_]+$", description='the name of a link: link = "ssh"')
    backends: _Backends = Field(description='a list of names, at least one: backends = ["onnxruntime", "libtorch"]')
    optional: _Backends = Field((), description='a list of its C++ backends: optional = ["libtorch"]')
    # No dash in front: ssh would take it for an option.
    host: str | None = Field(None, pattern=r"^[^\s-]\S*$", description='ssh name, [user@]address[:port]: host = "pi4"')
    store: str | None = Field(None, pattern="^(/|~/).", description='a folder there: store = "/mnt/ssd/hilgate"')
    arch: Literal["x86_64", "aarch64"] | None = Field(None, description='x86_64 or aarch64: arch = "aarch64"')
    cpu: str | None = Field(None, min_length=1, description='the name of a CPU: cpu = "cortex-a72"')
    memory_mib: int | None = Field(None, ge=1, description="a whole number ≥ 1: memory_mib = 4096")
    threads: int = Field(1, ge=1, description="a whole number ≥ 1: threads = 4")
    interop_threads: int = Field(1, ge=1, description="a whole number ≥ 1: interop_threads = 2")
    flush_denormals: bool = Field(False, description="true or false: flush_denormals = true")


class _File(_Table):
    device: _Machine = Field(description="a table with description, link and backends: [device]")
    runtime: Runtime = Field(Runtime(), description="a table: [runtime]")
    limits: dict[str, object] = Field({}, description="a table of metrics and numbers: [limits]")
    options: dict[_Backend, dict[str, object]] = Field({}, description="tables, one a backend: [options.onnxruntime]")
    rules: Rules = Field(Rules(), description="a table: [rules]")
    extends: None = Field(None, description="a device: extends = 'pi4'")  # only for its name: taken out before


_KEYS: dict[str, str] = {
    prefix + key: info.description or ""
    for prefix, table in (("", _File), ("device.", _Machine), ("runtime.", Runtime), ("rules.", Rules))
    for key, info in table.model_fields.items()
}


@dataclass(frozen=True)
class Device:
    """The machine under test, as its file and those that the file extends describe it.

    ``path`` is the file that was named; ``optional`` are those of the ``backends`` that a run may leave out where the
    host cannot build them; ``store`` is the folder that hilgate uses on the machine, where it is not the link's own;
    ``known_hosts`` the file of pinned host keys; ``limits`` hold under every backend, ``backend_limits`` under one.
    ``counting`` is no file's: see harness.instructions.counting.
    """

    name: str
    path: Path
    description: str
    link: str
    host: str | None
    arch: str | None
    cpu: str | None
    memory_mib: int | None
    backends: tuple[str, ...]
    optional: tuple[str, ...] = ()
    store: str | None = None
    threads: int = 1
    interop_threads: int = 1
    flush_denormals: bool = False
    known_hosts: Path | None = None
    runtime: Runtime = field(default_factory=Runtime)
    limits: tuple[Limit, ...] = ()
    # Mappings have no hash; devices that differ only in these are unequal all the same.
    backend_limits: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict, hash=False)
    options: Mapping[str, Mapping[str, object]] = field(default_factory=dict, hash=False)
    rules: Rules = field(default_factory=Rules)
    counting: bool = False

    @property
    def emulated(self) -> bool:
        """Whether its CPU is emulated, as the class of its link says."""
        link = _link_class(self.link)
        return link is not None and link.emulated

    @property
    def can_count(self) -> bool:
        """Whether it can count instructions, as the class of its link says."""
        link = _link_class(self.link)
        return link is not None and link.can_count

    @property
    def is_this_machine(self) -> bool:
        """Whether it is the host itself, as the class of its link says."""
        link = _link_class(self.link)
        return link is not None and link.is_this_machine

    @property
    def settings(self) -> dict[str, int | bool]:
        """What every backend is to set alike, or its figures say nothing beside another's."""
        return {
            "threads": self.threads,
            "interop_threads": self.interop_threads,
            "flush_denormals": self.flush_denormals,
        }

    def limits_for(self, backend: str) -> tuple[Limit, ...]:
        """The device's limits under this backend: the general ones and its own, all of which count."""
        return self.limits + self.backend_limits.get(backend, ())


class _LinkFacts(Protocol):
    """What is asked here of a link's class; see harness.links.LinkType."""

    emulated: bool
    can_count: bool
    is_this_machine: bool
    required_keys: Mapping[str, str]
    refused_keys: Mapping[str, str]


def _link_class(name: str) -> _LinkFacts | None:
    """Load the class of a link by its name; None where there is no such link, which is said when it is opened.

    Links stand above devices, and import them. So it is found at run time, by name, as whoever opens the link does.

    Raises:
        DeviceError: the link's file cannot be imported, or lacks what a link must have.
    """
    found: _LinkFacts | None = importlib.import_module("harness.links").link_class(name)
    return found


def device_names(folders: Sequence[Path]) -> list[str]:
    """The names of the devices in these folders, sorted; a folder that is not there has none."""
    files = (path for folder in folders for path in folder.glob("*.toml"))
    return sorted({path.stem for path in files if path.is_file() and _DEVICE_NAME.fullmatch(path.stem)})


def load_device(name: str, folders: Sequence[Path], metrics: Iterable[Metric]) -> Device:
    """Read the device NAME from the first of ``folders`` that has it; its limits are on these ``metrics``.

    Raises:
        DeviceError: there is no such device, or its files are wrong; the message has everything that is wrong in them.
    """
    chain = _chain(name, folders)
    for source in chain[1:]:  # not inherited: see above
        if isinstance(machine := source.table.get("device"), dict):
            machine.pop("optional", None)
    merged: dict[str, Any] = functools.reduce(_merge, [source.table for source in reversed(chain)])
    file, problems = None, list[DeviceError]()
    try:
        file = _File.model_validate(merged)
    except ValidationError as error:
        problems += [_problem(chain, detail["type"], detail["loc"], detail["input"]) for detail in error.errors()]
    limits = _limits(chain, merged.get("limits"), tuple(metrics), problems)
    if file is not None:
        problems += _contradictions(chain, file)
    # Not in the except block, to keep pydantic's own text and URLs out of the traceback.
    if file is None or problems:
        text = "\n".join(map(str, problems))
        raise problems[0] if len(problems) == 1 else DeviceError(f"device {name!r}: {len(problems)} errors", found=text)
    tables: dict[str, Any] = {"runtime": file.runtime, "options": file.options, "rules": file.rules}
    tables["known_hosts"] = folders[0] / KNOWN_HOSTS
    machine = dict(file.device)
    if (link := _link_class(file.device.link)) is not None and link.emulated:
        machine["host"] = None  # that of the board that it stands for
    return Device(name, chain[0].path, **machine, **tables, limits=limits.pop("", ()), backend_limits=limits)


class _Source(NamedTuple):
    """One file of a chain, as it was written; the chain begins with the file that was named."""

    name: str
    path: Path
    table: dict[str, Any]


def _chain(name: str, folders: Sequence[Path]) -> list[_Source]:
    # In a clone the user's folder and hilgate's own are the same one: a second look into it is no later folder.
    folders = list(dict.fromkeys(folder.resolve() for folder in folders))
    chain, wanted, places = list[_Source](), _checked_name(name, ""), folders
    while True:
        chain.append(_find(wanted, places, folders, chain))
        last = chain[-1].path
        if any(last.samefile(source.path) for source in chain[:-1]):
            names, hint = " -> ".join(source.name for source in chain), "take `extends` out of one of these files"
            where = _where(chain[-2:-1], "extends")
            raise DeviceError("`extends` runs in a circle", found=names, where=where, hint=hint)
        if "extends" not in chain[-1].table:
            return chain
        wanted = _checked_name(chain[-1].table.pop("extends"), f"{shown_path(last)}: extends")
        places = folders[folders.index(last.parent) + 1 :] if wanted == chain[-1].name else folders


def _checked_name(name: object, where: str) -> str:
    if isinstance(name, str) and _DEVICE_NAME.fullmatch(name):
        return name
    wanted = "letters, digits, `_`, `-` and `.`, the first one a letter, a digit or `_`"
    hint = "give the name of a device file, without its folder and .toml"
    raise DeviceError("this is not a device's name", wanted=wanted, found=repr(name), where=where, hint=hint)


def _find(name: str, places: Sequence[Path], folders: Sequence[Path], chain: Sequence[_Source]) -> _Source:
    """The first file of this name in ``places``; ``chain`` is what asks for it."""
    paths = [folder / f"{name}.toml" for folder in places]
    for path in paths:
        if (table := _read(path)) is not None:
            return _Source(name, path, table)
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


def _read(path: Path) -> dict[str, Any] | None:
    """The table in this file; None if there is no such file."""
    try:
        # An editor's byte order mark would be an invisible error in column 1.
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:  # bad TOML and bad UTF-8 are ValueErrors
        details = {"wanted": "TOML in UTF-8", "found": str(error), "where": shown_path(path)}
        raise DeviceError("a device file cannot be read", **details, hint="correct it; texts need quotes") from error


def _merge(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {key: _merge(base.get(key), value) for key, value in over.items()}


def _problem(chain: Sequence[_Source], kind: str, loc: tuple[int | str, ...], value: object) -> DeviceError:
    """What pydantic found, in our words; ``kind`` is its type of error."""
    loc = tuple(key for key in loc if key != "[key]")
    *tables, key = keys = [key for key in loc if isinstance(key, str)]
    dotted, where = ".".join(map(str, loc)), _where(chain, *loc)
    if kind == "extra_forbidden":
        siblings = [known.split(".")[-1] for known in _KEYS if known.split(".")[:-1] == tables]
        elsewhere = [f"its place is {known!r}" for known in _KEYS if known.split(".")[-1] == key]
        hint = elsewhere[0] if elsewhere else did_you_mean(key, siblings) or "take it out"
        what, wanted = f"unknown key {dotted!r}", f"one of {', '.join(siblings)}"
        return DeviceError(what, wanted=wanted, found=f"{key} = {value!r}", where=where, hint=hint)
    wanted, _, example = (_KEYS.get(".".join(keys[:2])) or _KEYS[keys[0]]).partition(": ")
    what, found = (f"{dotted!r} is missing", "") if kind == "missing" else (f"{dotted!r} is wrong", repr(value))
    return DeviceError(what, wanted=wanted, found=found, where=where, hint=f"write, for instance: {example}")


def _limits(
    chain: Sequence[_Source], table: object, metrics: Sequence[Metric], problems: list[DeviceError]
) -> dict[str, tuple[Limit, ...]]:
    """The limits by backend, "" being all; what is wrong with them goes to ``problems``."""
    spare = [metric.limit_key for metric in metrics if metric.device_limit]
    limits: dict[str, tuple[Limit, ...]] = {}
    for name, value in table.items() if isinstance(table, dict) else ():
        # [limits.memory_peak_mib] is no backend's table: it would be a limit that silently never counts.
        own = isinstance(value, dict) and name not in spare and _BACKEND_NAME.fullmatch(name)
        for key, bound in value.items() if own else ((name, value),):
            where = _where(chain, "limits", name, key) if own else _where(chain, "limits", name)
            try:
                parsed = parse_limits({key: bound}, metrics=metrics, owner="device", where=where, error=DeviceError)
                limits[name if own else ""] = limits.get(name if own else "", ()) + parsed
            except DeviceError as error:
                error.hint = error.hint or ("" if key in spare else did_you_mean(key, spare))
                problems.append(error)
    return limits


def _contradictions(chain: Sequence[_Source], file: _File) -> Iterator[DeviceError]:
    """What is wrong although every key on its own is right."""
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


def _misfits_of_link(file: _File) -> Iterator[tuple[bool, str, str]]:
    """List the keys that the device's link needs, and those that it refuses: (whether it is wrong, keys, wanted)."""
    name = file.device.link
    link = _link_class(name)
    if link is None:
        return
    for keys, is_wrong_when_given in ((link.required_keys, False), (link.refused_keys, True)):
        for key, wanted in keys.items():
            value = functools.reduce(getattr, key.split("."), file)
            yield bool(value) is is_wrong_when_given, f"{key} device.link", f'{wanted}, as link = "{name}"'


def _where(chain: Sequence[_Source], *loc: int | str) -> str:
    """A key, and the file of the chain that had the last word on it; if none has it, the one that was named."""

    def inner(node: Any, key: str) -> Any:
        return node.get(key) if isinstance(node, dict) else None

    keys = [key for key in loc if isinstance(key, str)]
    writers = (source for source in chain if functools.reduce(inner, keys, source.table) is not None)
    return f"{shown_path(next(writers, chain[0]).path)}: {'.'.join(map(str, loc))}"
