"""An answer as an event stream: in parts, whole, or broken on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from .events import exception, part

# Of a part of an answer. The container behind the service answers as a whole; a caller must join parts all the same.
PART_BYTES = 1 << 16

TIME_EXCEEDED = {"ErrorCode": "ModelInvocationTimeExceeded", "Message": "The model did not end its answer in time."}
BROKEN = {"ErrorCode": "StreamBroken", "Message": "The connection to the model broke in the middle of its answer."}
# Errors that take the last part's place.
EXCEPTIONS = {
    "stream-error": ("ModelStreamError", TIME_EXCEEDED),
    "stream-broken": ("ModelStreamError", BROKEN),
    "stream-failure": ("InternalStreamFailure", {"Message": "The service failed in the middle of an answer."}),
}


def frames(body: bytes, fault: str = "") -> list[bytes]:
    """Cut an answer into frames.

    Args:
        body: the answer; at least two parts are made of it.
        fault: what is to be wrong with it, of fault.STREAM; "" for nothing.
    """
    size = max(min(PART_BYTES, -(-len(body) // 2)), 1)
    view = memoryview(body)
    made = [part(view[at : at + size]) for at in range(0, len(body), size)] or [part(b"")]
    if fault == "bad-crc":
        last = bytearray(made[-1])
        last[-1] ^= 1
        return [*made[:-1], bytes(last)]
    if fault == "cut-frame":
        return [*made[:-1], made[-1][: len(made[-1]) // 2]]
    if fault in ("cut-edge", "stream-reset"):
        return made[:-1]
    if fault in EXCEPTIONS:
        return [*made[:-1], exception(*EXCEPTIONS[fault])]
    return made


async def sent(body: bytes, fault: str, hang_up: Callable[[], Awaitable[None]]) -> AsyncIterator[bytes]:
    """Yield an answer's frames; where the connection is to break, it does so behind them."""
    for frame in frames(body, fault):
        yield frame
    if fault == "stream-reset":
        await hang_up()
