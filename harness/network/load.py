"""Loading network files: a network's file and those that it extends (see harness.host.extending), checked.

A file's tables (each key: docs/remote.md):

    extends = "other"        at the top: keys that this file lacks are taken from that network
    [network]                description, source, measured; what is shaped
    [[network.outages]]      every_s, for_s
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..agent.network.link import Outage
from ..errors import NetworkError
from ..host.extending import Kind, Source, source_of, where_of
from ..host.regular_file import read_regular
from ..host.shown_path import shown_path
from .network import Direction, Network, NetworkFile
from .tables import KEYS, LEAST_PERCENT, File, NetworkTable
from .trace import MOST_BYTES, read_trace


def _unknown(name: str) -> str:
    return f"write networks/{name}.toml beside the folder of devices: [network] description, source, measured, delay_ms"


NETWORK = Kind(noun="network", article="a", keys=KEYS, error=NetworkError, hint=_unknown)


def load_network(name: object, folders: Sequence[Path], where: str = "") -> Network:
    """Load a network from the first folder that has it.

    Args:
        name: the network's name, as it was written.
        folders: of network files: the user's first, then hilgate's own.
        where: which key names it, for errors.

    Raises:
        NetworkError: there is no such network, or its files are wrong; the message lists everything that is wrong.
    """
    chain = NETWORK.read_chain(name, folders, where)
    file, problems = NETWORK.validated(chain, File)
    directions = dict[str, Direction]()
    if file is not None:
        problems += _contradictions(chain, file.network)
        for way in ("up", "down"):
            try:
                directions[way] = _direction(chain, file.network, way)
            except NetworkError as error:
                problems.append(error)
    if file is None or problems:
        raise NETWORK.joined(chain[0].name, problems)
    table = file.network
    return Network(
        name=chain[0].name,
        path=chain[0].path,
        description=table.description,
        source=table.source,
        measured=table.measured,
        delay_ms=table.delay_ms,
        jitter_ms=table.jitter_ms,
        loss_percent=table.loss_percent,
        outages=tuple(Outage(each.every_s, each.for_s) for each in table.outages),
        files=tuple(NetworkFile(name=each.name, path=each.path, sha256=each.sha256) for each in chain),
        **directions,
    )


def named_network(
    options: Mapping[str, Any], folders: Sequence[Path], where: str, *, loses_packets: bool = False
) -> Network | None:
    """Load the network that the options of a remote backend name; None where they name none.

    Args:
        options: as the device's file has them.
        folders: of network files: the user's first, then hilgate's own.
        where: the options' table in the device's file, for errors.
        loses_packets: whether the device can be made to lose packets.

    Raises:
        NetworkError: there is none of that name, its files are wrong, or the device cannot have it.
    """
    if "network" not in options:
        return None
    network = load_network(options["network"], folders, f"{where}.network")
    if network.loss_percent and not loses_packets:
        raise NetworkError(
            f"the network {network.name} loses packets, which the device cannot be made to do",
            wanted='an emulated board (link = "qemu"), whose kernel loses them',
            found=f"loss_percent = {network.loss_percent:g} in {shown_path(network.path)}",
            where=f"{where}.network",
            hint="name a device such as qemu-pi4, or take loss_percent out: a proxy, which other devices have, cannot "
            "lose packets",
        )
    return network


def _contradictions(chain: Sequence[Source], table: NetworkTable) -> Iterator[NetworkError]:
    """Yield what of the values does not go together."""

    def wrong(key: str, wanted: str, found: str, hint: str) -> NetworkError:
        where = where_of(chain, "network", key)
        return NetworkError(f"'network.{key}' is wrong", wanted=wanted, found=found, where=where, hint=hint)

    if table.jitter_ms > table.delay_ms:
        found = f"jitter_ms = {table.jitter_ms:g}, delay_ms = {table.delay_ms:g}"
        yield wrong("jitter_ms", "at most delay_ms", found, "nothing comes before it is sent: raise delay_ms")
    if 0 < table.loss_percent < LEAST_PERCENT:
        wanted, found = f"at least {LEAST_PERCENT:g}, or 0", f"{table.loss_percent:g}"
        yield wrong("loss_percent", wanted, found, "so few packets are not sent in a measurement: leave it out")
    for way in ("up", "down"):
        if getattr(table, f"rate_{way}_mbit") is not None and getattr(table, f"trace_{way}") is not None:
            wanted, found = f"rate_{way}_mbit or trace_{way}", "both"
            yield wrong(f"trace_{way}", wanted, found, "a trace has its own rate: take one of them out")
    for each in table.outages:
        if each.for_s >= each.every_s:
            found = f"every_s = {each.every_s:g}, for_s = {each.for_s:g}"
            yield wrong("outages", "for_s below every_s", found, "name seconds from one outage to the next as every_s")
            return
    if (share := sum(each.for_s / each.every_s for each in table.outages)) >= 1:
        found = f"outages that take {share:.0%} of the time together"
        yield wrong("outages", "some time without any", found, "make them shorter, or rarer")


def _direction(chain: Sequence[Source], table: NetworkTable, way: str) -> Direction:
    name = getattr(table, f"trace_{way}")
    if name is None:
        return Direction(rate_mbit=getattr(table, f"rate_{way}_mbit"))
    path = source_of(chain, "network", f"trace_{way}").path.parent / name
    where = where_of(chain, "network", f"trace_{way}")
    wanted = "a trace in mahimahi's format: on each line a whole number, in milliseconds, none before the one above"
    try:
        content = read_regular(path, MOST_BYTES)
        trace_ms = read_trace(content)
    except (OSError, ValueError) as error:
        what = f"the trace {shown_path(path)} cannot be used"
        hint = "name a file beside the network file"
        raise NetworkError(what, wanted=wanted, found=str(error), where=where, hint=hint) from error
    read = NetworkFile(name=path.name, path=path.resolve(), sha256=hashlib.sha256(content).hexdigest())
    return Direction(trace_ms=trace_ms, trace=read)
