"""A run's use of a board: bundles are put there, agents are started, what they kept is collected."""

from __future__ import annotations

import contextlib
import shlex
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..agent.orphans import MARK
from ..backends import load_backend
from ..bundle import Bundle
from ..errors import HilgateError
from ..host.death import Death
from ..host.manifest import today
from ..isa.diagnosis import illegal_instruction
from ..links import Channel
from ..protocol import keeper as answers
from .keeper import NOT_OURS, removed
from .lease import Lease
from .preflight import SPARE_BYTES, check_disk, check_memory
from .sending import send
from .stored import describe, verify
from .trial import check_executable
from .upload import Report

# Beyond the block itself: what an agent may take to see that its host has gone, and to write down what it has.
COLLECT_GRACE_S = 15.0


@dataclass
class Board(Lease):
    """See the package. Made by open_board."""

    verified: set[str] = field(default_factory=set)  # entries that need not be hashed again in this run
    _results: int = 0

    def put(self, bundle: Bundle, report: Report = lambda done, total: None) -> None:
        """Make sure that the board has a bundle, whole and verified; what it has already is not sent.

        Raises:
            StorageError: the board's disk is too small, or cannot be written.
            DeviceError: no program can be started from its store, which is mounted noexec.
            BackendError: the artifact alone exceeds the board's memory.
            LinkError: the board cannot be reached.
            DeploymentError: what arrived is not what was sent.
        """
        check_memory(self.device, bundle, self.facts)
        if not self.executable:
            check_executable(self.device, load_backend(bundle.backend), self.store)
        names = {entry.name for entry in bundle.entries}
        if not names <= self.entries:
            self.again(lambda: self._put(bundle, report))
        self.again(lambda: self._verify_due(bundle, report))
        self.used |= names  # said when it matters: before room is made, and at the end

    def _verify_due(self, bundle: Bundle, report: Report) -> None:
        """Hash what of a bundle was not hashed today, and send again what is damaged: nothing was measured with it."""
        due = {entry.name for entry in bundle.entries} - self.verified
        if damaged := verify(self, due, again=False):
            self.notes.append(describe(self.device.name, damaged) + "; it was sent again before it was used")
            self._put(bundle, report)
        self.verified |= due

    def verify(self, bundle: Bundle) -> dict[str, str]:
        """Hash what a bundle is made of once more, for something went wrong; see stored.

        What is damaged has been removed, and a note says so; the next ``put`` sends it again.

        Raises:
            LinkError: the board cannot be reached.
            DeploymentError: it cannot hash it.
        """
        names = {entry.name for entry in bundle.entries} & self.entries
        damaged = self.again(lambda: verify(self, names, again=True)) | self.snapshot.damage(again=True)
        if damaged:
            self.notes.append(describe(self.device.name, damaged))
        return damaged

    def _put(self, bundle: Bundle, report: Report) -> None:
        """What has been made stays, and what has arrived is gone on with, where this is done again."""
        self.used |= {entry.name for entry in bundle.entries if entry.name in self.entries}
        missing = [entry for entry in bundle.entries if entry.name not in self.entries]
        files = {sha256: source for entry in missing for sha256, source in entry.sources.items()}
        room = self.request(
            answers.Room,
            needed=sum(entry.bytes for entry in missing) + SPARE_BYTES,
            files={sha256: size for sha256, (_, size) in files.items()},
            paths={str(path): sha256 for sha256, (path, _) in files.items()} if self.link.shares_files else {},
            use=sorted(self.used),
        )
        self.entries -= set(room.removed)
        check_disk(self.device, self.store, room)
        send(self, files, report)
        for entry in missing:
            unpacking_s = entry.bytes / answers.SLOWEST_BYTES_S
            self.request(answers.Made, more_s=unpacking_s, entry=entry.name, day=today(), **entry.parts)
            self.entries.add(entry.name)
            self.verified.add(entry.name)  # as it was written

    def check_stored(self, bundle: Bundle) -> None:
        """Refuse to judge what ran of a bundle that somebody has removed meanwhile.

        Raises:
            DeviceError: it is not there. That says nothing of the model (issue 17).
            LinkError: the board cannot be reached.
        """
        names = [entry.name for entry in bundle.entries]
        if missing := self.opened.request(answers.Missing, entries=names).missing:
            self.entries -= set(missing)
            found = f"no {', '.join(name[:22] for name in missing)}"
            raise removed(
                self.device.name, found=found, where=f"{self.store} on {self.device.name} ({self.link.where})"
            )

    def start(self, bundle: Bundle) -> Channel:
        """Start the agent of a bundle that was put there.

        Raises:
            LinkError: the board cannot be reached.
        """

        def start() -> Channel:
            if self.reopened:  # the one before may not have seen yet that its host has gone
                self.request(answers.AgentsEnded)
                self.reopened = False
                # Whose power was cut has lost what it was given last.
                if not {entry.name for entry in bundle.entries} <= self.entries:
                    self._put(bundle, lambda done, total: None)
            return self.link.start(self._agent_script(bundle), kill=self._end_agents)

        return self.again(start)

    def _agent_script(self, bundle: Bundle) -> str:
        store = {name: shlex.quote(f"{self.store}/{name}") for name in ("agents", "results")}
        arguments = f"--records {store['agents']} --results {store['results']} --run {self.run}"
        if (runner := bundle.runtime.runner) is not None:
            program, engine, library = (shlex.quote(path) for path in (runner.program, runner.engine, runner.library))
            command = f"{program} --engine {engine} --runtime {library} {arguments}"
            return self._in_bundle(bundle, command, mark=True)
        command = f"agent {arguments}"
        if not self.device.emulated:
            return self._in_bundle(bundle, f"{{python}} -m {command}", mark=True)
        python = shlex.quote(self.facts.executable)
        join = f"{python} -I -S -B agent/join.py {shlex.quote(self.resident(bundle))} {self.run}"
        return self._in_bundle(bundle, f"{join} {{python}} -m {command}", mark=True)

    def resident(self, bundle: Bundle) -> str:
        """The socket of the process that waits to be a bundle's agent, where one does; see harness.agent.resident."""
        return f"{self.store}/residents/{bundle.foundation[:16]}"

    def start_resident(self, bundle: Bundle) -> Channel:
        """Start a bundle's resident; it says "ready" and goes on in the background.

        Raises:
            LinkError: the board cannot be reached.
        """
        command = f"{{python}} -m agent.resident_agent {shlex.quote(self.resident(bundle))}"
        return self.link.start(self._in_bundle(bundle, command))

    def _in_bundle(self, bundle: Bundle, command: str, *, mark: bool = False) -> str:
        """A script that runs a command in a bundle's folder, with the bundle's Python in place of "{python}"."""
        folder = shlex.quote(f"{self.store}/{bundle.name}")
        python = shlex.quote(self.facts.executable)
        shipped = bool(bundle.runtime.archives) and bundle.runtime.runner is None
        # Shipped, it sees the standard library and what was shipped: no package of the board's own.
        flags, path = ("-S -s -B", '"PYTHONPATH=$PWD/runtime"') if shipped else ("-B", "")
        marked = f"{MARK}={self.run}" if mark else ""
        # Python's dictionaries are laid out alike in each state that counts.
        seed = "PYTHONHASHSEED=0" if self.device.counting else ""
        # With PYTHONSAFEPATH, -m would not look into the current folder; for the others see there (issue 16, case 49).
        without = " ".join(f"-u {name}" for name in NOT_OURS)
        environment = f"exec env {without} {seed} {marked} {path}"
        run = command.replace("{python}", f"{python} {flags}")
        return f"umask 077; test -e {folder}/manifest.json && cd {folder} && {environment} {run}"

    def _end_agents(self) -> None:
        with contextlib.suppress(HilgateError):
            self.request(answers.AgentsEnded)

    def cause_of_death(self, pid: int, status: int, said: str, packages: Mapping[str, str]) -> Death | None:
        """Why a process is gone that was killed; None where nothing is known. Never raises.

        Args:
            pid, status: its number there, and its end: negative for a signal.
            said: the end of what it wrote to stderr.
            packages: its runtime's, NAME: VERSION.
        """
        if status == -signal.SIGILL:
            return illegal_instruction(said, self.facts, packages)
        return self._obituary(pid) if status == -signal.SIGKILL else None

    def _obituary(self, pid: int) -> Death | None:
        try:
            found = self.request(answers.Obituary, pid=pid)
        except HilgateError:
            return None
        if not found.killed:
            return None
        at, of = found.resident_kib / 1024, found.memory_mib
        return Death(f"killed by the kernel at {at:.0f} MiB of {of} MiB: memory ran out")

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
            waiting_s = wait_s + COLLECT_GRACE_S
            reply, content = self.opened.request_with_payload(
                answers.Collected, more_s=waiting_s, name=name, wait_s=waiting_s
            )
            return content if reply.found else None

        return self.again(ask)
