"""Loading device files: a device's file and those that it extends (see harness.host.extending), merged and checked.

A file's tables (each key: docs/device-file.md):

    extends = "other"        at the top: keys that this file lacks are taken from that device
    [device]                 the machine: description, link and backends, and optional keys
    [runtime]                python; packages (shipped by hilgate) or environment (already installed there)
    [limits]                 METRIC = NUMBER: limits of the board with every backend
    [limits.BACKEND]         further limits with one backend, which the device need not list
    [options.BACKEND]        options that the backend defines and checks
    [rules]                  offline = true: the cloud is not allowed; onboard = true: no computer outside the robot is
    [measure]                block_ms: how long the inferences that are judged together last

In a chain of ``extends`` only ``optional`` is not inherited: a file itself must say which backends a gate may leave out
(issue 16). ``packages = []`` means none, for lists are replaced.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..checks.limits import Limit, Metric, parse_limits
from ..errors import DeviceError, InputError
from ..host.extending import Kind, Source, merged, where_of
from ..host.suggestion import did_you_mean
from .device import KNOWN_HOSTS, Device, DeviceFile
from .link_facts import link_class
from .tables import BACKEND_NAME, KEYS, File


def _unknown(name: str) -> str:
    return f'a board: hilgate add {name} USER@HOST; this machine: write that file, extends = "local" and what differs'


DEVICE = Kind(noun="device", article="a", keys=KEYS, error=DeviceError, hint=_unknown)


def load_device(name: str, folders: Sequence[Path], metrics: Iterable[Metric] | None) -> Device:
    """Load a device from the first folder that has it.

    Args:
        name: the device's name.
        folders: of device files: the user's first, then hilgate's own.
        metrics: those that limits may be set on; None where limits do not matter: they are not read, and it has none.

    Raises:
        DeviceError: there is no such device, or its files are wrong; the message lists everything that is wrong.
    """
    chain = DEVICE.read_chain(name, folders)
    for source in chain[1:]:  # `optional` is not inherited: see above
        if isinstance(machine := source.table.get("device"), dict):
            machine.pop("optional", None)
    file, problems = DEVICE.validated(chain, File)
    limits = {} if metrics is None else _limits(chain, merged(chain).get("limits"), tuple(metrics), problems)
    if file is not None:
        problems += _contradictions(chain, file)
    if file is None or problems:
        raise DEVICE.joined(name, problems)
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


def _limits(
    chain: Sequence[Source], table: object, metrics: Sequence[Metric], problems: list[InputError]
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
            where = where_of(chain, "limits", name, key) if own else where_of(chain, "limits", name)
            try:
                parsed = parse_limits({key: bound}, metrics=metrics, owner="device", where=where, error=DeviceError)
                limits[name if own else ""] = limits.get(name if own else "", ()) + parsed
            except DeviceError as error:
                error.hint = error.hint or ("" if key in spare else did_you_mean(key, spare))
                problems.append(error)
    return limits


def _contradictions(chain: Sequence[Source], file: File) -> Iterator[DeviceError]:
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
            where = "\n".join(where_of(chain, *key.split(".")) for key in values)
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
