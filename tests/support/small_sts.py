"""An STS whose credentials the emulated service takes: moto's server issues such that nobody but moto knows.

It gives federated users out to whoever has the one long-lived key, and looks at no more of a request than its Action.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from harness.agent.remote.credentials import Credentials

CALLER = "<Arn>arn:aws:iam::123456789012:user/me</Arn><UserId>U</UserId><Account>123456789012</Account>"


class SmallSts:
    """A context manager: the server, in a thread.

    Attributes:
        url: where it listens.
        asked: the actions that it was asked for.
    """

    def __init__(self, issue: Callable[[], Credentials]) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            """One request."""

            def do_POST(self) -> None:
                """Answer it."""
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                action = form["Action"][0]
                outer.asked.append(action)
                result = CALLER if action == "GetCallerIdentity" else _described(issue())
                body = f"<{action}Response><{action}Result>{result}</{action}Result></{action}Response>".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _described(given: Credentials) -> str:
    expires = datetime.fromtimestamp(given.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    keys = {"AccessKeyId": given.access_key, "SecretAccessKey": given.secret_key, "SessionToken": given.token}
    listed = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in keys.items())
    return f"<Credentials>{listed}<Expiration>{expires}</Expiration></Credentials>"
