"""The host's client of the daemon (see harness.agent.daemon): starts it, asks it, notices when it does not answer."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import shlex
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from ..agent.private import WANTED
from ..agent.wire import FrameError, Limits, pack_head, read_head
from ..device.device import Device
from ..errors import (
    DaemonFailure,
    DeploymentError,
    DeviceError,
    DeviceStorageError,
    LinkError,
    LinkLost,
    ProtocolError,
    StorageError,
)
from ..links import GREETING_ALLOWED, Channel, ChannelClosed, LinkType, stderr_of
from ..protocol import daemon as answers
from ..protocol import parse
from ..protocol.asked import NOTHING, of_device

A = TypeVar("A", bound=answers.DaemonAnswer)

AGENT = Path(__file__).parents[1] / "agent"
BOOT = AGENT / "daemon" / "boot.py"
# What the daemon imports: all of it standard library.
SHARED = ("__init__", "facts", "attach", "orphans", "private", "forkserver", "telemetry", "unpack", "wire")
START_S = 60.0
# The daemon shows every 2 s that it is at work; a board that swaps may need longer. After this it counts as gone.
SILENCE_S = 20.0
# What it is started with, where that is not its default; see harness.agent.daemon.serve.main.
ARGUMENTS: Mapping[str, float] = {}
# The clock of a board that counts goes on by a nanosecond with each instruction, of which a loaded host may emulate
# fewer than a hundred million a second: its two seconds are then more than our twenty.
COUNTING = {"sign_of_life_s": 0.1}
PING_S = 3.0
NO_PYTHON = 127
# Variables that a user's .bashrc may set and that keep Python from starting, make it warn or prompt, or strip asserts
# and docstrings.
_PYTHONS = ("PYTHONHOME", "PYTHONSAFEPATH", "PYTHONWARNINGS", "PYTHONINSPECT", "PYTHONOPTIMIZE")
# Where the device is this machine, the user's own keys of AWS are in the environment, and are nothing to a device; nor
# is the token that a container gets such keys for.
_SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
)
NOT_OURS = (*_PYTHONS, *_SECRETS)
OLD_PYTHON = "wanted Python 3.9 or newer"
ANOTHER_FOLDER = 'name another folder, on a disk that can be written: [device] store = "/…"'
UNWRITABLE = {
    errno.ENOSPC: "the device's disk is full",
    errno.EDQUOT: "the device's disk quota is used up",
    errno.EACCES: "no permission on the device",
    errno.EPERM: "no permission on the device",
    errno.EROFS: "the device's disk is read-only",
    errno.EIO: "the device's disk is damaged",
    errno.ENOTDIR: "a file is where a folder should be on the device",
    errno.EEXIST: "a file is where a folder should be on the device",
}


def sources() -> dict[str, str]:
    """Read the sources of the daemon's modules: name on the device -> text."""
    paths = {f"agent.{name}": AGENT / f"{name}.py" for name in SHARED}
    paths |= {f"agent.daemon.{path.stem}": path for path in AGENT.joinpath("daemon").glob("*.py") if path != BOOT}
    return {name: path.read_text(encoding="utf-8") for name, path in sorted(paths.items())}


def forkserver_name() -> str:
    """Return the name of the daemon's forkserver on a board that has one; it depends on the sources that it runs."""
    return "daemon-" + hashlib.sha256(json.dumps(sources()).encode()).hexdigest()[:16]


def python_script(device: Device, link: LinkType, *, forkserver: bool = False) -> str:
    """Build a shell script that runs the device's Python with the daemon's first lines.

    Args:
        device: the device, as its file describes it.
        link: the way to it.
        forkserver: start the forkserver that forks daemons, in place of a daemon (on an emulated board).
    """
    version = device.runtime.python
    if program := link.python or device.runtime.program:
        candidates = [program]
    else:
        candidates = [*([f"python{version}"] if version else []), "python3"]
    # Only what was shipped is imported: neither PYTHONPATH nor the board's own packages are searched.
    flags = "-I -S -B" if device.runtime.packages else "-B"
    listed = " ".join(shlex.quote(candidate) for candidate in candidates)
    run = f'exec "$HILGATE_PYTHON" {flags} -c {shlex.quote(BOOT.read_text(encoding="utf-8"))}'
    forkservers = f"{device.store or link.store}/forkservers"
    socket, join = (_quoted(f"{forkservers}/{name}") for name in (forkserver_name(), "attach.py"))
    if forkserver:
        run += f" {socket}"
    elif link.snapshots is not None:
        joined = f'exec "$HILGATE_PYTHON" -I -S -B {join} {socket} ""'
        # Nothing that another user could have put in its place is run.
        ours = f"[ -O {_quoted(forkservers)} ] && [ -O {join} ]"
        run = f"if {ours} && [ -S {socket} ]; then {run.replace('exec', joined, 1)}; fi; {run}"
    return (
        # The agent is started by the same name, too: it may be a wrapper that sets what the runtime needs.
        f"unset {' '.join(NOT_OURS)}; umask 077; "
        f'for name in {listed}; do HILGATE_PYTHON=$(command -v "$name") || continue; '
        f"export HILGATE_PYTHON; {run}; done; "
        f'echo "hilgate: no such program: "{shlex.quote(", ".join(candidates))}" (PATH is $PATH)" >&2; exit {NO_PYTHON}'
    )


def _quoted(path: str) -> str:
    """Quote a path for a shell on the device; "~" at its start is the device's home folder."""
    return f'"$HOME"/{shlex.quote(path[2:])}' if path.startswith("~/") else shlex.quote(path)


def removed(name: str, *, found: str, where: str) -> DeviceError:
    """Build the error for a store from which somebody has removed entries: it says nothing of the model (issue 17)."""
    return DeviceError(
        f"what was stored on {name} was removed while it was used",
        wanted="a store that only hilgate writes to",
        found=found,
        where=where,
        hint="run once more: what is missing is sent again",
    )


def packed_sources(device: Device) -> bytes:
    """Pack the sources and the arguments of harness.agent.daemon.serve.main, as boot reads them.

    Args:
        device: where the daemon will run.
    """
    arguments = {**(COUNTING if device.counting else {}), **ARGUMENTS}
    packed = (json.dumps(document).encode() for document in (sources(), arguments))
    return b"".join(b"%8d" % len(document) + document for document in packed)


class DaemonClient:
    """A client of one daemon process. Requests from several threads go one after the other."""

    def __init__(self, link: LinkType, device: Device, channel: Channel) -> None:
        """Talk to a daemon that was started on a channel; ``start`` starts one."""
        self.link, self.device, self.channel = link, device, channel
        self._turn = threading.Lock()
        self._lost = False

    @classmethod
    def start(cls, link: LinkType, device: Device, *, bulk: bool = False) -> Self:
        """Start a daemon on a device, and wait for its greeting.

        Args:
            link: the way to the device.
            device: the device, as its file describes it.
            bulk: on the connection for bulk transfers.

        Raises:
            LinkError: the device cannot be reached.
            DeviceError: it has no Python, or one that is too old.
        """
        daemon = cls(link, device, link.start(python_script(device, link), bulk=bulk))
        try:
            daemon._greet()
        except BaseException:
            daemon.channel.finish(0)
            raise
        return daemon

    def _greet(self) -> None:
        deadline = time.monotonic() + START_S
        try:
            self.channel.send(packed_sources(self.device), deadline)
        except ChannelClosed:
            pass  # why is still to be read
        except TimeoutError:
            raise self._silent(START_S) from None
        hello, _ = self._read(deadline, NOTHING, skip=GREETING_ALLOWED)
        parse(answers.Hello, hello, to="start", where=self.link.where)

    def request(self, answer: type[A], *, silence_s: float | None = None, more_s: float = 0.0, **arguments: Any) -> A:
        """Ask for an operation; see harness.agent.daemon.operations.

        Args:
            answer: the type of its answer, which names the operation.
            silence_s: how long the daemon may be silent, where that is more than SILENCE_S.
            more_s: how much longer than the answer's ``limit_s`` the operation may take, for what is large.
            **arguments: the operation's own.

        Raises:
            LinkLost: the daemon no longer answers, or does not come to an end.
            StorageError: the device's disk is full, or its store cannot be written.
            ProtocolError: its answer does not have the answer's schema.
            DeploymentError: it answered that the operation failed.
        """
        return self.request_with_payload(answer, silence_s=silence_s, more_s=more_s, **arguments)[0]

    def request_with_payload(
        self,
        answer: type[A],
        payload: bytes = b"",
        *,
        silence_s: float | None = None,
        more_s: float = 0.0,
        **arguments: Any,
    ) -> tuple[A, bytes]:
        """Ask for an operation whose request or reply has a payload; see ``request``.

        Returns:
            The answer, and the payload that came with it.
        """
        operation, where = answer.operation, self.link.where
        request = pack_head({"op": operation, **arguments}, len(payload)) + payload
        with self._turn:
            reply, returned = self._ask(request, answer, silence_s or SILENCE_S, answer.limit_s + more_s)
        if "error" in reply:
            raise self.refusal(operation, parse(answers.Refusal, reply, to=operation, where=where))
        checked = parse(answer.kind(reply), reply, to=operation, where=where)
        return checked, returned  # type: ignore[return-value]  # of what is asked for, that or a kind of it

    def _ask(
        self, request: bytes, answer: type[answers.DaemonAnswer], silence_s: float, limit_s: float
    ) -> tuple[dict[str, Any], bytes]:
        if self._lost:  # the reply that did not come may still come, and be taken for this request's
            raise LinkLost(f"{self.device.name} no longer answers", where=self.link.where)
        self._lost = True
        end = time.monotonic() + limit_s
        with contextlib.suppress(ChannelClosed):  # what ended the daemon is said by the reply
            try:
                self.channel.send(request, time.monotonic() + silence_s)
            except TimeoutError:
                raise self._silent(silence_s) from None
        reply = self._reply(answer, silence_s, end)
        self._lost = False
        return reply

    def ping(self) -> None:
        """Show that the host is there, unless a request is on its way.

        Raises:
            LinkLost: the device no longer answers.
        """
        if self._turn.acquire(blocking=False):
            try:
                self._ask(pack_head({"op": "ping"}), answers.Pong, SILENCE_S, answers.Pong.limit_s)
            finally:
                self._turn.release()

    def _reply(self, answer: type[answers.DaemonAnswer], silence_s: float, end: float) -> tuple[dict[str, Any], bytes]:
        """Wait for a reply until a deadline that signs of life do not put off (issue 17)."""
        limits, is_working = of_device(answer.payload), False
        while True:
            try:
                reply, payload = self._read(min(time.monotonic() + silence_s, end), limits)
            except LinkLost:
                if is_working and time.monotonic() >= end:
                    raise self._unending(answer.operation) from None
                raise
            if reply.get("working") is not True:
                return reply, payload
            is_working = True

    def _unending(self, operation: str) -> LinkLost:
        return LinkLost(
            f"{self.device.name} does not come to the end of {operation!r}",
            wanted="an answer",
            found=f"it says that it is at work, and goes on; {stderr_of(self.channel)}",
            where=self.link.where,
            hint="look at what the board is doing, and at its disk",
        )

    def _read(self, deadline: float, limits: Limits, skip: int = 0) -> tuple[dict[str, Any], bytes]:
        began = time.monotonic()
        try:
            head = read_head(lambda size: self.channel.receive(size, deadline), skip=skip, limits=limits)
            payload = bytes(self.channel.receive(head.payload_size, deadline)) if head.payload_size else b""
        except TimeoutError:
            raise self._silent(time.monotonic() - began) from None
        except FrameError as error:
            found = f"{error}; {stderr_of(self.channel)}"
            hint = "look for what the login shell's files (.bashrc, .profile) print"
            what = "what the device sent is not a frame, or not one that was asked for"
            raise ProtocolError(what, found=found, where=self.link.where, hint=hint) from error
        except ChannelClosed:
            raise self._ended(greeting=skip > 0) from None
        return head.header, payload

    def _silent(self, seconds: float) -> LinkLost:
        what = f"{self.device.name} no longer answers"
        found = f"nothing in {seconds:.0f} s; {stderr_of(self.channel)}"
        hint = "look at the board's power and network"
        return LinkLost(what, wanted="a sign of life", found=found, where=self.link.where, hint=hint)

    def _ended(self, *, greeting: bool) -> LinkError | DeviceError:
        status = self.channel.finish(1.0)
        said = self.channel.stderr_tail().strip()[-2000:]
        where = f"{self.link.where} ({self.device.path})"
        if OLD_PYTHON in said:
            hint = "install a newer Python there, and name it: runtime.python or runtime.environment"
            found = said.rpartition("found ")[2]
            return DeviceError(
                "the device's Python is too old", wanted="3.9 or newer", found=found, where=where, hint=hint
            )
        if status in (NO_PYTHON, 126):
            return self._no_python(said, where)
        found = f"exit status {status}; {stderr_of(self.channel)}"
        if greeting and status is not None:
            what = f"the device's Python cannot be started on {self.device.name}"
            hint = "look at what the login shell's files (.bashrc, .profile) do, and whether that Python runs by hand"
            return DeviceError(what, wanted="a shell that runs a command", found=found, where=where, hint=hint)
        return LinkLost(f"our daemon on {self.device.name} ended", found=found, where=where)

    def _no_python(self, said: str, where: str) -> DeviceError:
        runtime = self.device.runtime
        if runtime.environment:
            what, wanted = (
                "the environment is not on the device",
                f"{runtime.environment}/bin/python, runnable for its user",
            )
            hint = f"make it there, python3 -m venv {runtime.environment}, or correct runtime.environment"
        else:
            what, wanted = "there is no such Python on the device", runtime.python or "python3"
            hint = "install it there, or name another: runtime.python or runtime.environment"
        return DeviceError(what, wanted=wanted, found=said, where=where, hint=hint)

    def refusal(self, operation: str, reply: answers.Refusal) -> StorageError | DeploymentError | DeviceError:
        """Build the error for an operation that failed on the device.

        Args:
            operation: what was asked for.
            reply: how the daemon refused it.
        """
        what = UNWRITABLE.get(reply.errno or 0)
        where = f"{reply.path or 'its store'} on {self.device.name} ({self.link.where})"
        if reply.repair:
            what = f"other users of {self.device.name} could interfere with a run there"
            hint = f"there: {reply.repair}" + (f"; or {ANOTHER_FOLDER}" if reply.wanted == WANTED else "")
            return DeviceStorageError(what, wanted=reply.wanted, found=reply.error, where=where, hint=hint)
        if reply.no_home:
            what = f"the home folder of the user who logs in is not on {self.device.name}"
        if operation not in ("open", "try") and reply.errno == errno.ENOENT:
            return removed(self.device.name, found=reply.error, where=where)
        if what is not None:
            free = reply.free_bytes
            found, hint = reply.error, ANOTHER_FOLDER
            if reply.errno in (errno.ENOSPC, errno.EDQUOT):
                hint = f"hilgate clean {self.device.name} frees what hilgate keeps there; or {hint}"
                found += f"; {free / 2**20:.0f} MiB free" if free is not None else ""
            return DeviceStorageError(what, wanted="a folder that can be written", found=found, where=where, hint=hint)
        error = DaemonFailure(f"{operation} failed on the device", found=reply.error, where=where)
        error.add_note("on the device:\n" + reply.traceback)
        return error

    def close(self) -> None:
        """End the daemon, so that the device is free for the next run. Never raises."""
        with contextlib.suppress(LinkError):
            self.channel.finish(5.0)


class Heartbeat:
    """Pings a daemon; when one fails, everything that waits for the device is made to fail, too."""

    def __init__(self, daemon: DaemonClient) -> None:
        """Make a heartbeat that does not beat yet; ``start`` makes one that does."""
        self._daemon = daemon
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    @classmethod
    def start(cls, daemon: DaemonClient) -> Self:
        """Ping a daemon from now on, in a thread of its own."""
        heartbeat = cls(daemon)
        heartbeat._thread.start()
        return heartbeat

    def _beat(self) -> None:
        while not self._stop.wait(PING_S):
            try:
                self._daemon.ping()
            except (LinkError, DeploymentError, DeviceError):
                if not self._stop.is_set():
                    self._daemon.link.abort()
                return

    def stop(self) -> None:
        """Send no more pings."""
        self._stop.set()
        self._thread.join(SILENCE_S)
