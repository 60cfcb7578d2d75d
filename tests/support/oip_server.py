"""A server of the Open Inference Protocol for tests: whole, correct, and simple. Its model doubles, or is linear.

Written from the protocol's text, apart from our client: http.server, binary tensors and JSON.
"""

from __future__ import annotations

import contextlib
import json
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import numpy as np

from harness.agent.frames import Array

HEADER = "Inference-Header-Content-Length"
TYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
NAMES = {np.dtype(code): name for name, code in TYPES.items()}
FLOAT = [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]

Model = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def doubling(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Double x."""
    return {"y": inputs["x"] * inputs["x"].dtype.type(2)}


def linear(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Multiply x by a matrix, and add a vector."""
    weight = np.arange(6, dtype=np.float32).reshape(3, 2) / 8
    return {"y": inputs["x"] @ weight + np.float32(0.5), "n": np.array([len(inputs["x"])], np.int64)}


class OipServer:
    """A context manager: serves one model on a port of loopback.

    Attributes:
        requests: the paths that were asked for, in turn.
        connections: how many were made.
        status: answered to inferences in place of their outputs, where it is not 200.
        refusal: answered to binary tensors, where it takes none.
        extensions: what it lists that it can do beyond the protocol.
        inferences: how many were asked for.
        fails: whether the one with this number, from 1 on, is answered with 503.
        data: what stands in answers in JSON as an output's elements, where it is not "".
    """

    def __init__(
        self,
        model: Model = doubling,
        *,
        name: str = "m",
        inputs: Sequence[Mapping[str, Any]] = FLOAT,
        outputs: Sequence[Mapping[str, Any]] = ({"name": "y", "datatype": "FP32", "shape": [-1, 3]},),
        binary: bool = True,
        context: ssl.SSLContext | None = None,
        delay_s: float = 0.0,
    ) -> None:
        self.model, self.name, self.binary, self.delay_s = model, name, binary, delay_s
        self.metadata: dict[str, Any] = {
            "name": name,
            "platform": "tests",
            "versions": ["1"],
            "inputs": inputs,
            "outputs": outputs,
        }
        self.requests: list[str] = []
        self.connections = 0
        self.open: list[Any] = []
        self.status, self.refusal = 200, 422
        self.extensions: Any = ["binary_tensor_data"] if binary else []
        self.data: Any = ""
        self.inferences = 0
        self.fails: Callable[[int], bool] = lambda _: False
        server = self

        class Handler(_Handler):
            owner = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        if context is not None:
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_address[1]
        self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{self.port}"
        self._handler, self._thread = Handler, threading.Thread()

    def __enter__(self) -> OipServer:
        self._serve()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.pause()

    def pause(self) -> None:
        """End all connections, and refuse new ones."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.open.clear()

    def resume(self) -> None:
        """Serve again, at the same port."""
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler)
        self._http.daemon_threads = True
        self._serve()

    def _serve(self) -> None:
        serve = self._http.serve_forever
        self._thread = threading.Thread(target=lambda: serve(0.02), name="oip-server", daemon=True)
        self._thread.start()

    def description(self, **others: Any) -> dict[str, Any]:
        """Describe it as artifact/endpoint.json does, all inputs and outputs as it has them."""
        numpy = {name: np.dtype(code).name for name, code in TYPES.items()}
        inputs = [
            {"name": one["name"], "dtype": numpy[one["datatype"]], "shape": one["shape"]}
            for one in self.metadata["inputs"]
        ]
        named = {"endpoint": "test", "url": self.url, "model": self.name, "version": "", "inputs": inputs}
        return {"schema": 1, "protocol": "oip", **named, "outputs": [], "ca": "", **others}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: OipServer

    def setup(self) -> None:
        self.owner.connections += 1
        self.owner.open.append(self.request)
        super().setup()

    def log_message(self, *_: Any) -> None:
        """Be silent."""

    def do_GET(self) -> None:
        """Say what the server is, or the model."""
        self.owner.requests.append(self.path)
        known = {
            "/v2": {"name": "plain", "version": "7", "extensions": self.owner.extensions},
            f"/v2/models/{self.owner.name}": self.owner.metadata,
        }
        found = known.get(self.path)
        self._answer(404 if found is None else 200, json.dumps(found or {"error": f"no {self.path}"}).encode())

    def do_POST(self) -> None:
        """Infer."""
        self.owner.requests.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.owner.inferences += 1
        time.sleep(self.owner.delay_s)
        if self.owner.fails(self.owner.inferences):
            return self._answer(503, b'{"error": "busy"}')
        if self.owner.status != 200:
            return self._answer(self.owner.status, json.dumps({"error": "told to"}).encode())
        if self.path != f"/v2/models/{self.owner.name}/infer":
            return self._answer(404, b'{"error": "no such model"}')
        if HEADER in self.headers and not self.owner.binary:
            return self._answer(self.owner.refusal, b'{"error": "Unprocessable Entity"}')
        return self._infer(body)

    def _infer(self, body: bytes) -> None:
        size = int(self.headers.get(HEADER, len(body)))
        request, rest = json.loads(body[:size]), body[size:]
        arrays, offset = {}, 0
        for one in request["inputs"]:
            code, shape = TYPES[one["datatype"]], one["shape"]
            if "data" in one:
                arrays[one["name"]] = np.array(one["data"], code).reshape(shape)
            else:
                count = math.prod(shape)
                arrays[one["name"]] = np.frombuffer(rest, code, count, offset).reshape(shape)
                offset += one["parameters"]["binary_data_size"]
        if offset != len(rest):
            return self._answer(400, b'{"error": "more bytes than tensors"}')
        outputs = self.owner.model(arrays)
        wanted = [one["name"] for one in request.get("outputs", [])] or list(outputs)
        binary = HEADER in self.headers
        parts, described = [], []
        for name in wanted:
            array = np.ascontiguousarray(outputs[name])
            entry = {"name": name, "datatype": NAMES[array.dtype], "shape": list(outputs[name].shape)}
            if binary:
                parts.append(array.tobytes())
                entry["parameters"] = {"binary_data_size": array.nbytes}
            else:
                entry["data"] = array.reshape(-1).tolist() if self.owner.data == "" else self.owner.data
            described.append(entry)
        header = json.dumps({"model_name": self.owner.name, "model_version": "1", "outputs": described}).encode()
        return self._answer(200, b"".join([header, *parts]), len(header) if binary else None)

    def _answer(self, status: int, body: bytes, header_size: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if header_size is None else "application/octet-stream")
        if header_size is not None:
            self.send_header(HEADER, str(header_size))
        self.send_header("Content-Length", str(len(body)))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a caller need not wait for it
            self.end_headers()
            self.wfile.write(body)
