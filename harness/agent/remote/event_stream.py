"""Answers in parts: event streams of AWS, by botocore's decoder, joined to the one body that was asked for.

    https://smithy.io/2.0/aws/amazon-eventstream.html

botocore's own loop ends without a word where the connection does (issue 22). Here a stream that ends inside a frame is
broken, and so is whatever is neither a part of the body nor an error that SageMaker knows. Whether the body is whole
the tensors in it say, which have sizes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from typing import Any

from botocore.eventstream import EventStreamBuffer, ParserError

from .answer import broken, shown

PRELUDE = 12
LENGTH = struct.Struct(">I")
# What a frame has beside its payload at most: prelude, headers (128 KiB), checksum.
AROUND_PAYLOAD = (1 << 17) + PRELUDE + 4
READ_BYTES = 1 << 18
MOST_TEXT = 1 << 16
MODEL_STREAM_ERRORS = {
    "ModelInvocationTimeExceeded": "the container took longer than the service lets it",
    "StreamBroken": "the container ended its answer: look at its log",
}
# A header of AWS's frames has one of ten types; another, or one that is cut, ends in one of these inside the decoder.
MALFORMED = (ParserError, KeyError, ValueError, IndexError, struct.error)


def read_parts(
    response: HTTPResponse, most: int, on_first: Callable[[], None], is_over: Callable[[], bool] = lambda: False
) -> memoryview:
    """Read the body that a stream carries.

    Args:
        response: the answer.
        most: how many bytes the body may have.
        on_first: called once, when its first bytes have come.
        is_over: whether the call's time is. What has come already may be a million frames, and take a minute.

    Raises:
        CallFailed: it is cut, wrong, or longer; or the stream ends with an error.
    """
    body = bytearray()
    for message in _messages(response, most):
        if is_over():
            raise broken("the stream was still being read when the call's time was over")
        part = _payload(message)
        if not part:
            continue
        if not body:
            on_first()
        if len(body) + len(part) > most:
            raise broken(f"the answer has more than {most} bytes, which max_response_bytes is")
        body += part
    return memoryview(body)


def _messages(response: HTTPResponse, most: int) -> Iterator[Any]:
    """Decode frame after frame. The decoder gets the prelude first, and the rest at once when it is there.

    It joins bytes at each step, which for a frame of megabytes in pieces would cost more than all else.
    """
    decoder, pending, has_prelude = EventStreamBuffer(), bytearray(), False
    while chunk := response.read1(READ_BYTES):
        pending += chunk
        while len(pending) >= PRELUDE:
            (size,) = LENGTH.unpack_from(pending)
            if not has_prelude:
                _decoded(decoder, bytes(pending[:PRELUDE]))
                has_prelude = True
            if size > most + AROUND_PAYLOAD:
                raise broken(f"the stream has a frame of {size} bytes; max_response_bytes is {most}")
            if len(pending) < size:
                break
            message = _decoded(decoder, bytes(pending[PRELUDE:size]))
            if message is None:
                raise broken(f"the stream has a frame of {size} bytes that is none")
            del pending[:size]
            has_prelude = False
            yield message
    if response.length:  # http.client says nothing
        raise broken(f"the answer ended {response.length} bytes before the end that it announced")
    if pending:
        raise broken(f"the stream ended inside a frame, {len(pending)} bytes behind the last whole one")


def _decoded(decoder: Any, more: bytes) -> Any:
    """Give bytes to the decoder; return the message that they complete, or None."""
    try:
        decoder.add_data(more)
        return next(iter(decoder), None)
    except MALFORMED as error:
        raise broken(f"the stream has a frame that is broken: {type(error).__name__}: {shown(error)}") from None


def _payload(message: Any) -> bytes:
    """Return the bytes of the body that a message has; none of an event that is not known, as botocore has it.

    Raises:
        CallFailed: it ends the stream with an error.
    """
    kind = message.headers.get(":message-type")
    if kind == "event":
        return bytes(message.payload) if message.headers.get(":event-type") == "PayloadPart" else b""
    if kind == "exception":
        raise broken(_exception(shown(message.headers.get(":exception-type")), message.payload))
    code, text = (shown(message.headers.get(key, "")) for key in (":error-code", ":error-message"))
    raise broken(f"the stream ended with an error of the service: {code} {text}")


def _exception(name: str, payload: bytes) -> str:
    try:
        table = json.loads(payload) if len(payload) < MOST_TEXT else {}
    except (ValueError, RecursionError):
        table = {}
    said = table if isinstance(table, dict) else {}
    text = shown(said.get("Message") or said.get("message") or payload)
    if name != "ModelStreamError":
        return f"the stream ended with {name} of the service: {text}"
    code = shown(said.get("ErrorCode") or "none")
    hint = MODEL_STREAM_ERRORS.get(code, "look at the container's log")
    return f"the stream ended with ModelStreamError, ErrorCode {code}: {text} ({hint})"
