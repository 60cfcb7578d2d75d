"""Rules by which calls fail on purpose: which, and how.

    Fault("throttled", after=3)              all calls behind the third
    Fault("reset", every=10)                 each tenth
    Fault("unavailable", share=0.05)         a twentieth of them, drawn with a fixed seed
    Fault("timeout", times=1)                the first one only

Signed calls are counted, also those that another rule has fail; of several rules the first that applies decides.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...errors import InputError
from .failure import Failure, model_failed, model_too_slow, not_found, refused
from .issuing import EXPIRED, INVALID
from .settings import ServiceSettings

# Errors, by what sets them off.
ERRORS: dict[str, Callable[[ServiceSettings], Failure]] = {
    "throttled": lambda settings: refused("ThrottlingException", None, status=400),
    "revoked": lambda settings: refused("UnrecognizedClientException", INVALID),
    "expired": lambda settings: refused("ExpiredTokenException", EXPIRED),
    "denied": lambda settings: refused(
        "AccessDeniedException",
        "User is not authorized to perform: sagemaker:InvokeEndpoint because no identity-based policy allows the "
        "sagemaker:InvokeEndpoint action",
    ),
    "not-found": lambda settings: not_found(settings.endpoint, settings.account),
    "not-ready": lambda settings: Failure(
        429, "ModelNotReadyException", "Model is not ready for inference. Please try again."
    ),
    "internal": lambda settings: Failure(500, "InternalFailure", None),
    "unavailable": lambda settings: Failure(503, "ServiceUnavailable", "The service is temporarily unavailable."),
    "dependency": lambda settings: Failure(530, "InternalDependencyException", "An internal dependency failed."),
    "model-error": lambda settings: model_failed(500, '{"error": "the model failed on purpose"}', settings.log),
    "timeout": lambda settings: model_too_slow(settings.log),
}
# What is done to the connection; and, of a streamed answer only, to the stream.
CONNECTION = {
    "too-large": "the connection is closed in place of an answer, as of an answer that is too large",
    "reset": "the connection is reset in place of an answer",
    "cut": "half of the answer is sent, then the connection is closed",
    "silence": "nothing is answered until the caller goes",
    "html": "a page of HTML is answered with 200, as by a captive portal",
}
STREAM = {
    "bad-crc": "the last frame's CRC is wrong",
    "cut-frame": "the stream ends in order, in the middle of its last frame",
    "cut-edge": "the stream ends in order, before its last frame",
    "stream-reset": "the connection is closed in the middle of the stream",
    "stream-error": "ModelStreamError with the ErrorCode ModelInvocationTimeExceeded, in place of the last part",
    "stream-broken": "the same with the ErrorCode StreamBroken",
    "stream-failure": "InternalStreamFailure, in place of the last part",
}
KINDS = (*ERRORS, *CONNECTION, *STREAM)


@dataclass(frozen=True)
class Fault:
    """A rule; see the module.

    Attributes:
        kind: one of KINDS.
        after: so many calls are answered first.
        every: each so-manieth of those behind them is a candidate.
        share: so large a part of the candidates fails, 0 to 1.
        times: no more than so many fail; None for any number.

    Raises:
        InputError: it is no rule.
    """

    kind: str
    after: int = 0
    every: int = 1
    share: float = 1.0
    times: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            wanted = f"one of {', '.join(KINDS)}"
            raise InputError("there is no such fault of the emulated service", wanted=wanted, found=repr(self.kind))
        if self.after < 0 or self.every < 1 or not 0 <= self.share <= 1 or (self.times is not None and self.times < 0):
            wanted = "after ≥ 0, every ≥ 1, share from 0 to 1, times ≥ 0"
            raise InputError("no rule for a fault of the emulated service", wanted=wanted, found=repr(self))


@dataclass(kw_only=True)
class Faults:
    """The rules of a service, and how often each was applied. Its own seed: the same calls fail each time.

    Attributes:
        rules: in their order; may be replaced at any time.
        calls: how many were counted.
    """

    rules: Sequence[Fault] = ()
    calls: int = 0
    _applied: dict[int, int] = field(default_factory=dict)
    _random: random.Random = field(default_factory=lambda: random.Random(22))

    def replace(self, *rules: Fault) -> None:
        """Begin anew with other rules; none without any."""
        self.rules, self.calls, self._applied = rules, 0, {}

    def next(self) -> str:
        """Count a call; return the kind of fault that it gets, "" for none."""
        self.calls += 1
        for index, rule in enumerate(self.rules):
            number = self.calls - rule.after
            if number < 1 or number % rule.every or self._applied.get(index, 0) == rule.times:
                continue
            if rule.share < 1 and self._random.random() >= rule.share:
                continue
            self._applied[index] = self._applied.get(index, 0) + 1
            return rule.kind
        return ""
