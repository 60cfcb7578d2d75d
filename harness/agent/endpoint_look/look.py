"""Looks at an endpoint of the Open Inference Protocol: resolves, connects, asks for the model, infers once with zeros.

One of SageMaker's is asked once, without a signature: that it is there, and what its clock says (see service).

It sends one frame (see wire): "steps", a list of those that were taken, each with its "name", "ms" and what it "found";
"failed", why the next one did not come to its end, or ""; "kind", its name; "status", the server's, 0
where there was none; "request_bytes" and "response_bytes" of the inference.

Each step has a connection of its own, and ends in the time of a call. Nothing that comes is believed or kept beyond
what is shown of it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from typing import Any

from ..remote.deadline import Deadline
from ..wire import pack_head
from .answers import MOST_TEXT, Failed, describe_refusal, describe_tensor, read_table, read_tensors, shown
from .service import describe_service

# What is done, by the endpoint's protocol.
STEPS = {"oip": ("name", "connection", "model", "inference"), "sagemaker": ("name", "connection", "service")}
# Bytes of an element, by the protocol's types; others (BYTES, …) have no zero.
ELEMENT_BYTES = {
    **dict.fromkeys(("BOOL", "UINT8", "INT8"), 1),
    **dict.fromkeys(("UINT16", "INT16", "FP16", "BF16"), 2),
    **dict.fromkeys(("UINT32", "INT32", "FP32"), 4),
    **dict.fromkeys(("UINT64", "INT64", "FP64"), 8),
}
BINARY_HEADER = "Inference-Header-Content-Length"
# How servers refuse binary tensors.
NO_BINARY = (400, 415, 422)
MOST_ADDRESSES = 16


def main(arguments: list[str]) -> None:
    """Look at the endpoint that the one argument in JSON describes.

    It has "protocol", "scheme", "host", "port", "authority" (host and port, as a request names them), "path" (of the
    model), "server_path" (of the server), "ca", "timeout_s", "max_request_bytes" and "max_response_bytes".
    """
    header = Look(json.loads(arguments[0])).report()
    view = memoryview(pack_head(header))
    while view:
        view = view[os.write(1, view) :]
    os._exit(0)  # a thread that still waits for a name is left behind


class Look:
    """One look; see the module."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        self.deadline = Deadline()
        self.steps: list[dict[str, Any]] = []
        self.addresses: list[tuple[int, Any]] = []
        self.request_bytes = self.response_bytes = 0
        self.step_names = STEPS[asked["protocol"]]
        self._steps = {
            "name": self._resolve,
            "connection": self._try_connection,
            "model": self._ask,
            "inference": self._infer,
            "service": self._ask_service,
        }

    def report(self) -> dict[str, Any]:
        """Take the steps, and describe what came of them."""
        failed, status = "", 0
        try:
            for name in self.step_names:
                self._take(name, self._steps[name])
        except Failed as error:
            failed, status = str(error), error.status
        except (OSError, HTTPException, ValueError) as error:
            failed = f"{type(error).__name__}: {shown(error)}"
        return {
            "steps": self.steps,
            "failed": failed,
            "kind": self.step_names[len(self.steps)] if failed else "",
            "status": status,
            "request_bytes": self.request_bytes,
            "response_bytes": self.response_bytes,
        }

    def _take(self, name: str, step: Any) -> None:
        self.deadline.arm(self.asked["timeout_s"])
        begun = time.monotonic()
        try:
            found = step()
        except (OSError, HTTPException, ValueError) as error:
            if self.deadline.is_over:
                raise self._late() from None
            raise Failed(self._words(error)) from None
        finally:
            self.deadline.disarm()
        self.steps.append({"name": name, "ms": round((time.monotonic() - begun) * 1e3, 3), "found": found})

    def _late(self) -> Failed:
        return Failed(f"it was not over after {self.asked['timeout_s']:g} s, the time of a call")

    def _words(self, error: Exception) -> str:
        if hasattr(error, "verify_code") or type(error).__module__ == "ssl":
            from ..remote.tls import explain

            return explain(error, self.asked["host"])  # type: ignore[arg-type]
        said = getattr(error, "strerror", None)
        return shown(said) if said else f"{type(error).__name__}: {shown(error)}"

    def _resolve(self) -> str:
        found: list[Any] = []

        def ask() -> None:
            try:
                found.extend(socket.getaddrinfo(self.asked["host"], self.asked["port"], type=socket.SOCK_STREAM))
            except OSError as error:
                found.append(error)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(self.asked["timeout_s"])
        if not found:
            raise Failed("the name was not resolved in the time of a call: ask the network for its DNS")
        if isinstance(found[0], OSError):
            raise found[0]
        self.addresses = [(each[0], each[4]) for each in found[:MOST_ADDRESSES]]
        return ", ".join(dict.fromkeys(str(each[4][0]) for each in found[:4]))

    def _connect(self) -> socket.socket:
        """Connect to the first address that answers, and begin with that one the next time."""
        failed: Exception = OSError("there is no address")
        for place in list(self.addresses):
            try:
                opened = self._connect_to(*place)
            except OSError as error:
                failed = error
                if self.deadline.is_over:
                    break
                continue
            self.addresses.remove(place)
            self.addresses.insert(0, place)
            return opened
        raise failed

    def _connect_to(self, family: int, address: Any) -> socket.socket:
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            self.deadline.watch(opened)
            opened.settimeout(self.asked["timeout_s"])  # what is not connected cannot be shut down
            opened.connect(address)
            opened.settimeout(None)
            if self.asked["scheme"] != "https":
                return opened
            from ..remote.tls import make_context

            context = make_context(self.asked["ca"])
            safe = context.wrap_socket(opened, server_hostname=self.asked["host"], do_handshake_on_connect=False)
        except BaseException:
            opened.close()
            raise
        try:
            self.deadline.watch(safe)
            safe.do_handshake()
        except BaseException:
            safe.close()
            raise
        return safe

    def _try_connection(self) -> str:
        opened = self._connect()
        try:
            version = getattr(opened, "version", lambda: "")() or ""
            return f"{opened.getpeername()[0]}, port {self.asked['port']}{f', {version}' if version else ''}"
        finally:
            self.deadline.watch(None)
            opened.close()

    def _ask_service(self) -> str:
        status = 200
        headers: Any = {}
        try:
            self._request("POST", self.asked["path"], b"{}", {"Content-Type": "application/json"}, MOST_TEXT)
        except Failed as error:
            if error.answer is None or error.status in range(300, 400):
                raise
            status, headers = error.status, error.answer.headers
        try:
            return describe_service(status, headers)
        except ValueError as error:
            raise Failed(str(error)) from None

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str], most: int) -> tuple[Any, bytes]:
        """Ask once; return the answer's headers and body.

        Raises:
            Failed: the answer is not 200, or has more than so many bytes.
        """
        connection = HTTPConnection(self.asked["host"], self.asked["port"])
        connection.auto_open = 0
        connection.sock = self._connect()
        try:
            headers = {"Host": self.asked["authority"], "Connection": "close", **headers}
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before it read all
                connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            if response.status != 200:
                raise Failed(describe_refusal(response), response)
            content = response.read(most + 1)
            if self.deadline.is_over:
                raise self._late()
            if len(content) > most:
                raise Failed(f"the answer has more than {most} bytes")
            return response.headers, content
        finally:
            self.deadline.watch(None)
            connection.close()

    def _table(self, path: str) -> dict[str, Any]:
        _, content = self._request("GET", path, b"", {}, MOST_TEXT)
        return read_table(content)

    def _ask(self) -> str:
        table = self._table(self.asked["path"])
        self.inputs, outputs = read_tensors(table, "inputs"), read_tensors(table, "outputs")
        try:
            about = self._table(self.asked["server_path"])
            server = " ".join(str(about[key]) for key in ("name", "version") if about.get(key))
        except Failed:
            server = ""
        listed = ", ".join(map(describe_tensor, outputs)) or "not said"
        tensors = f"{', '.join(map(describe_tensor, self.inputs))} → {listed}"
        return shown(f"{server}: {tensors}" if server else tensors)

    def _infer(self) -> str:
        if not self.inputs:
            raise Failed("the server does not say what the model takes, so that nothing can be sent to it")
        shapes = [[max(size, 1) for size in each["shape"]] for each in self.inputs]
        sizes = [math.prod(shape) for shape in shapes]
        odd = [each["datatype"] for each in self.inputs if each["datatype"] not in ELEMENT_BYTES]
        if odd:
            raise Failed(f"it takes {shown(', '.join(odd))}, which hilgate's client does not send")
        widths = [ELEMENT_BYTES[each["datatype"]] for each in self.inputs]
        payload = sum(size * width for size, width in zip(sizes, widths))
        if payload > self.asked["max_request_bytes"]:
            most = self.asked["max_request_bytes"]
            raise Failed(f"zeros for its inputs take {payload} bytes; max_request_bytes is {most}")
        described = [
            {"name": each["name"], "shape": shape, "datatype": each["datatype"]}
            for each, shape in zip(self.inputs, shapes)
        ]
        try:
            self._send_binary(described, sizes, widths)
            wire = "binary"
        except Failed as error:
            if error.status not in NO_BINARY:
                raise
            self._send_json(described, sizes)
            wire = "JSON: the server takes no binary tensors"
        return wire

    def _send_binary(self, described: list[dict[str, Any]], sizes: list[int], widths: list[int]) -> None:
        each = [size * width for size, width in zip(sizes, widths)]
        inputs = [{**one, "parameters": {"binary_data_size": size}} for one, size in zip(described, each)]
        head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
        headers = {BINARY_HEADER: str(len(head)), "Content-Type": "application/octet-stream"}
        self._send(head + bytes(sum(each)), headers)

    def _send_json(self, described: list[dict[str, Any]], sizes: list[int]) -> None:
        inputs = [
            {**one, "data": [False if one["datatype"] == "BOOL" else 0] * size} for one, size in zip(described, sizes)
        ]
        self._send(json.dumps({"inputs": inputs}).encode(), {"Content-Type": "application/json"})

    def _send(self, body: bytes, headers: dict[str, str]) -> None:
        self.request_bytes = len(body)
        path = f"{self.asked['path']}/infer"
        answered, content = self._request("POST", path, body, headers, self.asked["max_response_bytes"])
        self.response_bytes = len(content)
        said = answered.get(BINARY_HEADER) or ""
        is_binary = said.isascii() and said.isdigit() and len(said) < 20
        head = content[: int(said)] if is_binary else content
        outputs = read_table(head).get("outputs")
        if not isinstance(outputs, list) or not outputs:
            raise Failed(f"the answer has no outputs: {shown(head)}")


if __name__ == "__main__":
    main(sys.argv[1:])
