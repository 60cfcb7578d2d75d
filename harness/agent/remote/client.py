"""Calls to one model on one server: in which form, how often, and what the server says of itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..frames import Array
from ..wire import Buffer
from .answer import Answer, shown
from .connection import Connection
from .description import Endpoint
from .failure import LATE, REJECTED, CallFailed
from .protocol import (
    BINARY_HEADER,
    AnswerReader,
    Metadata,
    binary_header,
    json_body,
    raw_inputs,
    read_metadata,
    read_table,
)
from .tensors import DTYPES, Spec, size_of

T = TypeVar("T")

BINARY, JSON = "binary", "json"
# How servers refuse binary tensors.
NO_BINARY = (400, 415, 422)
# MLServer 1.7 answers 422 where a tensor's bytes happen to be text; else it fails as it writes that answer, with 500.
FAILED_STATUS = 500
# What a server lists that takes binary tensors; some take them and do not list it.
BINARY_EXTENSION = "binary_tensor_data"
# One retry in so many calls, so that a server that is down is not asked twice as often.
CALLS_PER_RETRY = 10
# A request below this size is joined: a copy costs less than a system call, or a record of TLS, for each tensor.
JOIN_BELOW = 1 << 16
# Requests' heads are remembered for so many different shapes.
REMEMBERED = 64


class Client:
    """A caller of one model; see the module. One thread uses it.

    Attributes:
        endpoint: what is called.
        metadata: what the server says of the model, once it was asked.
        server: its name and version; "" where it does not say.
        wire: BINARY or JSON, once the first inference has shown which the server takes.
        calls, retries: how many inferences there were, and further attempts.
        request_bytes, response_bytes: the size of the last inference's body, each way.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Connect to nothing yet.

        Raises:
            ValueError: the description's "ca" has no certificate.
        """
        self.endpoint = endpoint
        self.connection = Connection(
            endpoint.url, ca=endpoint.ca, max_response_bytes=endpoint.max_response_bytes, proxy=endpoint.proxy
        )
        self.metadata = Metadata("", (), ())
        self.server = self.wire = ""
        self.calls = self.retries = self.request_bytes = self.response_bytes = 0
        self.answered_in = ""
        self._lists_binary = False
        self._reader: Any = AnswerReader(endpoint.outputs, ())
        self._heads: dict[tuple[tuple[int, ...], ...], tuple[bytes, int]] = {}

    @property
    def output_names(self) -> list[str]:
        """The outputs, in the order in which infer returns them; empty where nobody knows them yet."""
        return self._reader.names or list(self._reader.expected)

    def open(self) -> None:
        """Ask the server for the model, and compare what it says with what is to be sent.

        Raises:
            CallFailed: it does not say it.
            ValueError: it is another model.
        """
        self.metadata = self._within(lambda: read_metadata(self._get(self.endpoint.model_path)))
        try:
            self.server = self._within(self._ask_server)
        except CallFailed as error:
            if not error.status:
                raise
        try:
            self._compare()
        except (CallFailed, ValueError):
            self.close()
            raise

    def infer(self, arrays: Sequence[Array]) -> list[Array]:
        """Infer once; return the outputs, which are valid until the next call.

        Args:
            arrays: the inputs, in the order of the description.

        Raises:
            CallFailed: there was no right answer within the endpoint's time.
        """
        self.calls += 1
        return self._within(lambda: self._attempts(arrays))

    def close(self) -> None:
        """End the connection, and what watches over it."""
        self.connection.close()
        self.connection.deadline.close()

    def facts(self) -> dict[str, Any]:
        """Return what calls are like, for the evidence."""
        return {
            "url": str(self.endpoint.url),
            "model": self.endpoint.model,
            "wire": self.wire + (", answered in JSON" if self.answered_in == JSON != self.wire else ""),
            "request_bytes": self.request_bytes,
            "response_bytes": self.response_bytes,
            "http": self.connection.version,
            "server": self.server,
        }

    # Before the first inference

    def _ask_server(self) -> str:
        table = read_table(self._get(f"{self.endpoint.url.path}/v2"), "what the server says of itself")
        extensions = table.get("extensions")
        self._lists_binary = isinstance(extensions, list) and BINARY_EXTENSION in extensions
        return shown(f"{table.get('name') or ''} {table.get('version') or ''}")

    def _get(self, path: str) -> Answer:
        return self.connection.call([self._head("GET", path)])

    def _compare(self) -> None:
        ours, theirs = self.endpoint.inputs, self.metadata.inputs
        misfit = {spec.name for spec in ours} != {spec.name for spec in theirs} or any(
            not _agree(spec, other) for spec in ours for other in theirs if other.name == spec.name
        )
        if theirs and misfit:
            raise ValueError(
                f"the model {self.endpoint.model} on {self.endpoint.url} takes other inputs than this one: wanted "
                f"{_listed(ours)}; found {shown(_listed(theirs))}"
            )
        listed = {spec.name: spec for spec in self.metadata.outputs}
        names = list(self.endpoint.outputs or listed)
        missing = [name for name in names if listed and name not in listed]
        odd = [spec for spec in listed.values() if spec.name in names and spec.datatype not in DTYPES]
        if missing or odd:
            raise ValueError(
                f"the model {self.endpoint.model} on {self.endpoint.url} has other outputs than this one: wanted "
                f"{', '.join(names)}, of {', '.join(DTYPES)}; found {shown(_listed(self.metadata.outputs))}"
            )
        expected = [listed[name] for name in names if name in listed]
        least = sum(size_of(tuple(max(size, 1) for size in spec.shape or ()), spec.datatype) for spec in expected)
        if least > self.endpoint.max_response_bytes:
            what = f"the outputs take {least} bytes at least; max_response_bytes is {self.endpoint.max_response_bytes}"
            raise CallFailed(REJECTED, what)
        self._reader = AnswerReader(names, expected)

    # One inference

    def _within(self, action: Callable[[], T]) -> T:
        """Do something in the time that a call may take."""
        deadline = self.connection.deadline
        deadline.arm(self.endpoint.timeout_s)
        try:
            result = action()
            if deadline.is_over:  # a large answer takes its time to read, too
                raise self.connection.late()
            return result
        finally:
            deadline.disarm()

    def _attempts(self, arrays: Sequence[Array]) -> list[Array]:
        attempts_left = self.endpoint.attempts
        while True:
            attempts_left -= 1
            try:
                return self._decide(arrays) if not self.wire else self._call(arrays, self.wire)
            except CallFailed as error:
                spent = self.retries * CALLS_PER_RETRY >= self.calls
                if attempts_left < 1 or spent or error.answered or error.kind in (LATE, REJECTED):
                    raise
            self.retries += 1

    def _decide(self, arrays: Sequence[Array]) -> list[Array]:
        """Infer for the first time: in JSON, where the server takes no binary tensors."""
        try:
            outputs = self._call(arrays, BINARY)
        except CallFailed as error:
            if not self._is_without_binary(error):
                raise
            outputs = self._in_json(arrays, error)
            self.wire = JSON
        else:
            self.wire = BINARY
        self._reader.learn(outputs)
        return outputs

    def _is_without_binary(self, error: CallFailed) -> bool:
        """Whether a refusal may mean that the server takes no binary tensors."""
        return error.status in NO_BINARY or (error.status == FAILED_STATUS and not self._lists_binary)

    def _header_size(self, answer: Answer) -> str | None:
        """Return how many bytes of an answer are its JSON, as it says; None where all are."""
        return answer.headers.get(BINARY_HEADER)

    def _in_json(self, arrays: Sequence[Array], refused: CallFailed) -> list[Array]:
        try:
            return self._call(arrays, JSON)
        except CallFailed as error:
            what = f"{error.what} (in JSON; and with binary tensors: {refused.what})"
            raise CallFailed(error.kind, what, answered=error.answered, status=error.status) from None

    def _call(self, arrays: Sequence[Array], wire: str) -> list[Array]:
        answer = self.connection.call(self._request(arrays, wire))
        self.response_bytes = len(answer.body)
        said = self._header_size(answer)
        self.answered_in = JSON if said is None else BINARY
        try:
            outputs: list[Array] = self._reader.read(answer, said)
        except CallFailed:
            self.connection.close()
            raise
        return outputs

    def _request(self, arrays: Sequence[Array], wire: str) -> list[Buffer]:
        return self._binary(arrays) if wire == BINARY else self._json(arrays)

    def _binary(self, arrays: Sequence[Array]) -> list[Buffer]:
        head, self.request_bytes = self._known_head(arrays)
        return joined([head, *raw_inputs(self.endpoint.inputs, arrays)], self.request_bytes)

    def _known_head(self, arrays: Sequence[Array]) -> tuple[bytes, int]:
        """Return what precedes the bytes of tensors, and the size of the whole body; mostly from memory."""
        shapes = tuple(array.shape for array in arrays)
        known = self._heads.get(shapes)
        if known is None:
            if len(self._heads) >= REMEMBERED:
                self._heads.clear()
            known = self._heads[shapes] = self._binary_head(shapes)
        return known

    def _binary_header(self, shapes: Sequence[tuple[int, ...]]) -> tuple[bytes, int]:
        """Return the JSON that precedes the tensors of these shapes, and the size of the whole body."""
        specs = self.endpoint.inputs
        for spec, shape in zip(specs, shapes):
            if not spec.fits(shape):
                raise ValueError(f"wanted the input {spec}; found one of {list(shape)}")
        header = binary_header(specs, shapes, self.output_names)
        return header, len(header) + sum(size_of(shape, spec.datatype) for spec, shape in zip(specs, shapes))

    def _binary_head(self, shapes: Sequence[tuple[int, ...]]) -> tuple[bytes, int]:
        header, size = self._binary_header(shapes)
        lines = ["Content-Type: application/octet-stream", f"{BINARY_HEADER}: {len(header)}"]
        return self._head("POST", f"{self.endpoint.model_path}/infer", lines, size) + header, size

    def _json(self, arrays: Sequence[Array]) -> list[Buffer]:
        body = json_body(self.endpoint.inputs, arrays, self.output_names)
        self.request_bytes = len(body)
        path = f"{self.endpoint.model_path}/infer"
        return [self._head("POST", path, ["Content-Type: application/json"], len(body)) + body]

    def _head(self, method: str, path: str, lines: Sequence[str] = (), size: int = 0) -> bytes:
        """Write a request's head; see _check_size."""
        self._check_size(size)
        every = [f"{method} {path} HTTP/1.1", f"Host: {self.endpoint.url.authority}", "Accept-Encoding: identity"]
        length = [f"Content-Length: {size}"] if method == "POST" else []
        return "\r\n".join([*every, "User-Agent: hilgate", *lines, *length, "", ""]).encode("ascii")

    def _check_size(self, size: int) -> None:
        """Refuse a body that is larger than allowed.

        Raises:
            CallFailed: it is.
        """
        if size > self.endpoint.max_request_bytes:
            what = f"the request has {size} bytes; max_request_bytes is {self.endpoint.max_request_bytes}"
            raise CallFailed(REJECTED, what)


def joined(parts: list[Buffer], size: int) -> list[Buffer]:
    """Join a request's parts, head and all, where its body is small."""
    return [b"".join(parts)] if size < JOIN_BELOW else parts


def _agree(spec: Spec, other: Spec) -> bool:
    """Whether two specifications can be of one tensor: where one allows any size, the other may say which."""
    if spec.datatype != other.datatype:
        return False
    ours, theirs = spec.shape or (), other.shape or ()
    return len(ours) == len(theirs) and all(-1 in (size, found) or size == found for size, found in zip(ours, theirs))


def _listed(specs: Sequence[Spec]) -> str:
    return ", ".join(map(str, specs)) or "none"
