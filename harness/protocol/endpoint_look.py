"""What the program on a device answers that looks at an endpoint: see harness.agent.endpoint_look.look."""

from __future__ import annotations

from pydantic import Field

from .fields import Answer, Bytes, Count, Few, Number, Reason, Word


class LookStep(Answer):
    """A step that came to its end."""

    name: Word
    ms: Number
    found: Reason


class EndpointLooked(Answer):
    """The report; see Look.report there."""

    steps: Few[LookStep] = Field(description="a list of steps, each with name, ms and found")
    failed: Reason
    kind: Word
    status: Count
    request_bytes: Bytes
    response_bytes: Bytes
