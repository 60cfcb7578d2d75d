"""A small SageMaker runtime for tests: TLS, signatures that are verified, both routes, and failures by name.

The signature is recomputed by botocore's own signer over the headers that were signed. Event-stream frames are written
here, by smithy's specification (https://smithy.io/2.0/aws/amazon-eventstream.html), for botocore can only read them.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import numpy as np
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from harness.agent.remote.credentials import Credentials
from tests.support.oip_server import NAMES, TYPES, Model, doubling

BINARY = "application/vnd.sagemaker-triton.binary+json;json-header-size="
REGION, NAME = "eu-west-1", "digits"
KEY = Credentials("ASIAEXAMPLEKEY000001", "wJalrXUtnFEMIexampleSECRETKEY0000000001", "FwoGZXIvYXdzEXAMPLEtoken/+=0001")


def frame(payload: bytes, prefix: str = ":", **headers: str) -> bytes:
    """Write one frame of an event stream; a header's "_" is written as "-", and its name begins with the prefix."""
    lines = b""
    for key, value in headers.items():
        name, text = f"{prefix}{key.replace('_', '-')}".encode(), value.encode()
        lines += struct.pack(">B", len(name)) + name + b"\x07" + struct.pack(">H", len(text)) + text
    prelude = struct.pack(">II", 16 + len(lines) + len(payload), len(lines))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    whole = prelude + lines + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def part(payload: bytes) -> bytes:
    """Write a frame that carries a part of an answer's body."""
    return frame(payload, message_type="event", event_type="PayloadPart", content_type="application/octet-stream")


def error(name: str, message: str | None, **more: Any) -> tuple[int, dict[str, str], bytes]:
    """Write an error of the service's, as it is without its status."""
    body = json.dumps({"message": message, **more}).encode()
    return 400, {"x-amzn-ErrorType": f"{name}:http://internal.amazon.com/", "Content-Type": "application/json"}, body


class SignedServer:
    """A context manager: an endpoint of SageMaker on loopback.

    Attributes:
        fault: "", or (status, headers, body) that is answered in place of an answer.
        parts: in how many parts a stream's body comes; delay_s: the pause before each.
        stream: what is sent as the stream in place of the answer's frames, where it is not None.
        requests: the headers of each request, in turn; bodies: its body.
        closes: whether the connection is closed in place of an answer.
    """

    def __init__(self, context: ssl.SSLContext, model: Model = doubling, *, binary: bool = True) -> None:
        self.model, self.binary = model, binary
        self.fault: Any = ""
        self.parts, self.delay_s = 3, 0.0
        self.stream: bytes | None = None
        self.requests: list[Mapping[str, str]] = []
        self.bodies: list[bytes] = []
        self.connections, self.closes = 0, False
        server = self

        class Handler(_Handler):
            owner = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=lambda: self._http.serve_forever(0.02), daemon=True)

    def __enter__(self) -> SignedServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def description(self, ca: str, shape: Sequence[Any] = (-1, 3), **others: Any) -> dict[str, Any]:
        """Describe it as artifact/endpoint.json does."""
        inputs = [{"name": "x", "dtype": "float32", "shape": list(shape)}]
        named = {"endpoint": "test", "url": self.url, "model": "", "version": "", "inputs": inputs, "outputs": ["y"]}
        own = {"region": REGION, "endpoint_name": NAME, "ca": ca, "timeout_ms": 5000}
        return {"schema": 1, "protocol": "sagemaker", **named, **own, **others}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: SignedServer

    def setup(self) -> None:
        self.owner.connections += 1
        super().setup()

    def log_message(self, *_: Any) -> None:
        """Be silent."""

    def do_POST(self) -> None:
        """Infer, if the signature is right."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.owner.requests.append(dict(self.headers.items()))
        self.owner.bodies.append(body)
        if self.owner.closes:
            self.close_connection = True
            return
        refused = self.owner.fault or self._why_unsigned(body) or self._why_elsewhere()
        if refused:
            self._answer(*refused)
            return
        status, headers, answer = self._inferred(body)
        if self.path.endswith("-response-stream") and status == 200:
            self._stream(headers["Content-Type"], answer)
        else:
            self._answer(status, headers, answer)

    def _why_unsigned(self, body: bytes) -> Any:
        found = re.match(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d+/([^/]+)/sagemaker/aws4_request, "
            r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
            self.headers.get("Authorization", ""),
        )
        if not found:
            return (403, *error("MissingAuthenticationTokenException", "Missing Authentication Token")[1:])
        key, region, signed, signature = found.groups()
        if key != KEY.access_key or self.headers.get("X-Amz-Security-Token") != KEY.token:
            said = "The security token included in the request is invalid."
            return (403, *error("UnrecognizedClientException", said)[1:])
        headers = {name: self.headers[name] for name in signed.split(";") if name != "host"}
        request = AWSRequest("POST", f"https://{self.headers['Host']}{self.path}", headers, data=body)
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        auth = SigV4Auth(KEY, "sagemaker", region)
        text = auth.string_to_sign(request, auth.canonical_request(request))
        if region != REGION or not hmac.compare_digest(auth.signature(text, request), signature):
            said = f"The request signature we calculated does not match. Canonical: {auth.canonical_request(request)}"
            return (403, *error("InvalidSignatureException", said)[1:])
        return None

    def _why_elsewhere(self) -> Any:
        if self.path.startswith(f"/endpoints/{NAME}/invocations"):
            return None
        name = self.path.split("/")[2]
        return error("ValidationError", f"Endpoint {name} of account 123456789012 not found.")

    def _inferred(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        kind = self.headers["Content-Type"]
        if kind == "application/x-npy":
            return 200, {"Content-Type": kind}, _npy(self.owner.model, body)
        if kind.startswith(BINARY) and not self.owner.binary:
            refused = {"Message": "…", "OriginalStatusCode": 415, "OriginalMessage": "only JSON here"}
            return (424, *error("ModelError", None, **refused)[1:])
        size = int(kind.removeprefix(BINARY)) if kind.startswith(BINARY) else len(body)
        request = json.loads(body[:size])
        tensor = request["inputs"][0]
        code, shape = TYPES[tensor["datatype"]], tensor["shape"]
        x = np.frombuffer(body, code, offset=size) if size < len(body) else np.array(tensor["data"], code)
        array = np.ascontiguousarray(self.owner.model({"x": x.reshape(shape)})["y"])
        output: dict[str, Any] = {"name": "y", "datatype": NAMES[array.dtype], "shape": list(array.shape)}
        if size == len(body):
            output["data"] = array.reshape(-1).tolist()
            return 200, {"Content-Type": "application/json"}, json.dumps({"outputs": [output]}).encode()
        output["parameters"] = {"binary_data_size": array.nbytes}
        head = json.dumps({"outputs": [output]}).encode()
        return 200, {"Content-Type": f"{BINARY}{len(head)}"}, head + array.tobytes()

    def _stream(self, content_type: str, body: bytes) -> None:
        step = -(-len(body) // self.owner.parts)
        frames = [part(body[start : start + step]) for start in range(0, len(body), step)]
        if self.owner.stream is not None:
            frames = [self.owner.stream]
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("X-Amzn-SageMaker-Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        with contextlib.suppress(OSError):
            self.end_headers()
            for each in frames:
                time.sleep(self.owner.delay_s)
                self.wfile.write(b"%x\r\n%b\r\n" % (len(each), each))
            self.wfile.write(b"0\r\n\r\n")

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        (self.send_response_only if "Date" in headers else self.send_response)(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("x-Amzn-Invoked-Production-Variant", "AllTraffic")
        self.send_header("Content-Length", str(len(body)))
        with contextlib.suppress(OSError):
            self.end_headers()
            self.wfile.write(body)


def _npy(model: Model, body: bytes) -> bytes:
    import io

    out = io.BytesIO()
    np.save(out, model({"x": np.load(io.BytesIO(body), allow_pickle=False)})["y"])
    return out.getvalue()
