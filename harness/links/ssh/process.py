"""A program on the board, on a channel of its own.

The board's login shell, whichever it is, is given one command, and may print and read its input before it runs that. So
the command first prints STARTED: until then nothing is sent, and what is received is not the program's.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, Self, TypeVar

import paramiko

from ...errors import DeviceError, LinkLost
from ...host.exit_cause import describe_status
from .._link import GREETING_ALLOWED, ChannelClosed, stderr_of

E = TypeVar("E", DeviceError, LinkLost)

STDERR_KEPT = 1 << 16
READ_AHEAD = 1 << 16
DRAIN_PAUSE_S = 0.05
# How long the other end may take to say how a program ended, once its output has.
STATUS_PATIENCE_S = 5.0
# sshd reports how a program ended before it has sent all of its output; and a process left behind may hold stderr open.
TAIL_PATIENCE_S = 1.0
# A connection that ends closes its channels first, and counts as ended a moment later.
EXIT_PATIENCE_S = 0.5
# How long the login shell's files may take: a ROS workspace's take seconds on a small board, and an emulated board may
# get little of a busy machine. Beyond this they probably wait for input.
SHELL_S = 60.0
STARTED = b"<hilgate starts here>\n"
# Characters that no shell interprets in single quotes, nor in double quotes inside these.
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-+./,:;=@()[]{}<>|&#*?~^")
# A shell reports a program that was ended by signal N with status 128 + N.
SIGNALLED = 128


def shell_command(script: str) -> str:
    """Return a command line that runs a POSIX shell's script from any login shell, sh's kin or not.

    Nothing but letters, digits and harmless signs stands in it: csh reads a newline or "!" in quotes, too (issue
    16, case 41). A shell around the script's own tells by which signal that ended, which paramiko does not hand on.
    """
    text = f"echo {shlex.quote(STARTED.decode().strip())}; ({script}); exit $?"
    coded = "".join(
        chr(byte) if byte in PLAIN else f"\\0{byte:03o}" for byte in text.encode("utf-8", "surrogateescape")
    )
    return f'/bin/sh -c \'eval "$(printf %b "{coded}")"\''


class Process:
    """A running program on the board. Made by ``over``, which reads its stderr from then on."""

    def __init__(self, channel: paramiko.Channel, where: str, kill: Callable[[], None] | None) -> None:
        """Hold a channel on which a program was started; its stderr is not read yet."""
        self._channel, self._where, self._kill = channel, where, kill
        self._received = bytearray()
        self._tail = bytearray()
        self._finished = False
        self._beginning, self._shell_until = threading.Lock(), time.monotonic() + SHELL_S
        self._has_begun = False
        self._drain = threading.Thread(target=self._keep_tail, name="agent-stderr", daemon=True)

    @classmethod
    def over(cls, channel: paramiko.Channel, where: str, kill: Callable[[], None] | None) -> Self:
        """Take over a channel on which a program was started with ``shell_command``.

        Args:
            channel: the channel.
            where: the other end in words, for errors.
            kill: ends the program; closing the channel only lets go of it.
        """
        process = cls(channel, where, kill)
        process._drain.start()  # an unread stream stops the program once the window is full
        return process

    def send(self, data: Any, deadline: float) -> None:
        """Write all of a buffer."""
        self._begin(deadline)
        view = memoryview(data).cast("B")
        while view:
            self._wait_until(deadline)
            try:
                count = self._channel.send(view)  # type: ignore[arg-type]  # any buffer will do
            except (OSError, EOFError, paramiko.SSHException) as error:
                if isinstance(error, TimeoutError):
                    raise
                raise self._closed(error) from error
            if not count:
                raise self._closed()
            view = view[count:]

    def receive(self, size: int, deadline: float) -> bytearray:
        """Read exactly ``size`` bytes."""
        self._begin(deadline)
        while len(self._received) < size:
            chunk = self._receive_some(max(size - len(self._received), READ_AHEAD), deadline)
            if not chunk:
                raise self._closed()
            self._received += chunk
        if size == len(self._received):
            found, self._received = self._received, bytearray()
            return found
        found = self._received[:size]
        del self._received[:size]
        return found

    def _receive_some(self, most: int, deadline: float) -> bytes:
        """Read what is there, also more than was asked for: a frame's parts come together, and each call costs."""
        self._wait_until(deadline)
        try:
            return bytes(self._channel.recv(most))
        except (OSError, EOFError, paramiko.SSHException) as error:
            if isinstance(error, TimeoutError):
                raise
            raise self._closed(error) from error

    def _begin(self, deadline: float) -> None:
        """Skip what the login shell prints before the program.

        Raises:
            DeviceError: the program does not start: the board runs something else.
            LinkLost: it does not start in time, and it may also be the connection that hangs.
        """
        if self._has_begun:
            return
        with self._beginning:  # a sender and a receiver may be two threads
            while not self._has_begun:
                self._pass_over_some(min(deadline, self._shell_until))

    def _pass_over_some(self, deadline: float) -> None:
        start = self._received.find(STARTED)
        if start >= 0:
            del self._received[: start + len(STARTED)]
            self._has_begun = True
            return
        if len(self._received) > GREETING_ALLOWED + len(STARTED):
            raise self._not_begun(DeviceError, f"it printed more than {GREETING_ALLOWED >> 10} KiB, and goes on")
        try:
            chunk = self._receive_some(READ_AHEAD, deadline)
        except TimeoutError:
            if time.monotonic() < self._shell_until:
                raise
            raise self._not_begun(LinkLost, f"it did not come to it in {SHELL_S:g} s") from None
        if not chunk:
            closed = self._closed()
            if isinstance(closed, LinkLost):
                raise closed
            status = self._status()
            how = "it ended" if status is None else f"it ended with {describe_status(status)}"
            raise self._not_begun(DeviceError, how)
        self._received += chunk

    def _not_begun(self, kind: type[E], how: str) -> E:
        printed = self._received.decode("utf-8", "replace").strip()[:2000]
        said = f"it printed:\n{printed}" if printed else "it printed nothing"
        return kind(
            "the board does not run the command that it is given",
            wanted="a login that runs a command, as for: ssh HOST uname",
            found=f"{how}; {said}\n{stderr_of(self)}",
            where=self._where,
            hint="is another command forced there (ForceCommand of sshd_config, command= of the key's line in "
            "authorized_keys), is its user's shell none, or do the shell's files (.bashrc, .profile) end it or wait "
            "for input?",
        )

    def finish(self, patience_s: float) -> int | None:
        """Close its stdin and wait for its end; a program that does not end in time is killed, if anybody can."""
        if self._finished:
            return self._status()
        self._finished = True
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()
        if not self._wait_ended(patience_s) and self._kill is not None:
            self._kill()
            self._wait_ended(STATUS_PATIENCE_S)
        status = self._status()
        if status is not None:
            self._drain.join(TAIL_PATIENCE_S)
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.close()
        self._drain.join(STATUS_PATIENCE_S)
        return status

    def stderr_tail(self) -> str:
        """Return the end of its stderr, at most 64 KiB."""
        return self._tail.decode("utf-8", "replace")

    def _wait_until(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._channel.settimeout(left)

    def _wait_ended(self, patience_s: float) -> bool:
        return self._channel.status_event.wait(patience_s)

    def _status(self) -> int | None:
        status = self._channel.exit_status if self._channel.status_event.is_set() else -1
        if status < 0:
            return None
        number = status - SIGNALLED
        return -number if number in signal.valid_signals() else status

    def _closed(self, error: Exception | None = None) -> ChannelClosed | LinkLost:
        """Find out why nothing is sent or received any more: the program has ended, or the connection has."""
        transport = self._channel.get_transport()
        if isinstance(error, paramiko.SSHException) and not self._channel.closed:  # an exchange of keys took too long
            return LinkLost("the connection hangs", found=str(error), where=self._where)
        self._wait_ended(STATUS_PATIENCE_S)
        if self._status() is None:
            transport.join(EXIT_PATIENCE_S)
        if self._status() is None and not transport.is_active():
            cause = transport.get_exception() or transport.saved_exception
            found = f"{type(cause).__name__}: {cause}" if cause else "it was closed"
            return LinkLost("the connection dropped", found=found, where=self._where)
        self._drain.join(STATUS_PATIENCE_S)  # the last lines of its stderr tell why
        return ChannelClosed()

    def _keep_tail(self) -> None:
        while True:
            try:
                chunk = self._channel.recv_stderr(STDERR_KEPT)
            except TimeoutError:  # the channel has one timeout for both streams; this one was set for the other
                time.sleep(DRAIN_PAUSE_S)
                continue
            except (OSError, EOFError, paramiko.SSHException):
                return
            if not chunk:
                return
            self._tail += chunk
            del self._tail[:-STDERR_KEPT]
