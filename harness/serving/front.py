"""The routes: the Open Inference Protocol's, and those that SageMaker asks of a container.

    GET  /v2                        name, version, extensions
    GET  /v2/health/live, /ready    200; ready 503 while the model's process is not
    GET  /v2/models/NAME            what it takes and gives
    GET  /v2/models/NAME/ready
    POST /v2/models/NAME/infer      JSON, or binary tensors with Inference-Header-Content-Length
    GET  /ping                      200 only after a first inference
    POST /invocations               JSON; binary tensors with Triton's content type for SageMaker; one array of numpy's

Whatever goes wrong is told as {"error": …}.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .. import __version__
from ..agent.frames import Array
from .answer import write_answer
from .interface import Interface
from .limits import ServingLimits
from .npy import CONTENT_TYPE as NPY
from .npy import read_npy, write_npy
from .refused import Refused, quoted
from .request import header_size, read_request
from .worker import Job

HEADER = "inference-header-content-length"
JSON, BINARY = "application/json", "application/octet-stream"
TRITON = "application/vnd.sagemaker-triton.binary+json;json-header-size="
TRITON_TYPE = re.compile(
    r"application/vnd\.sagemaker-triton\.binary\+json; *json-header-size=(\d{1,10})\Z", re.ASCII | re.IGNORECASE
)
# Where the job of a request is kept, so that whoever sees the caller go can abandon it.
JOB = "hilgate.job"
# Set once a request has come to its end.
COMPLETE = "hilgate.complete"
# What a caller goes on sending after it was refused is read and dropped, so that it reads why; so much, and so long.
DROPPED_BYTES, DROPPED_S = 1 << 26, 2.0


class Infers(Protocol):
    """What the front asks: a Worker."""

    problem: str

    def submit(self, inputs: dict[str, Array]) -> Job:
        """Queue a set of inputs."""


class Front:
    """The routes of one served model.

    Args:
        worker: what infers.
        interface: what the model takes and gives.
        limits: what callers may send.
    """

    def __init__(self, worker: Infers, interface: Interface, limits: ServingLimits) -> None:
        self.worker = worker
        self.interface = interface
        self.limits = limits
        self.held_bytes = 0

    def app(self) -> Starlette:
        """Make the application."""
        model = "/v2/models/{name}"
        routes = [
            Route("/v2", self._server, methods=["GET"]),
            Route("/v2/health/live", self._live, methods=["GET"]),
            Route("/v2/health/ready", self._ready, methods=["GET"]),
            Route(model, self._metadata, methods=["GET"]),
            Route(f"{model}/ready", self._model_ready, methods=["GET"]),
            Route(f"{model}/infer", self._infer, methods=["POST"]),
            Route("/ping", self._ping, methods=["GET"]),
            Route("/invocations", self._invocations, methods=["POST"]),
        ]
        handlers = {Refused: _refused, HTTPException: _http_error, Exception: _defect, ClientDisconnect: _gone}
        app = Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False
        return app

    async def _server(self, request: Request) -> Response:
        return JSONResponse({"name": "hilgate", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def _live(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, request: Request) -> Response:
        self._check_ready()
        return JSONResponse({"ready": True})

    async def _ping(self, request: Request) -> Response:
        self._check_ready()
        return Response()

    async def _metadata(self, request: Request) -> Response:
        self._check_name(request)
        return JSONResponse(self.interface.metadata())

    async def _model_ready(self, request: Request) -> Response:
        self._check_name(request)
        self._check_ready()
        return JSONResponse({"name": self.interface.name, "ready": True})

    async def _infer(self, request: Request) -> Response:
        try:
            self._check_name(request)
            if (kind := _content_type(request)) not in ("", JSON, BINARY):
                raise Refused(415, f"wanted {JSON} or {BINARY}; found {quoted(kind)}")
            body, size = await self._answered(request, request.headers.get(HEADER))
        except Refused as refused:
            await drop_rest(request)
            raise refused from None
        if size is None:
            return Response(body, media_type=JSON)
        return Response(body, media_type=BINARY, headers={HEADER: str(size)})

    async def _invocations(self, request: Request) -> Response:
        try:
            kind = request.headers.get("content-type", JSON)
            triton = TRITON_TYPE.match(kind)
            if _content_type(request) == NPY:
                return Response(await self._answered_npy(request), headers={"content-type": NPY})
            if triton is None and _content_type(request) not in ("", JSON):
                raise Refused(415, f"wanted {JSON}, {TRITON}N or {NPY}; found {quoted(kind)}")
            body, size = await self._answered(request, triton[1] if triton else None)
        except Refused as refused:
            await drop_rest(request)
            raise refused from None
        return Response(body, headers={"content-type": JSON if size is None else f"{TRITON}{size}"})

    async def _answered(self, request: Request, header_bytes: str | None) -> tuple[bytes, int | None]:
        """Read a request, infer, and write the answer."""
        with self._held(request) as held:
            body = await self._body(request, held)
            asked = read_request(body, header_size(header_bytes, len(body)), self.interface)
            return write_answer(asked, await self._inferred(request, asked.inputs), self.interface)

    async def _answered_npy(self, request: Request) -> bytes:
        """Read a request that is one array, infer, and write the answer."""
        with self._held(request) as held:
            inputs = read_npy(await self._body(request, held), self.interface)
            (output,) = await self._inferred(request, inputs)
            return write_npy(output)

    @contextlib.contextmanager
    def _held(self, request: Request) -> Iterator[_Held]:
        if coding := request.headers.get("content-encoding"):
            raise Refused(415, f"wanted a body as it is; found the content-encoding {quoted(coding)}")
        held = _Held(self)
        try:
            yield held
        finally:
            held.release()

    async def _inferred(self, request: Request, inputs: dict[str, Array]) -> Sequence[Array]:
        job = self.worker.submit(inputs)
        request.scope[JOB] = job
        return await job.answer

    async def _body(self, request: Request, held: _Held) -> bytes:
        """Read a body as far as it is allowed to go."""
        most = self.limits.request_bytes
        too_large = Refused(413, f"the request is larger than the {most} bytes that are allowed")
        if int(request.headers.get("content-length", 0)) > most:  # the number was checked by whoever read the headers
            raise too_large
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.limits.read_s):
                while not request.scope.get(COMPLETE):
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    request.scope[COMPLETE] = not message.get("more_body", False)
                    part = message.get("body", b"")
                    size += len(part)
                    if size > most:
                        raise too_large
                    held.take(len(part))
                    parts.append(part)
        except TimeoutError:
            raise Refused(408, f"the request did not arrive in {self.limits.read_s:g} s") from None
        return b"".join(parts)

    def _check_name(self, request: Request) -> None:
        if (name := request.path_params["name"]) != self.interface.name:
            raise Refused(404, f"there is no model {quoted(name)}; the one here is {self.interface.name}")

    def _check_ready(self) -> None:
        if self.worker.problem:
            raise Refused(503, self.worker.problem)


class _Held:
    """How much of all callers' room one request has taken."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._bytes = 0

    def take(self, count: int) -> None:
        """Take room for a part of a body.

        Raises:
            Refused: there is none.
        """
        if self._front.held_bytes + count > self._front.limits.together_bytes:
            raise Refused(503, "too many requests are under way at once; try again later")
        self._front.held_bytes += count
        self._bytes += count

    def release(self) -> None:
        """Give all of it back."""
        self._front.held_bytes -= self._bytes
        self._bytes = 0


def _content_type(request: Request) -> str:
    kind: str = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind


async def drop_rest(request: Request) -> None:
    """Read what a refused caller goes on sending: whoever writes into a closed connection never reads the refusal."""
    if request.scope.get(COMPLETE) or request.headers.get(
        "expect"
    ):  # that one waits for a word before it sends anything
        return
    dropped = 0
    try:
        async with asyncio.timeout(DROPPED_S):
            while dropped < DROPPED_BYTES:
                message = await request.receive()
                if not message.get("more_body", False):
                    return
                dropped += len(message.get("body", b""))
    except TimeoutError:
        return


# A connection of which a part may not have been read is not used again.
CLOSE: Mapping[str, str] = {"connection": "close"}


async def _refused(request: Request, error: Exception) -> Response:
    status, text = (error.status, error.text) if isinstance(error, Refused) else (500, str(error))
    return JSONResponse({"error": text}, status, headers=CLOSE if status in (408, 413, 415) else None)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    text = {404: f"there is no {quoted(request.url.path)} here", 405: f"{request.method} is not of this route"}
    return JSONResponse({"error": text.get(error.status_code, error.detail)}, error.status_code, headers=error.headers)


async def _defect(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the server failed; its own messages say how"}, 500, headers=CLOSE)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400, headers=CLOSE)  # nobody reads it
