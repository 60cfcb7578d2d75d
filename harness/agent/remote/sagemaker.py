"""Calls to one endpoint of SageMaker, signed: the form, the signature and the errors are the service's own.

Tensors travel as with other servers (see protocol). The service strips headers that it does not know, so how long the
JSON is stands in the content type, as Triton's SageMaker server has it. Nothing of the model is asked before the first
inference, for the service's runtime tells nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from http.client import HTTPResponse
from typing import Any

from ..frames import Array
from ..wire import Buffer
from . import event_stream
from .answer import Answer, shown
from .client import NO_BINARY, Client, joined
from .connection import Refusal
from .credentials import WALLET, Credentials, Wallet
from .description import NPY, Endpoint
from .failure import CallFailed
from .npy import CONTENT_TYPE as NPY_TYPE
from .npy import NpyReader, npy_parts
from .protocol import AnswerReader, json_body, raw_inputs
from .service_errors import explain
from .signing import Signer

BINARY_TYPE = "application/vnd.sagemaker-triton.binary+json;json-header-size="
JSON_TYPE = "application/json"
_BINARY = re.compile(
    r"application/vnd\.sagemaker-triton\.binary\+json\s*;\s*json-header-size=\"?([^;\"]*)", re.IGNORECASE
)
CLOSED = "; so, without a word, does the service with an answer that is larger than it passes on: is the model's?"
MODEL_ERROR, OTHER_TYPE = 424, (415, 422)


class SageMakerClient(Client):
    """A caller of one endpoint of SageMaker; see the module, and Client.

    Attributes:
        first_part_ns: of a streaming endpoint, from the last call's start to the first bytes of its answer's body;
            -1 where none came.
    """

    def __init__(self, endpoint: Endpoint, wallet: Wallet = WALLET) -> None:
        """Connect to nothing yet.

        Raises:
            ValueError: the description's "ca" has no certificate, or its format is not for this model.
        """
        super().__init__(endpoint)
        if endpoint.format == NPY and (len(endpoint.inputs) != 1 or len(endpoint.outputs) != 1):
            raise ValueError(
                'format = "npy" sends one array and takes one: wanted a model with one input and one output; found '
                f"{len(endpoint.inputs)} and {len(endpoint.outputs)}"
            )
        self._wallet, self._signer = wallet, Signer(endpoint.url, endpoint.region, wallet)
        self.connection.explain, self.connection.ended_hint = self._explain, CLOSED
        route = "invocations"
        if endpoint.stream:
            self.connection.body_reader, route = self._read_stream, "invocations-response-stream"
        self._path = f"{endpoint.url.path}/endpoints/{endpoint.endpoint_name}/{route}"
        self._began_ns, self.first_part_ns = 0, -1
        self._container_status, self._variant = 0, ""

    def open(self) -> None:
        """Look whether there is something to sign with; what the model takes the first inference shows.

        Raises:
            NoCredentials: there is nothing.
        """
        self._wallet.current  # noqa: B018  # it raises
        names = self.endpoint.outputs
        is_npy = self.endpoint.format == NPY
        self._reader = NpyReader(names) if is_npy else AnswerReader(names, (), "json-header-size")

    def infer(self, arrays: Sequence[Array]) -> list[Array]:
        """Infer once; see Client.infer. No text of a failure has credentials in it, whatever the other end says."""
        self._began_ns, self.first_part_ns = time.perf_counter_ns(), -1
        try:
            return super().infer(arrays)
        except CallFailed as error:
            what = self._credentials.redact(error.what)
            if error.what.startswith(f"the name {self.endpoint.url.host} cannot be resolved"):
                what += f"; is the region {self.endpoint.region} right, and is there a way to the internet?"
            if what == error.what:
                raise
            raise CallFailed(error.kind, what, answered=error.answered, status=error.status) from None

    def facts(self) -> dict[str, Any]:
        """Return what calls are like, for the evidence."""
        return {
            "url": str(self.endpoint.url),
            "region": self.endpoint.region,
            "endpoint_name": self.endpoint.endpoint_name,
            "format": self.endpoint.format,
            "stream": self.endpoint.stream,
            **{key: value for key, value in super().facts().items() if key not in ("url", "model", "server")},
            **({"wire": NPY} if self.wire == NPY else {}),
            **({"variant": self._credentials.redact(shown(self._variant))[:63]} if self._variant else {}),
        }

    # The form

    def _decide(self, arrays: Sequence[Array]) -> list[Array]:
        if self.endpoint.format != NPY:
            return super()._decide(arrays)
        outputs = self._call(arrays, NPY)
        self.wire = NPY
        self._reader.learn(outputs)
        return outputs

    def _call(self, arrays: Sequence[Array], wire: str) -> list[Array]:
        self._container_status = 0
        return super()._call(arrays, wire)

    def _is_without_binary(self, error: CallFailed) -> bool:
        """Whether it was the container that refused the form: a 400 of the service's own is about something else."""
        if error.status == MODEL_ERROR:
            return self._container_status in NO_BINARY
        return error.status in OTHER_TYPE

    def _header_size(self, answer: Answer) -> str | None:
        self._variant = answer.headers.get("x-Amzn-Invoked-Production-Variant", "")
        key = "X-Amzn-SageMaker-Content-Type" if self.endpoint.stream else "Content-Type"
        found = _BINARY.match(answer.headers.get(key, ""))
        return found[1] if found else None

    # Requests

    def _request(self, arrays: Sequence[Array], wire: str) -> list[Buffer]:
        if wire != NPY:
            return super()._request(arrays, wire)
        (spec,), (array,) = self.endpoint.inputs, arrays
        if not spec.fits(array.shape):
            raise ValueError(f"wanted the input {spec}; found one of {list(array.shape)}")
        return self._signed(npy_parts(spec, array), NPY_TYPE, NPY_TYPE)

    def _binary(self, arrays: Sequence[Array]) -> list[Buffer]:
        header, _ = self._known_head(arrays)
        return self._signed([header, *raw_inputs(self.endpoint.inputs, arrays)], f"{BINARY_TYPE}{len(header)}")

    def _binary_head(self, shapes: Sequence[tuple[int, ...]]) -> tuple[bytes, int]:
        return self._binary_header(shapes)

    def _json(self, arrays: Sequence[Array]) -> list[Buffer]:
        return self._signed([json_body(self.endpoint.inputs, arrays, self.output_names)], JSON_TYPE)

    def _signed(self, body: list[Buffer], content_type: str, accept: str = "") -> list[Buffer]:
        """Return a request with this body, head and all."""
        self.request_bytes = size = sum(map(len, body))
        self._check_size(size)
        headers = {"Content-Type": content_type}
        if accept:
            headers["X-Amzn-SageMaker-Accept" if self.endpoint.stream else "Accept"] = accept
        if self.endpoint.target_variant:
            headers["X-Amzn-SageMaker-Target-Variant"] = self.endpoint.target_variant
        lines = self._signer.sign(self._path, headers, body)
        return joined([self._head("POST", self._path, lines, size), *body], size)

    # Answers

    def _read_stream(self, response: HTTPResponse) -> memoryview:
        deadline = self.connection.deadline
        most, note = self.endpoint.max_response_bytes, self._note_first_part
        return event_stream.read_parts(response, most, note, lambda: deadline.is_over)

    def _note_first_part(self) -> None:
        self.first_part_ns = time.perf_counter_ns() - self._began_ns

    def _explain(self, refusal: Refusal) -> CallFailed:
        error = explain(refusal, self.endpoint, self._credentials)
        self._container_status = error.container_status
        return error.failure

    @property
    def _credentials(self) -> Credentials:
        return self._wallet.current
