"""The ring of inputs: what a timed loop runs is made anew, whatever the model does to it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from harness.agent.expand import expand
from harness.agent.frames import Array
from harness.agent.operations import Operations
from harness.agent.ring import InputError, InTurn, Ring, Spread
from harness.deploy.feed import LIMIT_BYTES, RING_BYTES, kept_with_spare, ring_size, spread

FILL = {"dtype": "float32", "shape": [3], "first": 0, "last": 1 << 24, "scale": -24, "order": "random", "key": 7}
FILL |= {"set": []}
SCALAR = {"dtype": "int64", "shape": [], "first": 1, "last": 99, "scale": 0, "order": "random", "key": 9, "set": []}


class Engine:
    """Runs a function of the inputs' own memory; keeps what each inference was given."""

    def __init__(self, spoil: Any = lambda x: None) -> None:
        self.spoil = spoil
        self.seen: list[list[float]] = []

    def prepare(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return inputs

    def run(self, prepared: Mapping[str, Array]) -> list[Array]:
        self.seen.append(prepared["x"].tolist())
        self.spoil(prepared["x"])
        return list(prepared.values())

    def arrays(self, raw: Any) -> Any:
        return raw


def halves(x: Array) -> None:
    x /= 2


def adds_one_to_one_of_fifty(x: Array) -> None:
    if x[0] == 49:
        x += 1


def loaded(engine: Engine) -> Operations:
    operations = Operations()
    operations.engine, operations.input_names = engine, ["x"]
    return operations


def fifty() -> list[Array]:
    return [np.full(3, index, np.float32) for index in range(50)]


@pytest.mark.parametrize(
    "ring", [pytest.param(1, id="one-at-a-time"), pytest.param(7, id="some"), pytest.param(50, id="all")]
)
@pytest.mark.parametrize(
    "spoil", [pytest.param(halves, id="always"), pytest.param(adds_one_to_one_of_fifty, id="1-of-50")]
)
def test_every_inference_has_the_values_that_were_asked_for(spoil: Any, ring: int) -> None:
    engine = Engine(spoil)
    header = {"op": "measure", "samples": 200, "budget_ns": 10**12, "ring": ring}
    reply, (durations,) = loaded(engine)(header, fifty())
    assert (len(durations), len(engine.seen)) == (200, 200 + reply["untimed"])
    assert all(values in [array.tolist() for array in fifty()] for values in engine.seen)
    assert reply["written"] == ["x"]


@pytest.mark.parametrize("op", ["measure", "warm_up", "infer"])
def test_a_model_that_writes_into_one_input_of_fifty_is_found(op: str) -> None:
    engine = Engine(adds_one_to_one_of_fifty)
    reply, _ = loaded(engine)({"op": op, "samples": 50, "budget_ns": 10**12, "ring": 10}, fifty())
    assert reply["written"] == ["x"]


def test_of_a_model_that_leaves_its_inputs_alone_nothing_is_said() -> None:
    reply, _ = loaded(Engine())({"op": "measure", "samples": 60, "budget_ns": 10**12, "ring": 10}, fifty())
    assert "written" not in reply


def test_sets_are_timed_in_turn() -> None:
    engine = Engine()
    ring = Ring(engine, ["x"], InTurn([fifty()], [3, 1, 2]), 2, untimed=False)
    assert [int(slot["x"][0]) for _ in range(3) for slot in ring.renew(5)] == [3, 1, 2, 3, 1, 2]


def test_each_timed_inference_has_an_input_of_its_own() -> None:
    engine = Engine()
    header = {"op": "measure", "samples": 1000, "budget_ns": 10**12, "ring": 64, "fills": [FILL], "first": 1}
    reply, _ = loaded(engine)(header, [])
    assert reply["untimed"] == 16
    assert len({tuple(values) for values in engine.seen}) == 1000


def test_a_block_is_one_array_of_the_fill_with_the_blocks_key() -> None:
    source = Spread([FILL, SCALAR], 5, [])
    for number in (5, 6):
        vectors, scalars = source.columns(4)
        wanted = expand({**FILL, "shape": [4, 3], "key": 7 + number})
        np.testing.assert_array_equal(np.stack(list(vectors)), wanted)
        assert [scalar.shape for scalar in scalars] == [()] * 4


def test_the_same_is_asked_of_an_operations_kept_sets() -> None:
    engine = Engine(halves)
    operations = loaded(engine)
    operations({"op": "keep"}, fifty()[:3])
    operations({"op": "measure", "samples": 5, "budget_ns": 10**12, "ring": 2, "kept": [2, 0, 1, 1, 0]}, [])
    assert {values[0] for values in engine.seen} == {0, 1, 2}


@pytest.mark.parametrize(
    "order", [pytest.param([], id="none"), pytest.param([3], id="not-there"), pytest.param(["0"], id="text")]
)
def test_an_order_of_sets_that_are_not_there_is_refused(order: list[Any]) -> None:
    operations = loaded(Engine())
    operations({"op": "keep"}, fifty()[:3])
    with pytest.raises(ValueError, match=r"0 … 2"):
        operations({"op": "measure", "samples": 5, "budget_ns": 10**9, "kept": order}, [])


def test_a_fill_that_is_none_says_nothing_of_the_model() -> None:
    header = {"op": "measure", "samples": 5, "budget_ns": 10**9, "fills": [{"shape": [1], "key": 0}]}
    with pytest.raises(InputError, match="dtype"):
        loaded(Engine())(header, [])


def test_outputs_are_copied_before_the_next_inference() -> None:
    buffer = np.zeros(3, np.float32)

    class Reusing(Engine):
        def run(self, prepared: Mapping[str, Array]) -> list[Array]:
            np.copyto(buffer, prepared["x"])
            return [buffer]

    _, outputs = loaded(Reusing())({"op": "infer"}, fifty())
    assert [int(output[0]) for output in outputs] == list(range(50))


@pytest.mark.parametrize(
    ("size", "sets"),
    [
        pytest.param(0, 128, id="nothing"),
        pytest.param(256, 128, id="digits"),
        pytest.param(3 * 224 * 224 * 4, 3, id="224"),
        pytest.param(3 * 1080 * 1920 * 4, 1, id="camera"),
        pytest.param(8 << 20, 2, id="8-MiB"),
        pytest.param(1 << 30, 1, id="larger-than-the-limit"),
    ],
)
def test_a_ring_holds_what_four_sets_took_before(size: int, sets: int) -> None:
    assert ring_size(size) == sets


@pytest.mark.parametrize(
    ("size", "together"),
    [
        pytest.param(1 << 14, RING_BYTES, id="64-KiB"),
        pytest.param(1 << 20, 4 * (4 << 20), id="4-MiB"),
        pytest.param(1 << 22, LIMIT_BYTES, id="16-MiB"),
    ],
)
def test_what_was_asked_for_and_its_copies_fit_in_the_ring_together(size: int, together: int) -> None:
    feed = spread([{**FILL, "shape": [size]}], 1)
    ring = Ring(Engine(), ["x"], Spread(feed.header["fills"], 1, []), feed.header["ring"])
    ring.renew(1000)
    assert sum(array.nbytes for asked, copies in ring._made for array in (*asked, *copies)) == together


def test_what_makes_inputs_is_not_said_to_be_the_models_memory() -> None:
    program = (
        "import sys; import numpy; from harness.agent import telemetry\n"
        "before = telemetry.memory_kib()\n"
        "telemetry.import_uncounted('numpy.random')\n"
        "after = telemetry.memory_kib()\n"
        "grown = bytearray(64 << 20)\n"
        "print(after['peak'] - before['peak'], telemetry.memory_kib()['peak'] - after['peak'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    of_import, of_use = map(int, done.stdout.split())
    assert of_import <= 512
    assert of_use > 60 << 10


@pytest.mark.parametrize(
    ("set_bytes", "count"),
    [
        pytest.param(12, 300, id="many-in-a-block"),
        pytest.param(RING_BYTES // 8, 50, id="four-in-a-block"),
        pytest.param(RING_BYTES // 8, 1, id="one"),
        pytest.param(LIMIT_BYTES, 9, id="too-large-for-two"),
    ],
)
def test_no_timed_inference_finds_a_runtime_that_was_prepared_for_its_size(set_bytes: int, count: int) -> None:
    engine = Engine()
    operations = loaded(engine)
    operations({"op": "keep"}, [np.full(1 + index, index, np.float32) for index in range(count + 1)])
    feed = kept_with_spare(count, set_bytes, each=True)
    order = feed.header["kept"]
    reply, (durations,) = operations({"op": "measure", "samples": len(order), "budget_ns": 10**12, **feed.header}, [])
    lengths = [len(values) - 1 for values in engine.seen]
    assert len(durations) == len(order)
    assert [length for length in lengths if length != count] == list(range(count))  # each once, and it was timed
    assert lengths.count(count) == reply["untimed"] + order.count(count) > 1


def test_where_only_a_calls_first_inference_is_not_timed_there_is_one_spare_set() -> None:
    order = kept_with_spare(10, RING_BYTES // 8, each=False).header["kept"]
    assert order == [0, 1, 2, 10, *range(3, 10)]
