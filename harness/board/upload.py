"""Uploads files to a device's store on a connection of their own; uploads are resumed, and verified there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..agent.wire import pack_head
from ..errors import DamagedError, DeploymentError, LinkLost, ProtocolError, StorageError
from ..links import ChannelClosed
from ..protocol import daemon as answers
from ..protocol.border import shown
from .daemon_client import DaemonClient

CHUNK = 1 << 18
# A memory card that writes out its buffers may make the sender wait this long.
STALL_S = 60.0
LISTED = 20

Files = Mapping[str, tuple[Path, int]]  # SHA-256 -> path on the host, size in bytes
Report = Callable[[int, int], None]  # called with (bytes done, bytes in all)


class WrongArrival(DamagedError, DeploymentError):
    """What arrived is not what was sent. It has been removed, so that it can be sent again."""


def upload(
    daemon: DaemonClient, store: str, files: Files, report: Report, begun: Callable[[int], None] = lambda count: None
) -> None:
    """Send files into the store's ``incoming``.

    Args:
        daemon: one that was started for this; it is not the one that holds the lock.
        store: the store's path on the device.
        files: what is sent.
        report: called with (bytes that are there or on their way, bytes in all).
        begun: called once with how many bytes had arrived before.

    Raises:
        LinkLost: the connection dropped; what has arrived stays and is gone on with.
        StorageError: the device's disk is full; or a file of the host cannot be read.
        WrongArrival: what arrived is not what was sent.
    """
    total = sum(size for _, size in files.values())
    hashing_s = total / answers.SLOWEST_BYTES_S
    sizes = {sha256: size for sha256, (_, size) in files.items()}
    have = daemon.request(answers.Offered, more_s=hashing_s, store=store, files=sizes).have
    _check_have(have, sizes, daemon.link.where)
    done = sum(files[sha256][1] if count is None else count for sha256, count in have.items())
    begun(done)
    report(done, total)
    for sha256, (path, size) in files.items():
        if (there := have[sha256]) is None:
            continue
        # A part that has all its bytes already is announced all the same: so it is verified.
        header = {"op": "file", "sha256": sha256, "offset": there, "bytes": size}
        for sent in _send(daemon, header, path, size - there):
            done += sent
            report(done, total)
    # Data in flight has to arrive first, and to be written.
    arrived = daemon.request(answers.Arrived, silence_s=STALL_S, more_s=hashing_s)
    check_arrived(arrived.wrong, files, store)


def hand_over(daemon: DaemonClient, store: str, files: Files, report: Report) -> None:
    """Send a few small files with one request, to the daemon that holds the lock; see upload.

    Args:
        daemon: the one that holds the lock.
        store: the store's path on the device.
        files: what is sent.
        report: called with (bytes that are there, bytes in all).
    """
    content = b"".join(bytes(view) for path, size in files.values() for view in _chunks(path, 0, size))
    sizes = {sha256: size for sha256, (_, size) in files.items()}
    reply, _ = daemon.request_with_payload(answers.Taken, content, silence_s=STALL_S, files=sizes)
    check_arrived(reply.wrong, files, store)
    report(len(content), len(content))


def _check_have(have: Mapping[str, int | None], sizes: Mapping[str, int], where: str) -> None:
    """Refuse a device's list of what is there that does not fit the files that were offered."""
    wanted = "for each file that was offered, bytes of it that are there"
    if have.keys() != sizes.keys():
        raise ProtocolError("what the device answered to 'offer' is wrong: 'have'", wanted=wanted, where=where)
    for sha256, count in have.items():
        if count is not None and count > sizes[sha256]:
            what = f"what the device answered to 'offer' is wrong: 'have.{sha256}'"
            raise ProtocolError(what, wanted=f"at most {sizes[sha256]}", found=shown(count), where=where)


def check_arrived(wrong: Mapping[str, str], files: Files, store: str) -> None:
    """Refuse files that arrived damaged.

    Args:
        wrong: SHA-256 that was announced -> SHA-256 of what arrived.
        files: what was sent.
        store: the store's path on the device.

    Raises:
        WrongArrival: there are some.
    """
    if wrong:
        names = {sha256: path.name for sha256, (path, _) in files.items()}
        found = ", ".join(f"{names.get(sha256, sha256)}: {found}" for sha256, found in [*wrong.items()][:LISTED])
        hint = "look at the host's and the board's memory and disk"
        raise WrongArrival("what arrived on the device is not what was sent", found=found, where=store, hint=hint)


def _send(daemon: DaemonClient, header: dict[str, Any], path: Path, size: int) -> Iterator[int]:
    _post(daemon, pack_head(header, size))
    for view in _chunks(path, header["offset"], size):
        _post(daemon, view)
        yield len(view)


def _chunks(path: Path, offset: int, size: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(CHUNK))
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            while size:
                view = buffer[: file.readinto(buffer[: min(size, CHUNK)])]
                if not view:
                    raise StorageError("a file became shorter while it was sent", where=str(path))
                size -= len(view)
                yield view
    except OSError as error:
        raise StorageError("a file that is to be sent cannot be read", found=str(error), where=str(path)) from error


def _post(daemon: DaemonClient, data: Any) -> None:
    try:
        daemon.channel.send(data, time.monotonic() + STALL_S)
    except ChannelClosed:
        # The device has given up; if its reply says why, request raises that.
        daemon.request(answers.Arrived)
        raise LinkLost("the device ended the upload", where=daemon.link.where) from None
    except TimeoutError:
        what = f"{daemon.device.name} takes nothing in any more"
        found = f"not a byte in {STALL_S:.0f} s"
        raise LinkLost(
            what, found=found, where=daemon.link.where, hint="look at the board's network and disk"
        ) from None
