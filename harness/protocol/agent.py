"""The agent's answers, operation by operation; the C++ runners answer alike.

Durations are nanoseconds by the device's own clock, memory is in KiB. Whether well-formed measurements are possible at
all (a peak below an earlier one, a sum that is longer than the call) is checked where they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from .fields import (
    FEW,
    Answer,
    Count,
    Few,
    Kib,
    Many,
    Name,
    Names,
    Nanoseconds,
    Number,
    Pid,
    Reason,
    Story,
    Table,
    Text,
    Whole,
    bounded_table,
)
from .state import DeviceState

A = TypeVar("A", bound=Answer)

Setting = bool | Whole | Number | Text | Names
# As in harness.agent.failure.
FailureKind = Literal["unreachable", "refused", "late", "broken", "rejected"]
COUNTED = "a table, from the ways a call fails to how often it did"
FailureCounts = Annotated[dict[FailureKind, Count], *bounded_table(FEW)]


class Hello(Answer):
    """The first frame: the agent's greeting, and its process id."""

    hello: Annotated[Literal["hilgate"], Field(description='the greeting of our agent, "hilgate"')]
    pid: Pid


class Refusal(Answer):
    """An operation failed; ``input``: its input could not be made, so that the model was not run at all.

    ``remote``: how the call failed that it is about, where the model runs on another computer; "" for no such failure.
    """

    error: Reason
    traceback: Story = ""
    input: bool = Field(False, description="true or false")
    remote: FailureKind | Literal[""] = Field("", description="how a call fails, one of our words for it")


class Done(Answer):
    """The answer to any operation; ``written``: the inputs that the model was seen to write into, if it was."""

    elapsed_ns: Nanoseconds
    written: Names | None = Field(None, description="a list of inputs' names")


class LoadMemory(Answer):
    """The peak resident set after each step of loading."""

    before_runtime: Kib
    runtime: Kib
    model: Kib
    first: Kib


class Loaded(Done):
    """The answer to "load"; see Operations.op_load in harness.agent.operations."""

    load_ns: Nanoseconds
    first_ns: Nanoseconds
    memory_kib: LoadMemory = Field(description="a table of the peaks before_runtime, runtime, model, first")
    outputs: Many[Name]
    runtime: Table[Text]
    settings: Table[Setting]
    repeated: FailureCounts = Field({}, description=COUNTED)


class Inferred(Done):
    """The answer to "infer"; see op_infer."""

    inference_ns: Nanoseconds
    repeated: FailureCounts = Field({}, description=COUNTED)


class Looped(Done):
    """What a loop says of calls that failed; see harness.agent.failure."""

    failed: FailureCounts = Field({}, description=COUNTED)
    failures: Few[Reason] = ()
    failed_ns: Nanoseconds = 0


class WarmedUp(Looped):
    """The answer to "warm_up"; see op_warm_up."""

    iterations: Count
    settled: Annotated[bool, Field(description="true or false")]
    median_ns: Nanoseconds
    making_ns: Nanoseconds


class Measured(Looped):
    """The answer to "measure"; see op_measure."""

    before: DeviceState = Field(description="the device's state, a table")
    after: DeviceState = Field(description="the device's state, a table")
    loop_ns: Nanoseconds
    making_ns: Nanoseconds
    untimed_ns: Nanoseconds
    untimed: Count
    inferences: Few[Count]
    anonymous_kib: Few[Kib]
    first_parts: bool = Field(False, description="true or false: whether the last tensor is of first parts")
    sides: bool = Field(False, description="true or false: whether the last tensor says which side answered")


class Operator(Answer):
    """One operator of a profile: what it costs an inference."""

    operator: Name
    name: Name
    calls: Number
    ns: Number


class Profiled(Done):
    """The answer to "profile"; see op_profile."""

    operators: Many[Operator]


class ProcessMemory(Answer):
    """The memory of the agent's process; see harness.agent.telemetry.memory_kib."""

    peak: Kib
    resident: Kib
    swapped: Kib


class Memory(Done):
    """The answer to "memory"; see op_memory."""

    memory_kib: ProcessMemory = Field(description="a table of peak, resident, swapped")


ANSWERS: Mapping[str, type[Done]] = {
    "load": Loaded,
    "infer": Inferred,
    "warm_up": WarmedUp,
    "measure": Measured,
    "profile": Profiled,
    "network": Done,
    "memory": Memory,
    "keep": Done,
    "credentials": Done,
    "echo": Done,
}


def plain(answer: Answer) -> dict[str, Any]:
    """Turn an answer into JSON's own types, as the evidence has it; fields that were not sent are left out."""
    return answer.model_dump(mode="json", exclude_unset=True)
