"""The routes of the runtime: one endpoint, called with a signature; and those of the container, without.

    POST /endpoints/NAME/invocations                    InvokeEndpoint
    POST /endpoints/NAME/invocations-response-stream    InvokeEndpointWithResponseStream
    GET  /ping, /v2/…                                   the container's own, for the backend oip

A request is read, its size looked at, its signature verified; then the endpoint's name; then a rule may have it fail;
then the container answers, in the time that it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from ..bounded import HANG_UP
from ..front import COMPLETE, drop_rest
from .container import Answer, App, Message, Receive, Send, invoke
from .failure import Failure, model_failed, model_too_slow, not_found, refused, too_long
from .fault import ERRORS, STREAM, Faults
from .issuing import Issuer
from .settings import ServiceSettings
from .signature import SignedRequest, verify
from .streaming import sent

CALL = re.compile(r"/endpoints/([A-Za-z0-9](?:-*[A-Za-z0-9]){0,62})/invocations(-response-stream)?\Z", re.ASCII)
OWN = ("/ping", "/v2")
PORTAL = b"<!DOCTYPE html><title>Welcome</title><p>Please accept the terms of use of this network."


@dataclass(kw_only=True)
class Service:
    """An ASGI application.

    Attributes:
        container: the routes of what stands behind it.
        settings: what it emulates.
        issuer: whose credentials it takes.
        faults: which calls fail on purpose.
    """

    container: App
    settings: ServiceSettings
    issuer: Issuer = field(default_factory=Issuer)
    faults: Faults = field(default_factory=Faults)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        path = scope["path"]
        if path in OWN or path.startswith("/v2/"):
            await self.container(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await self._answered(request)
        except Failure as failure:
            await drop_rest(request)
            headers = {**failure.headers, **({"connection": "close"} if failure.status == 413 else {})}
            response = Response(failure.body, failure.status, headers={**headers, **_identified()})
        except ClientDisconnect:
            return
        with contextlib.suppress(ClientDisconnect):
            await response(scope, receive, send)

    async def _answered(self, request: Request) -> Response:
        match = CALL.match(request.scope["path"])
        if match is None or request.method != "POST":
            raise refused("UnknownOperationException", None, status=404)
        body = await self._body(request)
        verify(_as_sent(request, body), self.issuer, self.settings.region)
        self._check_names(request, match[1])
        fault, is_stream = self.faults.next(), bool(match[2])
        if fault in STREAM and not is_stream:
            fault = ""
        if fault == "timeout":
            await asyncio.sleep(self._patience_s(is_stream=is_stream))
        if fault in ERRORS:
            raise ERRORS[fault](self.settings)
        if fault == "html":
            return Response(PORTAL, media_type="text/html")
        if fault == "silence":
            await _until_gone(request)
        return await self._invoked(request, body, is_stream=is_stream, fault=fault)

    async def _body(self, request: Request) -> bytes:
        """Read a body as far as it is allowed to go."""
        most = self.settings.request_bytes
        if int(request.headers.get("content-length", 0)) > most:  # checked by whoever read the headers
            raise too_long(most)
        parts, size = list[bytes](), 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise too_long(most)
            parts.append(part)
        request.scope[COMPLETE] = True
        return b"".join(parts)

    def _check_names(self, request: Request, endpoint: str) -> None:
        if endpoint != self.settings.endpoint:
            raise not_found(endpoint, self.settings.account)
        variant = request.headers.get("x-amzn-sagemaker-target-variant", self.settings.variant)
        if variant != self.settings.variant:
            raise Failure(400, "ValidationError", f"Could not find variant with name {variant[:64]!r}.")

    def _patience_s(self, *, is_stream: bool) -> float:
        return self.settings.stream_s if is_stream else self.settings.answer_s

    async def _invoked(self, request: Request, body: bytes, *, is_stream: bool, fault: str) -> Response:
        """Have the container answer, and pass its answer on."""
        given = {"content-type": request.headers.get("content-type", "application/octet-stream")}
        if accept := request.headers.get("x-amzn-sagemaker-accept" if is_stream else "accept"):
            given["accept"] = accept
        try:
            async with asyncio.timeout(self._patience_s(is_stream=is_stream)):
                answer = await invoke(self.container, body, given)
        except TimeoutError:
            raise model_too_slow(self.settings.log) from None
        if answer.status != 200:
            raise model_failed(answer.status, answer.body.decode("utf-8", "replace"), self.settings.log)
        if fault == "too-large" or (len(answer.body) > self.settings.response_bytes and not is_stream):
            await _hang_up(request)
        if fault == "reset":
            await _hang_up(request, reset=True)
        if is_stream:
            return self._streamed(request, answer, fault)
        headers = {"content-type": answer.content_type, **self._passed()}
        if fault != "cut":
            return Response(answer.body, headers=headers)
        return _Cut(answer.body, request, headers)

    def _streamed(self, request: Request, answer: Answer, fault: str) -> Response:
        headers = {
            "content-type": "application/vnd.amazon.eventstream",
            "x-amzn-sagemaker-content-type": answer.content_type,
            **self._passed(),
        }
        broken = "stream-reset" if fault == "cut" else fault
        return StreamingResponse(sent(answer.body, broken, lambda: _hang_up(request, reset=True)), headers=headers)

    def _passed(self) -> dict[str, str]:
        return {"x-amzn-invoked-production-variant": self.settings.variant, **_identified()}


class _Cut(Response):
    """Half of an answer, whose size was told."""

    def __init__(self, body: bytes, request: Request, headers: Mapping[str, str]) -> None:
        super().__init__(body, headers=headers)
        self._request = request

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Send the head, half of the body, and nothing else."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        await _hang_up(self._request)


def _identified() -> dict[str, str]:
    return {"x-amzn-requestid": str(uuid.uuid4())}


def _as_sent(request: Request, body: bytes) -> SignedRequest:
    """Return a request as its caller signed it: the path as it was sent, not as it reads."""
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["raw_path"].decode("latin-1")
    headers = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in request.headers.raw]
    return SignedRequest(method=request.method, target=f"{path}?{query}" if query else path, headers=headers, body=body)


async def _hang_up(request: Request, *, reset: bool = False) -> None:
    """Close the caller's connection without another word.

    Raises:
        ClientDisconnect: always, once it is closed.
    """
    request.scope["state"][HANG_UP](reset=reset)
    await _until_gone(request)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ClientDisconnect
