"""A way back: a port of the board's loopback that leads to one of this machine's, over the connection that is there.

The board opens a channel for each connection that is made to its port; or as it likes. Wherever a channel says that it
comes from, it leads to that one port of this machine's loopback, and there are so many at once.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import paramiko

from ...errors import LinkLost, TunnelError
from .._link import ChannelClosed
from .channel_bound import CHANNEL_TIMEOUT_S, bounded

if TYPE_CHECKING:
    from .._link import Channel

LOOPBACK = "127.0.0.1"
# Connections at once; a client has one, and 32 callers at once are the most that anything here makes.
MOST = 64
CONNECT_S = 5.0
CHUNK = 1 << 16
# What a program is given to look at the board's own list of sockets: three lines of a shell.
LOOK_S = 30.0
FINISH_S = 5.0
PORTS = range(1, 1 << 16)
REFUSED = (
    "set AllowTcpForwarding remote (or yes) in its /etc/ssh/sshd_config, and restart sshd; it is also refused by "
    "DisableForwarding and PermitListen there, and by restrict or no-port-forwarding before the key in authorized_keys"
)
# Prints where a port listens, as the kernel lists it (proc(5)): at l, the loopback alone; at w, elsewhere; n, nowhere.
LOOK = """
seen=n
for list in /proc/net/tcp /proc/net/tcp6; do
    if test -r $list; then while read -r _ at _ state _; do case $at/$state in
        0100007F:{port:04X}/0A|00000000000000000000000001000000:{port:04X}/0A) test $seen = w || seen=l;;
        *:{port:04X}/0A) seen=w;;
    esac; done < $list; fi
done
echo $seen
"""


class BackTunnel:
    """One such way, as links.Tunnel describes it.

    Attributes:
        port: the board's, from ``open`` on.
    """

    def __init__(
        self,
        name: str,
        target: int,
        transport: Callable[[], paramiko.Transport],
        start: Callable[[str], Channel],
    ) -> None:
        """Make one that is not open yet.

        Args:
            name: the device's, for errors.
            target: the port of this machine.
            transport: returns the connection that there is now.
            start: starts a script on the board.
        """
        self.port = 0
        self._name, self._target, self._transport, self._start = name, target, transport, start
        self._over: paramiko.Transport | None = None
        self._opened: queue.SimpleQueue[paramiko.Channel | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._live: set[_Carried] = set()
        self._is_shown = False
        self._taking: threading.Thread | None = None

    def open(self) -> None:
        """Open it, at a port that the board chooses.

        Raises:
            TunnelError: the board refuses, or would let the network in.
            LinkLost: the connection dropped.
        """
        self._taking = threading.Thread(target=self._take, name="tunnel", daemon=True)
        self._taking.start()
        try:
            self.check()
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """Open it again, at the port that it had, where the connection was made anew.

        Raises:
            TunnelError: the board refuses, or would let the network in.
            LinkError: the connection dropped, or no program can be started on the board.
        """
        transport = self._transport()
        if transport is self._over:
            return
        self._is_shown = False
        try:
            with bounded(transport):
                self.port = transport.request_port_forward(LOOPBACK, self.port, self._hand_over)
        except (paramiko.SSHException, OSError, EOFError) as error:
            if not transport.is_active():
                found = f"{type(error).__name__}: {error}"
                raise LinkLost("the connection dropped", found=found, where=self._name) from error
            raise self._refused(str(error)) from error
        self._over = transport
        try:
            if self.port not in PORTS:
                raise self._refused(f"port {self.port}, which is none")
            self._check_loopback()
        except BaseException:
            self._cancel()
            raise
        self._is_shown = True

    def _refused(self, said: str) -> TunnelError:
        if self.port not in PORTS:
            return TunnelError(
                f"{self._name} forwards no port back to this machine",
                wanted="a port of its loopback that leads to the emulated service here",
                found=f"its SSH server: {said}",
                where=self._name,
                hint=REFUSED,
            )
        return TunnelError(
            f"{self._name} does not give the port back to this machine again",
            wanted=f"port {self.port}, which it had before the connection dropped: its calls go there",
            found=f"its SSH server: {said}",
            where=self._name,
            hint="the session that dropped may hold it there until its server sees that (ClientAliveInterval 15 in its "
            "/etc/ssh/sshd_config makes that soon): start the run again",
        )

    def _check_loopback(self) -> None:
        """Refuse a port that others reach: GatewayPorts yes opens every forwarded one to the network."""
        process = self._start(LOOK.format(port=self.port))
        try:
            said = bytes(process.receive(1, time.monotonic() + LOOK_S))
        except TimeoutError:
            said = b""
        except ChannelClosed:
            said = b"n"
        finally:
            process.finish(FINISH_S)
        if not said:
            raise LinkLost(
                "the board does not say where a port listens", found=f"nothing in {LOOK_S:g} s", where=self._name
            )
        if said == b"w":
            raise TunnelError(
                f"{self._name} opens ports that are forwarded to all of its network",
                wanted="a port of its loopback alone",
                found=f"port {self.port} listens at other addresses, too",
                where=self._name,
                hint="set GatewayPorts no (or clientspecified) in its /etc/ssh/sshd_config, and restart sshd",
            )
        if said != b"l":
            raise TunnelError(
                f"{self._name} does not show where the port back to this machine listens",
                wanted=f"port {self.port} at 127.0.0.1, in its /proc/net/tcp",
                found="nothing that listens there",
                where=self._name,
                hint="hilgate must see that nobody but the board reaches it",
            )

    def close(self) -> None:
        """End it, with the connections that go through it. Never raises."""
        self._cancel()
        self._opened.put(None)
        if self._taking is not None:
            self._taking.join(CHANNEL_TIMEOUT_S)
        with self._lock:
            live = list(self._live)
        for each in live:
            each.end()

    def _cancel(self) -> None:
        """Have the board listen no more. Never raises."""
        over, self._over = self._over, None
        if over is not None and over.is_active():
            with contextlib.suppress(Exception), bounded(over):
                # Once this is answered the board opens no more channels. Only then is the handler dropped, by the
                # second request: paramiko calls it without looking again.
                over.global_request("cancel-tcpip-forward", (LOOPBACK, self.port), wait=True)
                over.cancel_port_forward(LOOPBACK, self.port)

    def _hand_over(self, channel: paramiko.Channel, origin: tuple[str, int], server: tuple[str, int]) -> None:
        """Take note of a channel; called by the connection's own thread, which must not wait."""
        self._opened.put(channel)

    def _take(self) -> None:
        while (channel := self._opened.get()) is not None:
            with self._lock:
                # Before the board has shown where it listens, anybody may call.
                is_taken = self._is_shown and len(self._live) < MOST
            if is_taken:
                carried = _Carried(channel, self._target, self._forget)
                with self._lock:
                    self._live.add(carried)
                threading.Thread(target=carried.run, name="tunnelled", daemon=True).start()
                continue
            with contextlib.suppress(Exception):
                channel.close()

    def _forget(self, carried: _Carried) -> None:
        with self._lock:
            self._live.discard(carried)


class _Carried:
    """One connection: a channel, and a socket to this machine's own port."""

    def __init__(self, channel: paramiko.Channel, target: int, ended: Callable[[_Carried], None]) -> None:
        self._channel, self._target, self._ended = channel, target, ended
        self._socket: socket.socket | None = None

    def run(self) -> None:
        """Carry what comes, both ways, until both ends have ended."""
        try:
            with socket.create_connection((LOOPBACK, self._target), timeout=CONNECT_S) as opened:
                opened.settimeout(None)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._socket = opened
                back = threading.Thread(target=self._back, args=(opened,), name="tunnelled-back", daemon=True)
                back.start()
                self._there(opened)
                back.join()
        except OSError:  # nobody listens here any more: the board's client sees its connection end
            pass
        finally:
            self.end()
            self._ended(self)

    def end(self) -> None:
        """End both ends. Never raises."""
        with contextlib.suppress(Exception):
            self._channel.close()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _there(self, opened: socket.socket) -> None:
        """Carry what the board's client sends."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            while data := self._channel.recv(CHUNK):
                opened.sendall(data)
        with contextlib.suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR if self._channel.closed else socket.SHUT_WR)

    def _back(self, opened: socket.socket) -> None:
        """Carry what is answered."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            while data := opened.recv(CHUNK):
                self._channel.sendall(data)
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()
