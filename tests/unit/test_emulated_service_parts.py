"""Parts of the emulated service: frames of its streams, rules of its faults, its credentials."""

from __future__ import annotations

import pytest
from botocore.eventstream import EventStreamBuffer

from harness.errors import InputError
from harness.serving.service.events import encode_event, exception
from harness.serving.service.fault import Fault, Faults
from harness.serving.service.issuing import Issuer
from harness.serving.service.streaming import PART_BYTES, frames

# The vectors "empty_message" and "payload_no_headers" that AWS's SDKs publish for this encoding.
EMPTY = bytes.fromhex("000000100000000005c248eb7d98c8ff")
PAYLOAD = bytes.fromhex("0000001d00000000fd528c5a") + b"{'foo':'bar'}" + bytes.fromhex("c3653936")


def test_frames_are_those_that_aws_publishes() -> None:
    assert encode_event({}, b"") == EMPTY
    assert encode_event({}, b"{'foo':'bar'}") == PAYLOAD


def test_botocore_reads_the_frames() -> None:
    buffer = EventStreamBuffer()
    body = bytes(range(256)) * 1000
    buffer.add_data(b"".join([*frames(body), exception("ModelStreamError", {"ErrorCode": "StreamBroken"})]))
    *parts, last = [event.to_response_dict() for event in buffer]
    assert b"".join(each["body"] for each in parts) == body
    assert {len(each["body"]) for each in parts[:-1]} == {PART_BYTES}
    assert {each["headers"][":event-type"] for each in parts} == {"PayloadPart"}
    assert (last["status_code"], last["headers"][":exception-type"]) == (400, "ModelStreamError")


def test_an_empty_answer_is_a_part_of_no_bytes() -> None:
    assert len(frames(b"")) == 1


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Fault("throttled"), "xxxxxxxx"),
        (Fault("throttled", after=3), "...xxxxx"),
        (Fault("throttled", every=3), "..x..x.."),
        (Fault("throttled", after=2, every=2), "...x.x.x"),
        (Fault("throttled", after=1, times=2), ".xx....."),
        (Fault("throttled", share=0.0), "........"),
    ],
)
def test_rules_say_which_calls_fail(rule: Fault, expected: str) -> None:
    faults = Faults(rules=[rule])
    assert "".join("x" if faults.next() else "." for _ in expected) == expected


def test_a_share_of_calls_is_the_same_each_time() -> None:
    one, other = (Faults(rules=[Fault("internal", share=0.2)]) for _ in range(2))
    drawn = [one.next() for _ in range(500)]
    assert drawn == [other.next() for _ in range(500)]
    assert 60 < drawn.count("internal") < 140


def test_the_first_rule_that_applies_decides() -> None:
    faults = Faults(rules=[Fault("internal", every=2), Fault("throttled", times=2)])
    assert [faults.next() for _ in range(5)] == ["throttled", "internal", "throttled", "internal", ""]


@pytest.mark.parametrize("keys", [{"kind": "slow"}, {"every": 0}, {"share": 1.5}, {"after": -1}])
def test_what_is_no_rule_is_refused(keys: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Fault(**{"kind": "throttled", **keys})  # type: ignore[arg-type]


def test_credentials_are_those_of_whoever_has_the_key() -> None:
    issuer = Issuer(clock=lambda: 1000.0)
    made = issuer.issue()
    assert (made.access_key[:4], len(made.access_key), len(made.secret_key)) == ("ASIA", 20, 40)
    assert made.expires_at == 1900.0
    assert Issuer(key=issuer.key, clock=lambda: 1899.0).secret_of(made.access_key, made.token) == made.secret_key
    assert not [text for text in (str(made), repr(made), repr(issuer)) if made.secret_key in text or made.token in text]
