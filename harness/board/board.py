"""A run's use of a board: sends bundles, starts agents, collects the results that they kept."""

from __future__ import annotations

import contextlib
import shlex
import signal
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from ..agent.orphans import MARK
from ..backends import load_backend
from ..bundle import Bundle
from ..device.device import Device
from ..errors import HilgateError
from ..host.exit_cause import ExitCause
from ..host.manifest import today
from ..isa.diagnosis import illegal_instruction
from ..links import Channel, LinkType
from ..protocol import BoardFacts
from ..protocol import daemon as answers
from .daemon_client import NOT_OURS, removed
from .lease import Lease
from .preflight import SPARE_BYTES, check_disk, check_memory
from .sending import send
from .snapshot_check import SnapshotCheck
from .store_check import describe, verify
from .trial import check_executable
from .upload import Report

A = TypeVar("A", bound=answers.DaemonAnswer)

# Beyond the block itself: what an agent may take to see that its host has gone, and to write its result down.
COLLECT_GRACE_S = 15.0


def new_board(device: Device, link: LinkType) -> Board:
    """Make a board under a run's name of its own; nothing is connected yet.

    Args:
        device: the device, as its file describes it.
        link: the way to it.
    """
    return Board(lease=Lease(device=device, link=link, run=uuid.uuid4().hex[:16]))


@dataclass(kw_only=True)
class Board:
    """A board; see the package. Made by open_board, which takes its lock, or examine_board; ended by ``close``.

    Attributes:
        lease: the exclusive session: connection, lock, what the store has.
        verified: entries of the store that need not be hashed again in this run.
        snapshot: the check of the host's files that an emulated board runs from; of a real board there are none.
    """

    lease: Lease
    verified: set[str] = field(default_factory=set)
    snapshot: SnapshotCheck = field(default_factory=SnapshotCheck)
    _results: int = 0

    @property
    def device(self) -> Device:
        """The device, as its file describes it."""
        return self.lease.device

    @property
    def link(self) -> LinkType:
        """The way to it."""
        return self.lease.link

    @property
    def facts(self) -> BoardFacts:
        """What the board is; see Lease.facts."""
        return self.lease.facts

    @property
    def notes(self) -> list[str]:
        """What was out of the ordinary, for the evidence."""
        return self.lease.notes

    @property
    def store(self) -> str:
        """Path of the store on the board."""
        return self.lease.store

    @property
    def entries(self) -> set[str]:
        """Names of the store's entries."""
        return self.lease.entries

    def request(self, answer: type[A], **arguments: Any) -> A:
        """Ask the daemon for an operation; see DaemonClient.request.

        Args:
            answer: the type of its answer, which names the operation.
            **arguments: the operation's own, and DaemonClient.request's ``silence_s`` and ``more_s``.
        """
        return self.lease.request(answer, **arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the board, and switch it off if it was switched on for this run. Never raises."""
        self.lease.release()
        self.link.power_off()

    def put(self, bundle: Bundle, report: Report = lambda done, total: None) -> None:
        """Make sure that the board has a bundle, complete and verified; only what it lacks is sent.

        Args:
            bundle: what the agent is started from.
            report: called with (bytes that have arrived or are on their way, bytes in all).

        Raises:
            StorageError: the board's disk is too small, or cannot be written.
            DeviceError: no program can be started from its store, which is mounted noexec.
            BackendError: the artifact alone exceeds the board's memory.
            LinkError: the board cannot be reached.
            DeploymentError: what arrived is not what was sent.
        """
        check_memory(self.device, bundle, self.facts)
        if not self.lease.executable:
            check_executable(self.device, load_backend(bundle.backend), self.store)
        names = {entry.name for entry in bundle.entries}
        if not names <= self.entries:
            self.lease.retry(lambda: self._put(bundle, report))
        self.lease.retry(lambda: self._verify_due(bundle, report))
        self.lease.used |= names  # the board is told before it makes room, and at the end

    def _verify_due(self, bundle: Bundle, report: Report) -> None:
        """Hash the entries of a bundle that were not hashed today; send damaged ones again, before they are used."""
        due = {entry.name for entry in bundle.entries} - self.verified
        if damaged := verify(self.lease, due, again=False):
            self.notes.append(describe(self.device.name, damaged) + "; it was sent again before it was used")
            self._put(bundle, report)
        self.verified |= due

    def verify(self, bundle: Bundle) -> dict[str, str]:
        """Hash a bundle's entries again, because something went wrong with it; see store_check.

        Damaged ones have been removed, and a note says so; the next ``put`` sends them again.

        Returns:
            Name of each damaged entry -> what is wrong with it.

        Raises:
            LinkError: the board cannot be reached.
            DeploymentError: it cannot hash it.
        """
        names = {entry.name for entry in bundle.entries} & self.entries
        damaged = self.lease.retry(lambda: verify(self.lease, names, again=True)) | self.snapshot.damage(again=True)
        if damaged:
            self.notes.append(describe(self.device.name, damaged))
        return damaged

    def _put(self, bundle: Bundle, report: Report) -> None:
        """Send and unpack a bundle's missing entries; called again, it resumes where a dropped connection ended it."""
        lease = self.lease
        lease.used |= {entry.name for entry in bundle.entries if entry.name in lease.entries}
        missing = [entry for entry in bundle.entries if entry.name not in lease.entries]
        files = {sha256: source for entry in missing for sha256, source in entry.sources.items()}
        room = lease.request(
            answers.Room,
            needed=sum(entry.bytes for entry in missing) + SPARE_BYTES,
            files={sha256: size for sha256, (_, size) in files.items()},
            paths={str(path): sha256 for sha256, (path, _) in files.items()} if self.link.shares_files else {},
            use=sorted(lease.used),
        )
        lease.entries -= set(room.removed)
        check_disk(self.device, lease.store, room)
        send(lease, files, report)
        for entry in missing:
            unpacking_s = entry.bytes / answers.SLOWEST_BYTES_S
            lease.request(answers.Made, more_s=unpacking_s, entry=entry.name, day=today(), **entry.parts)
            lease.entries.add(entry.name)
            self.verified.add(entry.name)  # the daemon has hashed it as it wrote it

    def check_stored(self, bundle: Bundle) -> None:
        """Refuse to judge a run of a bundle whose entries somebody has removed meanwhile.

        Raises:
            DeviceError: one is not there. That says nothing of the model (issue 17).
            LinkError: the board cannot be reached.
        """
        names = [entry.name for entry in bundle.entries]
        if missing := self.request(answers.Missing, entries=names).missing:
            self.lease.entries -= set(missing)
            found = f"no {', '.join(name[:22] for name in missing)}"
            where = f"{self.store} on {self.device.name} ({self.link.where})"
            raise removed(self.device.name, found=found, where=where)

    def start(self, bundle: Bundle) -> Channel:
        """Start the agent of a bundle that was put there.

        Raises:
            LinkError: the board cannot be reached.
        """

        def start() -> Channel:
            if self.lease.reopened:  # the agent before may not have noticed yet that its host has gone
                self.request(answers.AgentsEnded)
                self.lease.reopened = False
                # A board whose power was cut has lost what it was given last.
                if not {entry.name for entry in bundle.entries} <= self.entries:
                    self._put(bundle, lambda done, total: None)
            return self.link.start(self._agent_script(bundle), kill=self._end_agents)

        return self.lease.retry(start)

    def _agent_script(self, bundle: Bundle) -> str:
        store = {name: shlex.quote(f"{self.store}/{name}") for name in ("agents", "results")}
        arguments = f"--records {store['agents']} --results {store['results']} --run {self.lease.run}"
        if (runner := bundle.runtime.runner) is not None:
            program, engine, library = (shlex.quote(path) for path in (runner.program, runner.engine, runner.library))
            command = f"{program} --engine {engine} --runtime {library} {arguments}"
            return self._in_bundle(bundle, command, is_agent=True)
        command = f"agent {arguments}"
        if self.link.snapshots is None:
            return self._in_bundle(bundle, f"{{python}} -m {command}", is_agent=True)
        python = shlex.quote(self.facts.executable)
        join = f"{python} -I -S -B agent/attach.py {shlex.quote(self.forkserver(bundle))} {self.lease.run}"
        return self._in_bundle(bundle, f"{join} {{python}} -m {command}", is_agent=True)

    def forkserver(self, bundle: Bundle) -> str:
        """Return the socket path of a bundle's forkserver, the process that forks its agents; see agent.forkserver."""
        return f"{self.store}/forkservers/{bundle.foundation[:16]}"

    def start_forkserver(self, bundle: Bundle) -> Channel:
        """Start a bundle's forkserver; it writes "ready" and goes on in the background.

        Raises:
            LinkError: the board cannot be reached.
        """
        command = f"{{python}} -m agent.forkserver_agent {shlex.quote(self.forkserver(bundle))}"
        return self.link.start(self._in_bundle(bundle, command))

    def _in_bundle(self, bundle: Bundle, command: str, *, is_agent: bool = False) -> str:
        """Build a shell script that runs a command in a bundle's folder.

        Args:
            bundle: the bundle, which was put there.
            command: the command; "{python}" in it becomes the board's Python with the bundle's import path.
            is_agent: mark the process as an agent of this run, so that the daemon can find and end it.
        """
        folder = shlex.quote(f"{self.store}/{bundle.name}")
        python = shlex.quote(self.facts.executable)
        is_shipped = bool(bundle.runtime.archives) and bundle.runtime.runner is None
        # A shipped runtime sees the standard library and what was shipped: no package of the board's own.
        flags, path = ("-S -s -B", '"PYTHONPATH=$PWD/runtime"') if is_shipped else ("-B", "")
        marked = f"{MARK}={self.lease.run}" if is_agent else ""
        # Python's dictionaries are laid out alike in every process whose instructions are counted.
        seed = "PYTHONHASHSEED=0" if self.device.counting else ""
        # With PYTHONSAFEPATH, -m would not look into the current folder; for the others see there (issue 16, case 49).
        without = " ".join(f"-u {name}" for name in NOT_OURS)
        environment = f"exec env {without} {seed} {marked} {path}"
        run = command.replace("{python}", f"{python} {flags}")
        return f"umask 077; test -e {folder}/manifest.json && cd {folder} && {environment} {run}"

    def _end_agents(self) -> None:
        with contextlib.suppress(HilgateError):
            self.request(answers.AgentsEnded)

    def exit_cause(self, pid: int, status: int, stderr_tail: str, packages: Mapping[str, str]) -> ExitCause | None:
        """Find out why a process was killed; None where nothing is known. Never raises.

        Args:
            pid: its process id on the board.
            status: its exit status: negative for a signal.
            stderr_tail: the end of what it wrote to stderr.
            packages: its runtime's, NAME: VERSION.
        """
        if status == -signal.SIGILL:
            return illegal_instruction(stderr_tail, self.facts, packages)
        return self._oom(pid) if status == -signal.SIGKILL else None

    def _oom(self, pid: int) -> ExitCause | None:
        try:
            reply = self.request(answers.OomRecord, pid=pid)
        except HilgateError:
            return None
        if not reply.killed:
            return None
        resident_mib = reply.resident_kib / 1024
        return ExitCause(f"killed by the kernel at {resident_mib:.0f} MiB of {reply.memory_mib} MiB: memory ran out")

    def result_name(self) -> str:
        """Return a new name under which an agent keeps a result that must not be lost."""
        self._results += 1
        return f"{self.lease.run}-{self._results}"

    def collect(self, name: str, wait_s: float) -> bytes | None:
        """Fetch the frame that an agent kept when the connection dropped; None where it kept none.

        Args:
            name: the name under which it was to keep it; see ``result_name``.
            wait_s: how long the agent's current work may still take.

        Raises:
            LinkError: the board cannot be reached any more.
        """

        def ask() -> bytes | None:
            limit_s = wait_s + COLLECT_GRACE_S
            reply, content = self.lease.daemon.request_with_payload(
                answers.Collected, more_s=limit_s, name=name, wait_s=limit_s
            )
            return content if reply.found else None

        return self.lease.retry(ask)
