"""A board: a device that was reached, looked at and locked for this run, with its store.

    with open_board(device, …) as board:
        board.put(bundle)                what is missing there is sent, verified, unpacked
        channel = board.start(bundle)    the agent, speaking frames

When the connection drops it is made again, for a while, at the next use.
"""

from __future__ import annotations

import contextlib
import shlex
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..agent.orphans import MARK
from ..bundle import Bundle, Entry
from ..device import Device
from ..errors import HilgateError
from ..links import Channel, open_link
from .hold import Hold
from .preflight import SPARE_BYTES, check_disk, check_memory
from .sending import send
from .upload import Files, Report

# Beyond the block itself: what an agent may take to see that its host has gone, and to write down what it has.
COLLECT_GRACE_S = 15.0


@dataclass
class Board(Hold):
    """See the module. Made by open_board."""

    _results: int = 0

    def put(self, bundle: Bundle, report: Report = lambda done, total: None) -> None:
        """Make sure that the board has a bundle, whole and verified; what it has already is not sent.

        Raises:
            StorageError: the board's disk is too small, or cannot be written.
            BackendError: the artifact alone exceeds the board's memory.
            LinkError: the board cannot be reached.
            DeploymentError: what arrived is not what was sent.
        """
        check_memory(self.device, bundle, self.facts)
        names = {entry.name for entry in bundle.entries}
        if not names <= self.entries:
            self.again(lambda: self._put(bundle, report))
        self.used |= names  # said when it matters: before room is made, and at the end

    def _put(self, bundle: Bundle, report: Report) -> None:
        """What has been made stays, and what has arrived is gone on with, where this is done again."""
        self.used |= {entry.name for entry in bundle.entries if entry.name in self.entries}
        missing = [entry for entry in bundle.entries if entry.name not in self.entries]
        files = _files(missing)
        room = self.request(
            "room",
            needed=sum(entry.bytes for entry in missing) + SPARE_BYTES,
            files={sha256: size for sha256, (_, size) in files.items()},
            paths={str(path): sha256 for sha256, (path, _) in files.items()} if self.link.shares_files else {},
            use=sorted(self.used),
        )
        self.entries -= set(room["removed"])
        check_disk(self.device, self.store, room)
        send(self, files, report)
        for entry in missing:
            self.request(
                "make",
                entry=entry.name,
                files={path: file.sha256 for path, file in entry.files.items()},
                archives=[archive.sha256 for archive in entry.archives],
                texts=dict(entry.texts),
                links=dict(entry.links),
            )
            self.entries.add(entry.name)

    def start(self, bundle: Bundle) -> Channel:
        """Start the agent of a bundle that was put there.

        Raises:
            LinkError: the board cannot be reached.
        """

        def start() -> Channel:
            if self.reopened:  # the one before may not have seen yet that its host has gone
                self.request("end_agents")
                self.reopened = False
            return self.link.start(self._agent_script(bundle), kill=self._end_agents)

        return self.again(start)

    def _agent_script(self, bundle: Bundle) -> str:
        folder = shlex.quote(f"{self.store}/{bundle.name}")
        python = shlex.quote(self.facts["executable"])
        shipped = bool(bundle.runtime.archives)
        # Shipped, it sees the standard library and what was shipped: no package of the board's own.
        flags, path = ("-S -s -B", '"PYTHONPATH=$PWD/runtime"') if shipped else ("-B", "")
        store = {name: shlex.quote(f"{self.store}/{name}") for name in ("agents", "results")}
        return (
            f"test -e {folder}/manifest.json && cd {folder} && "
            # With PYTHONSAFEPATH, -m would not look into the current folder.
            f"exec env -u PYTHONSAFEPATH {MARK}={self.run} {path} {python} {flags} -m agent "
            f"--records {store['agents']} --results {store['results']} --run {self.run}"
        )

    def _end_agents(self) -> None:
        with contextlib.suppress(HilgateError):
            self.request("end_agents")

    def result_name(self) -> str:
        """A new name under which an agent keeps what must not be lost."""
        self._results += 1
        return f"{self.run}-{self._results}"

    def collect(self, name: str, wait_s: float) -> bytes | None:
        """What an agent kept when the connection dropped: a frame; None where it kept nothing.

        Args:
            wait_s: how long what it was doing may still take.

        Raises:
            LinkError: the board cannot be reached any more.
        """

        def ask() -> bytes | None:
            reply, content = self.opened.request_with_payload("collect", name=name, wait_s=wait_s + COLLECT_GRACE_S)
            return content if reply["found"] else None

        return self.again(ask)


def open_board(device: Device, *, wait_s: float = 0.0, say: Callable[[str], None] = lambda line: None) -> Board:
    """Reach a device, look at it, and take it for this run.

    Args:
        wait_s: how long to wait for another run to let go of it.
        say: told that this is being waited for.

    Raises:
        LinkError: it cannot be reached, or another run holds it.
        DeviceError: it is not what its file says, or has no usable Python.
        StorageError: its store cannot be written.
    """
    board = Board(device, open_link(device), uuid.uuid4().hex[:16], say=say)
    try:
        board.look()
        board.lock(wait_s)
    except BaseException:
        board.close()
        raise
    return board


@contextmanager
def looked_at(device: Device) -> Iterator[Board]:
    """A board that is looked at only: no lock, and nothing is written there."""
    board = Board(device, open_link(device), uuid.uuid4().hex[:16])
    try:
        board.look()
        yield board
    finally:
        board.close()


def _files(entries: list[Entry]) -> Files:
    return {
        **{file.sha256: (file.source, file.bytes) for entry in entries for file in entry.files.values()},
        **{one.sha256: (one.source, one.bytes) for entry in entries for one in entry.archives},
    }
