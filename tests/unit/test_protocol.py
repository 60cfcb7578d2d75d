"""The border: of an honest answer a record comes out; of a lie about any field, an error that names it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.agent import telemetry
from harness.agent.daemon.operations import Operations
from harness.agent.frames import encode, read_frame
from harness.agent.wire import PREAMBLE, FrameError, pack_head, read_head
from harness.board.upload import _check_have
from harness.errors import ProtocolError
from harness.host.exit_cause import describe_status
from harness.protocol import Answer, agent, daemon, parse
from harness.protocol.asked import NOTHING, SLACK, Outputs, first_limits, of_device
from tests.support.facts import board_facts
from tests.support.hostile import VALUES, Mutation, mutations, nested

STATE = telemetry.state()
DONE = {"elapsed_ns": 5, "written": ["x"]}
FAILED = {"failed": {"late": 1, "refused": 2}, "failures": ["late: no"], "failed_ns": 3}
SHA = "a1" * 32
AGENT: Mapping[type[Answer], dict[str, Any]] = {
    agent.Hello: {"hello": "hilgate", "pid": 7},
    agent.Refusal: {"error": "RuntimeError: no", "traceback": "…", "input": False, "remote": "late"},
    agent.Done: DONE,
    agent.Loaded: {
        **DONE,
        "load_ns": 7,
        "first_ns": 3,
        "memory_kib": {"before_runtime": 1, "runtime": 2, "model": 3, "first": 4},
        "outputs": ["y"],
        "runtime": {"torch": "2.9.1"},
        "settings": {"threads": 1, "flush_denormals": False, "providers": ["CPU"], "heap": "keep"},
    },
    agent.Inferred: {**DONE, "inference_ns": 3, "repeated": {"late": 1}},
    agent.WarmedUp: {**DONE, **FAILED, "iterations": 9, "settled": True, "median_ns": 3, "making_ns": 1},
    agent.Measured: {
        **DONE,
        **FAILED,
        "before": STATE,
        "after": STATE,
        "loop_ns": 9,
        "making_ns": 3,
        "untimed_ns": 2,
        "untimed": 1,
        "inferences": [1],
        "anonymous_kib": [4096],
    },
    agent.Profiled: {**DONE, "operators": [{"operator": "Gemm", "name": "n", "calls": 1.0, "ns": 3.5}]},
    agent.Memory: {**DONE, "memory_kib": {"peak": 3, "resident": 2, "swapped": 0}},
}
HOLDER = {"run": "r", "who": "me@here", "since": "now", "age_s": 3.5}
WRITTEN: Mapping[type[Answer], dict[str, Any]] = {
    daemon.Hello: {"hello": "hilgate-daemon", "python": "3.11", "executable": "/usr/bin/python3"},
    daemon.Refusal: {
        "error": "OSError: no", "traceback": "…", "errno": 28, "path": "/x", "free_bytes": 1, "no_home": False
    },
    daemon.Busy: {"busy": HOLDER},
    daemon.OomRecord: {"killed": True, "resident_kib": 4, "memory_mib": 2},
    daemon.Collected: {"found": True},
    daemon.Cleared: {"freed_bytes": 7},
    daemon.Offered: {"have": {SHA: 3}},
    daemon.Arrived: {"wrong": {SHA: SHA}},
}  # fmt: skip


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[type[Answer], dict[str, Any]]:
    """What the real daemon answers, beside what is written above."""
    store, real = str(tmp_path_factory.mktemp("store")), Operations()
    run = {"run": "r", "who": "me", "since": "now"}
    said: dict[type[Answer], dict[str, Any]] = {
        daemon.Facts: real.op_facts(["numpy"]),
        daemon.Opened: real.op_open(store, run, [], whole=False, trusted=[]),
        daemon.Look: {**real.op_look(store), "holder": HOLDER},
        daemon.Tried: real.op_try(store),
        daemon.Room: real.op_room(1, {}, {}, []),
        daemon.AgentsEnded: real.op_end_agents(),
        daemon.Pong: real.op_ping(),
    }
    for descriptor in real.locks:
        os.close(descriptor)
    return {**AGENT, **WRITTEN, **said}


OF_THE_REAL_ONE = (daemon.Facts, daemon.Opened, daemon.Look, daemon.Tried, daemon.Room, daemon.AgentsEnded, daemon.Pong)
# Of the two that must fit each other the second is named.
NAMED_BY = {"packages": ("packages", "folders")}


def said_of(schema: type[Answer], answer: dict[str, Any]) -> Answer | ProtocolError:
    try:
        return parse(schema, answer, to="it", where="a board")
    except ProtocolError as error:
        return error


@pytest.mark.parametrize(
    "schema", [*AGENT, *WRITTEN, *OF_THE_REAL_ONE], ids=lambda schema: f"{schema.__module__[17:]}.{schema.__name__}"
)
def test_a_lie_about_any_field_is_an_error_that_names_it(
    honest: Mapping[type[Answer], dict[str, Any]], schema: type[Answer]
) -> None:
    truth = json.loads(json.dumps(honest[schema]))
    assert isinstance(said_of(schema, truth), schema)
    for mutation in mutations(truth):
        found = said_of(schema, mutation.of(truth))
        if isinstance(found, ProtocolError):
            name = str(mutation.place[0])
            assert any(one in found.what for one in NAMED_BY.get(name, (name,)))
            assert found.wanted
            assert len(str(found)) < 2000
        else:
            assert_bounded(schema, mutation, truth, found.model_dump(mode="json"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*AGENT, *WRITTEN]), st.data())
def test_any_json_is_a_record_or_an_error(schema: type[Answer], data: st.DataObject) -> None:
    truth = {**AGENT, **WRITTEN}[schema]
    lies = data.draw(st.dictionaries(st.sampled_from([*truth]), JSON, max_size=3))
    assert isinstance(said_of(schema, {**truth, **lies}), (schema, ProtocolError))


def assert_bounded(schema: type[Answer], mutation: Mutation, truth: Any, found: Any) -> None:
    """What passes is seen by nobody, or is of a type that the field may have, and of a size that it may have."""
    for key in mutation.place:
        is_list = isinstance(found, list)
        if (is_list and key not in range(len(found))) or (not is_list and key not in found):
            return  # a key that the schema does not have, or a table without it
        found, truth = found[key], truth[key]
    value = VALUES[mutation.kind]
    if mutation.kind == "missing":
        assert found != truth or found in (None, "", 0, False) or isinstance(found, (str, dict))
        return
    assert len(json.dumps(found)) < 600_000
    if value is not None and type(value) is not type(truth):
        may_be_either = mutation.place[0] in ("settings",) or (type(value), type(truth)) == (int, float)
        assert may_be_either or (truth is None), f"{schema.__name__}: {mutation} passed as {found!r:.80}"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        pytest.param(b"[" * 100_000, "nested at most 32 deep", id="nested-100000"),
        pytest.param(json.dumps({"a": nested(32)}).encode(), "nested at most 32 deep", id="nested-34"),
        pytest.param(b'{"a": NaN}', "which is no number", id="nan"),
        pytest.param(b'{"a": -Infinity}', "which is no number", id="infinity"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", "wanted a header in JSON", id="5000-digits"),
    ],
)
def test_a_header_that_is_no_header_of_ours_is_refused(header: bytes, found: str) -> None:
    data = memoryview(PREAMBLE.pack(b"\x89HIL", 1, 0, len(header), 0) + header)
    with pytest.raises(FrameError, match=found):
        read_head(Reader(data), limits=NOTHING)


def test_brackets_in_a_text_are_no_nesting() -> None:
    header = {"error": '\\" [' * 1000, "tensors": [["int8", [1]]] * 1000}
    assert read_head(Reader(memoryview(pack_head(header))), limits=NOTHING).header == header


@pytest.mark.parametrize(
    ("size", "payload", "said"),
    [
        pytest.param(2, 64 << 30, "larger than", id="64-GiB"),
        pytest.param(2, 9, "larger than", id="a-byte-more-than-asked"),
        pytest.param(64 << 20, 0, "larger than", id="header-of-64-MiB"),
    ],
)
def test_what_is_larger_than_was_asked_for_is_not_read(size: int, payload: int, said: str) -> None:
    reader = Reader(memoryview(PREAMBLE.pack(b"\x89HIL", 1, 0, size, payload) + b"{}"))
    with pytest.raises(FrameError, match=said):
        read_frame(reader, limits=of_device(8, tensors=1))
    assert reader.asked == PREAMBLE.size


def test_more_tensors_than_were_asked_for_are_not_read() -> None:
    import numpy as np

    reader = Reader(memoryview(b"".join(encode({}, [np.zeros(1)] * 3))))
    with pytest.raises(FrameError, match="wanted at most 2 tensors; found 3"):
        read_frame(reader, limits=of_device(1000, tensors=2))


class Reader:
    """Gives out bytes, and counts what it was asked for."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.asked = data, 0

    def __call__(self, size: int) -> memoryview:
        part, self.data = self.data[:size], self.data[size:]
        self.asked += size
        return part


def test_larger_inputs_may_give_more_and_nothing_is_known_of_the_first() -> None:
    outputs = Outputs(count=2, bytes=1000, input_bytes=10)
    assert outputs.limits([10]).payload == SLACK + 4 * 1000
    assert outputs.limits([5]).payload == SLACK + 4 * 1000
    assert outputs.limits([10, 30]).payload == SLACK + 4 * 1000 + 36 * 1000
    assert outputs.limits([10] * 3).tensors >= 6
    assert first_limits(1000).payload == SLACK + (64 + 4096) * 1000
    assert first_limits(1 << 20).payload == SLACK + (64 << 20) + (64 << 20)


@pytest.mark.parametrize(
    "have",
    [
        pytest.param({}, id="nothing"),
        pytest.param({SHA: 11}, id="more-than-there-is"),
        pytest.param({SHA: 1, "b2" * 32: 1}, id="another-file"),
    ],
)
def test_an_account_of_other_files_than_were_offered_is_refused(have: Mapping[str, int | None]) -> None:
    with pytest.raises(ProtocolError, match="'have"):
        _check_have(have, {SHA: 10}, "a board")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("libc", "glibc-2.36", id="glibc"),
        pytest.param("libc", "glibc-2.36.9000", id="glibc-before-its-release"),
        pytest.param("libc", "", id="musl"),
        pytest.param("python", "3.13.0rc1", id="python-before-its-release"),
        pytest.param("python", "3.11.2+", id="python-of-a-checkout"),
    ],
)
def test_versions_that_boards_have_are_versions(field: str, value: str) -> None:
    assert getattr(board_facts(**{field: value}), field) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("libc", "glibc-2.9999999999", id="a-glibc-of-ten-digits"),
        pytest.param("python", "3.9999999999", id="a-python-of-ten-digits"),
        pytest.param("python", "3", id="a-python-of-one-number"),
    ],
)
def test_versions_that_would_be_counted_through_for_ever_are_none(field: str, value: str) -> None:
    with pytest.raises(ProtocolError, match=f"'{field}'"):
        board_facts(**{field: value})


def test_any_signal_has_a_name() -> None:
    assert describe_status(-40) == "killed by signal 40 (a signal)"


def test_each_operation_of_the_real_programs_has_its_schema() -> None:
    from harness.agent.operations import Operations as AgentOperations

    ours = {name[3:] for name in dir(AgentOperations) if name.startswith("op_")}
    assert ours == set(agent.ANSWERS)
    answered = {one.operation for one in vars(daemon).values() if isinstance(getattr(one, "operation", None), str)}
    assert answered == {name[3:] for name in dir(Operations) if name.startswith("op_")}
