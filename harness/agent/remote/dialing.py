"""A new connection: the name, the addresses one after another, TLS; all of it in the time of the call that needs it."""

from __future__ import annotations

import socket
from typing import Any

from .deadline import Deadline
from .failure import LATE, REFUSED, UNREACHABLE, CallFailed
from .resolving import Address, Resolver
from .tunnel import Proxy, connect_through
from .url import Url


class PresentCall:
    """The call that is being made.

    Attributes:
        url: the server that is called.
        deadline: ends the call; whoever calls arms it before, and disarms it afterwards.
        doing: what the call is doing, for an error.
    """

    def __init__(self, url: Url) -> None:
        self.url, self.deadline, self.doing = url, Deadline(), ""

    def late(self) -> CallFailed:
        """Return the error of a call whose time is over."""
        return CallFailed(LATE, f"no whole answer in time, from {self.url}: still {self.doing}")


class Dialer:
    """Connects to one server.

    Attributes:
        resolver: knows its addresses.
        tls: ", " and the version of TLS of the last connection; "" without.
    """

    def __init__(self, present: PresentCall, ca: str, proxy: Proxy | None) -> None:
        """Connect to nothing yet.

        Args:
            present: the call that needs a connection.
            ca: whom to trust; "" for those whom the device trusts.
            proxy: shapes what passes; None without one.

        Raises:
            ValueError: ca has no certificate.
        """
        self.present, self.url, self.proxy = present, present.url, proxy
        self.resolver = Resolver(self.url.host, self.url.port)
        self.tls = ""
        self._context: Any = None
        if self.url.scheme == "https":
            from .tls import make_context

            self._context = make_context(ca)

    @property
    def secures(self) -> bool:
        """Whether connections are TLS's."""
        return self._context is not None

    def dial(self) -> socket.socket:
        """Connect; return the socket, which the deadline ends from then on.

        Raises:
            CallFailed: no address of the server answers.
        """
        self.present.doing = f"resolving the name {self.url.host}"
        addresses = self.resolver.find(self.present.deadline)
        self.present.doing = "connecting"
        failed: CallFailed | None = None
        for index, address in enumerate(addresses):
            try:
                opened = self._open(address, self.present.deadline.left_s / (len(addresses) - index))
            except CallFailed as error:
                failed = error
                continue
            if index:
                self.resolver.prefer(address)
            return opened
        self.resolver.forget()
        raise failed or self.present.late()

    def _open(self, address: Address, seconds: float) -> socket.socket:
        """Connect to one address. It gets its share of the time: of two addresses one may swallow all."""
        try:
            opened = self._reached(address, max(seconds, 0.001))
        except OSError as error:
            raise self._no_connection(error) from None
        try:
            opened.settimeout(None)  # from here on the deadline ends it
            opened = self._secured(opened)
        except OSError as error:
            opened.close()
            raise self._no_connection(error) from None
        except BaseException:
            opened.close()
            raise
        self.present.deadline.watch(opened)
        return opened

    def _reached(self, address: Address, seconds: float) -> socket.socket:
        family, where = address
        if self.proxy is not None:
            return connect_through(self.proxy, where, seconds)
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.settimeout(seconds)
            opened.connect(where)
        except BaseException:
            opened.close()
            raise
        return opened

    def _secured(self, opened: socket.socket) -> socket.socket:
        if self._context is None:
            return opened
        self.present.doing = "in TLS's handshake"
        secured = self._context.wrap_socket(opened, server_hostname=self.url.host, do_handshake_on_connect=False)
        self.present.deadline.watch(secured)
        try:
            secured.do_handshake()
        except BaseException:
            self.present.deadline.watch(None)
            secured.close()
            raise
        self.tls = f", {secured.version()}"
        return secured  # type: ignore[no-any-return]

    def _no_connection(self, error: OSError) -> CallFailed:
        if isinstance(error, socket.timeout) or self.present.deadline.is_over:
            return self.present.late()
        where = f"{self.url.host} port {self.url.port}"
        if isinstance(error, ConnectionRefusedError):
            return CallFailed(REFUSED, f"nothing listens at {where}: connection refused")
        if hasattr(error, "library"):  # an SSLError, without importing ssl
            from .tls import explain

            return CallFailed(UNREACHABLE, explain(error, self.url.host))  # type: ignore[arg-type]
        return CallFailed(
            UNREACHABLE, f"no connection to {where}, while {self.present.doing}: {error.strerror or error}"
        )
