"""Model(measure="drawn"): each timed inference has sizes of its own, drawn evenly from those that are declared."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness import Input, Model
from harness.deploy.content import BLOCK, Content, Timed, content_of, noise_notes
from harness.deploy.explaining import add_sizes
from harness.deploy.feed import bytes_of, fill_bytes
from harness.errors import DeploymentError, ModelError
from harness.export.fixing import fixed_models
from harness.model.dimension import drawn_sizes
from harness.model.inputs import Arrays, sizes_of
from harness.model.model_file import ModelFile
from harness.model.prepare import prepared, prepared_measured_sets
from harness.model.process.hosted import read_hosted
from harness.run.measuring import _memory_sets

NOTHING: Any = None
# A picture, and a range that depends on how many points there are: the index of each is one of them.
INPUTS = [
    Input("image", shape=(1, "h", "w")),
    Input("points", shape=("n", 2), min_value=-1, max_value=1),
    Input("index", shape=("n",), dtype="int64", min_value=0, max_value="n - 1"),
]
DIMS: dict[str, Any] = {"h": (32, 128, 32), "w": [20, 70, 30], "n": range(1, 6)}
ALLOWED = {"h": {32, 64, 96, 128}, "w": {20, 30, 70}, "n": {1, 2, 3, 4, 5}}


def build() -> Any:
    return NOTHING


def model(**more: Any) -> Model:
    return Model(**{"build": build, "inputs": INPUTS, "dims": DIMS, "measure": "drawn", **more})


def sizes_made(content: Content, first: int, count: int) -> list[dict[str, int]]:
    return [sizes_of(INPUTS, arrays) for arrays in content.made(first, count)]


def test_each_input_has_sizes_of_its_own_and_all_arrays_of_it_agree() -> None:
    content = content_of(model())
    made = content.made(BLOCK, 200)
    for arrays in made:
        assert len(arrays["points"]) == len(arrays["index"])
        assert arrays["index"].max() < len(arrays["index"])
    for name, allowed in ALLOWED.items():
        assert {sizes_of(INPUTS, arrays)[name] for arrays in made} == allowed


@pytest.mark.parametrize("name", list(DIMS))
def test_all_sizes_come_evenly(name: str) -> None:
    count, allowed = 6000, ALLOWED[name]
    counts = Counter(drawn_sizes(model().dims, number)[name] for number in range(BLOCK, BLOCK + count))
    expected = count / len(allowed)
    assert set(counts) == allowed
    assert max(abs(each - expected) for each in counts.values()) < 4 * expected**0.5


def test_dimensions_are_drawn_independently() -> None:
    pairs = Counter((each["h"], each["n"]) for each in (drawn_sizes(model().dims, number) for number in range(4000)))
    assert len(pairs) == 20
    assert max(abs(each - 200) for each in pairs.values()) < 4 * 200**0.5


def test_an_input_is_the_same_however_many_are_made_at_a_time() -> None:
    content = content_of(model())
    together, last = content.made(BLOCK, 1100), content.made(BLOCK + 1099, 1)[0]
    assert all(np.array_equal(array, last[name]) for name, array in together[-1].items())
    again = content_of(model()).made(BLOCK, 1)[0]
    assert all(np.array_equal(array, again[name]) for name, array in together[0].items())


def test_no_two_inputs_are_alike() -> None:
    made = content_of(model()).made(BLOCK, 300)
    assert len({arrays["image"].tobytes() for arrays in made}) == 300


def test_the_model_files_prepare_gets_them() -> None:
    def upwards(inputs: Arrays) -> Arrays:
        inputs["points"].sort(axis=0)
        return inputs

    declared = model(prepare=upwards)
    file = ModelFile(Path("net.py"), declared, ())
    content = content_of(declared, prepare=partial(prepared, file))
    assert sizes_made(content, BLOCK, 50) == sizes_made(content_of(model()), BLOCK, 50)
    assert all((np.diff(arrays["points"], axis=0) >= 0).all() for arrays in content.made(BLOCK, 50))


def test_a_model_is_loaded_and_counted_at_the_largest_sizes() -> None:
    declared, largest = model(), {"h": 128, "w": 70, "n": 5}
    (loaded,) = prepared_measured_sets(ModelFile(Path("net.py"), declared, ()), 1)
    counted = content_of(declared).at_largest()
    assert sizes_of(INPUTS, loaded) == declared.measured_sizes == counted.measure == largest
    assert not counted.is_made
    assert fill_bytes(counted.fills) == bytes_of(loaded)
    assert content_of(model(measure={})).at_largest().measure == largest


@pytest.mark.parametrize(("measure", "others"), [("drawn", 3), ({"h": 32}, 0)])
def test_memory_alone_is_taken_at_the_largest_sizes_and_at_drawn_ones(measure: Any, others: int) -> None:
    file = ModelFile(Path("net.py"), model(measure=measure), ())
    run: Any = SimpleNamespace(models=SimpleNamespace(content=lambda file: content_of(file.model)))
    cell: Any = SimpleNamespace(file=file)
    first, *more = [sizes_of(INPUTS, arrays) for arrays in _memory_sets(run, cell)]
    assert first == file.model.measured_sizes
    assert (len(more), sum(sizes != first for sizes in more)) == (3, others)


def test_the_evidence_says_which_sizes_came() -> None:
    timed = content_of(model()).spread_timed()
    assert timed.drawn_sizes == {}
    timed.numbers.append(np.arange(BLOCK, BLOCK + 500))
    assert timed.drawn_sizes == {
        "h": {"different": 4, "smallest": 32, "largest": 128},
        "w": {"different": 3, "smallest": 20, "largest": 70},
        "n": {"different": 5, "smallest": 1, "largest": 5},
    }
    timed.numbers[0] = timed.numbers[0][:1]  # those that were timed, not those that could come
    assert {each["different"] for each in timed.drawn_sizes.values()} == {1}
    assert Timed(name="uniform", numbers=[np.arange(9)]).drawn_sizes == {}


def test_samples_keep_their_own_sizes_and_a_note_says_so() -> None:
    sample = {name: array[:] for name, array in content_of(model()).made(0, 1)[0].items()}
    content = content_of(model(), [sample])
    (note,) = noise_notes([content.spread_timed(), content.samples_timed()])
    assert "at h = 32…128, w = 20…70, n = 1…5 is noise" in note


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        pytest.param("", "at h = 32…128, w = 20…70, n = 1…5, drawn", id="while-timed"),
        pytest.param("it loaded, and one inference at h = 128, w = 70, n = 5", "", id="at-load"),
    ],
)
def test_an_error_says_at_which_sizes_it_came(wanted: str, where: str) -> None:
    error = DeploymentError("the agent died", wanted=wanted)
    add_sizes(error, model())
    assert error.where == where


def copies(declared: Model) -> list[Model]:
    return [replace(declared, name="again"), pickle.loads(pickle.dumps(declared))]  # noqa: S301  # our own


def test_a_model_that_is_copied_or_elsewhere_still_draws(tmp_path: Path) -> None:
    path = tmp_path / "sized.py"
    path.write_text(
        "from harness import Input, Model\nmodel = Model(build=lambda: 1, inputs=[Input('x', shape=('b',))],"
        " dims={'b': (2, 64)}, measure='drawn')\n"
    )
    hosted = read_hosted(path, ())
    hosted.process.close()
    assert (hosted.model.measured_sizes, hosted.model.usual_sizes) == ({"b": 64}, {"b": 2})
    assert all(each.measured_sizes.drawn for each in (hosted.model, *copies(hosted.model), *copies(model())))
    assert not any(each.measured_sizes.drawn for each in copies(model(measure={"h": 32})))
    fixed, _ = next(fixed_models(model()))  # its only size is the largest
    assert fixed.dims["h"] == range(128, 129)


@pytest.mark.parametrize(
    ("changes", "what", "says"),
    [
        pytest.param({"measure": "random"}, "measure is not usable", "", id="another-text"),
        pytest.param({"measure": "Drawn"}, "measure is not usable", "did you mean 'drawn'?", id="misspelt"),
        pytest.param({"measure": b"drawn"}, "measure is not usable", "", id="bytes"),
        pytest.param({"measure": True}, "measure is not usable", "", id="bool"),
        pytest.param({"measure": {"h": "drawn"}}, "measure['h'] is out of range", "", id="one-dimension"),
        pytest.param(
            {"dims": {}, "inputs": [Input("x", (3,))]}, "measure='drawn' has nothing to draw", "leave", id="no-dims"
        ),
        pytest.param(
            {"dims": {"n": (3, 3)}, "inputs": [Input("x", ("n",))]},
            "measure='drawn' has nothing to draw",
            "leave measure out",
            id="one-size",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes: dict[str, Any], what: str, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        model(**changes)
    assert caught.value.what == what
    assert caught.value.wanted
    assert says in caught.value.hint
