"""Model files: what one may say, and what a message says when it is wrong."""

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import Closeness, Input, Model
from harness.checks.limits import Limit, Metric
from harness.errors import ModelError
from harness.model.model_file import ModelFile, load_model, read_model

METRICS = [Metric("latency_p99_ms", "ms", "99th percentile"), Metric("accuracy", "", "top-1", bound="min")]

FILE = """
from harness import Input, Model

def build():
    raise NotImplementedError

model = Model(build=build, inputs=[Input("image", shape=("batch", 3))], dims={"batch": (1, 8)}, MORE)
"""

Write = Callable[..., Path]


def build() -> Any:
    """What a model file has; never called here."""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a file; what a model file leaves in the interpreter is taken out afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write_file(text: str, name: str = "net.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    yield write_file
    for name in set(sys.modules) - before:
        del sys.modules[name]


def load(path: Path) -> ModelFile:
    return load_model(path, METRICS)


def refused(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load(path)
    return caught.value


# Input


@pytest.mark.parametrize(
    ("arguments", "span"),
    [
        pytest.param({}, (-1000, 1000), id="default"),
        pytest.param({"min_value": 5}, (5, 1005), id="from"),
        pytest.param({"dtype": "float16", "min_value": 65000}, (65024, 65504), id="float16-from"),
        pytest.param({"max_value": 5.5}, (-1000, 5.5), id="up-to"),
        pytest.param({"min_value": 2000}, (2000, 2000 + 1000), id="from-above-the-default"),
        pytest.param({"max_value": -2000}, (-2000 - 1000, -2000), id="up-to-below-the-default"),
        pytest.param({"min_value": -1, "max_value": 1}, (-1, 1), id="both"),
        pytest.param({"dtype": "bool"}, (0, 1), id="bool"),
        pytest.param({"dtype": "int8", "min_value": -128, "max_value": 127}, (-128, 127), id="int8-all"),
        pytest.param(
            {"dtype": "int64", "min_value": -(2**63), "max_value": 2**63 - 1}, (-(2**63), 2**63 - 1), id="int64-all"
        ),
        pytest.param({"dtype": "int32", "min_value": 0.0, "max_value": 9.0}, (0, 9), id="whole-floats-for-ints"),
        pytest.param({"dtype": "float16", "min_value": -65504, "max_value": 65504}, (-65504, 65504), id="float16-all"),
        pytest.param(
            {"dtype": "float16", "min_value": 0.1, "max_value": 0.3},
            (0.10003662109375, 0.2998046875),
            id="float16-rounded-inwards",
        ),
        pytest.param({"min_value": 0.1, "max_value": 0.1}, (float(np.float32(0.1)),) * 2, id="one-value-is-rounded"),
        pytest.param(
            {"min_value": np.finfo(np.float32).min, "max_value": np.float32(3)},
            (float(np.finfo(np.float32).min), 3),
            id="numpys-own-numbers",
        ),
    ],
)
def test_the_range_of_an_input(arguments: dict[str, Any], span: tuple[float, float]) -> None:
    assert Input("x", shape=(1,), **arguments).range == span


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        pytest.param({"name": ""}, "an input's name is not usable", id="empty-name"),
        pytest.param({"name": "a b"}, "an input's name is not usable", id="name-with-a-blank"),
        pytest.param({"name": "1x"}, "an input's name is not usable", id="name-from-a-digit"),
        pytest.param({"name": "x\n"}, "an input's name is not usable", id="name-with-a-line-end"),
        pytest.param({"name": "größe"}, "an input's name is not usable", id="name-not-ascii"),
        pytest.param({"name": None}, "an input's name is not usable", id="name-none"),
        pytest.param({"dtype": "float8"}, "unknown dtype", id="dtype"),
        pytest.param({"dtype": np.float32}, "unknown dtype", id="dtype-of-numpy"),
        pytest.param({"dtype": "uint32"}, "unknown dtype", id="dtype-that-torch-lacks"),
        pytest.param({"shape": "batch"}, "a shape is not usable", id="shape-a-name"),
        pytest.param({"shape": 3}, "a shape is not usable", id="shape-a-size"),
        pytest.param({"shape": None}, "a shape is not usable", id="shape-none"),
        pytest.param({"shape": (-1,)}, "a size is not usable", id="size-negative"),
        pytest.param({"shape": (2.0,)}, "a size is not usable", id="size-float"),
        pytest.param({"shape": (True,)}, "a size is not usable", id="size-bool"),
        pytest.param({"shape": (None,)}, "a size is not usable", id="size-none"),
        pytest.param({"min_value": 2, "max_value": 1}, "the range is empty", id="range-the-wrong-way-round"),
        pytest.param({"min_value": float("nan")}, "the range is empty", id="range-nan"),
        pytest.param({"max_value": float("inf")}, "the range is empty", id="range-infinite"),
        pytest.param({"min_value": 10**400}, "the range is empty", id="range-beyond-float"),
        pytest.param({"min_value": "0"}, "an end of the range is not usable", id="range-text"),
        pytest.param({"max_value": "2 * t"}, "an end of the range is not usable", id="range-twice-a-dimension"),
        pytest.param({"min_value": True}, "the range is empty", id="range-bool"),
        pytest.param({"max_value": 1e39}, "float32 cannot hold the range", id="beyond-float32"),
        pytest.param({"dtype": "float16", "min_value": -65505}, "float16 cannot hold the range", id="beyond-float16"),
        pytest.param(
            {"dtype": "float16", "min_value": 0.10001, "max_value": 0.10002},
            "float16 has no number in the range",
            id="between-two-numbers",
        ),
        pytest.param(
            {"dtype": "uint8", "min_value": 0, "max_value": 256}, "uint8 cannot hold the range", id="beyond-uint8"
        ),
        pytest.param(
            {"dtype": "int64", "min_value": 0, "max_value": 2**63}, "int64 cannot hold the range", id="beyond-int64"
        ),
        pytest.param({"dtype": "int32", "min_value": 0}, "an integer input needs its range", id="int-without-end"),
        pytest.param({"dtype": "int32"}, "an integer input needs its range", id="int-without-range"),
        pytest.param(
            {"dtype": "int32", "min_value": 0.5, "max_value": 3}, "an integer range needs whole ends", id="int-half"
        ),
        pytest.param({"dtype": "bool", "allow_nan": True}, "only floats have NaN and infinity", id="bool-nan"),
        pytest.param(
            {"dtype": "int8", "min_value": 0, "max_value": 1, "allow_infinity": True},
            "only floats have NaN and infinity",
            id="int-infinity",
        ),
    ],
)
def test_an_input_that_is_wrong_is_refused(arguments: dict[str, Any], what: str) -> None:
    with pytest.raises(ModelError) as caught:
        Input(**{"name": "x", "shape": (1,), **arguments})
    assert caught.value.what == what


def test_the_sizes_of_an_input_have_every_dimension_filled_in() -> None:
    assert Input("x", shape=["batch", 3, "t"]).sizes({"batch": 2, "t": 0}) == (2, 3, 0)


# Model

IMAGE = Input("image", shape=("batch", "t"))
DIMS = {"batch": (1, 8), "t": (0, 5)}


@pytest.mark.parametrize(
    ("measure", "found"),
    [
        pytest.param({}, {"batch": 8, "t": 5}, id="largest"),
        pytest.param({"batch": 1}, {"batch": 1, "t": 5}, id="one-given"),
        pytest.param({"batch": 2, "t": 5}, {"batch": 2, "t": 5}, id="all-given"),
    ],
)
def test_it_is_timed_at_the_largest_sizes_unless_told(measure: dict[str, int], found: dict[str, int]) -> None:
    assert Model(build=build, inputs=[IMAGE], dims=DIMS, measure=measure).measure == found


@pytest.mark.parametrize(
    ("measure", "found"),
    [
        pytest.param({}, {"batch": 1, "t": 0}, id="smallest"),
        pytest.param({"batch": 8}, {"batch": 8, "t": 0}, id="one-given"),
        pytest.param({"t": 5}, {"batch": 1, "t": 5}, id="the-largest-given"),
    ],
)
def test_parity_tries_most_inputs_at_the_smallest_sizes_unless_told(
    measure: dict[str, int], found: dict[str, int]
) -> None:
    model = Model(build=build, inputs=[IMAGE], dims=DIMS, measure=measure)
    assert model.usual_sizes == found
    assert replace(model, name="again").usual_sizes == found
    assert pickle.loads(pickle.dumps(model)).usual_sizes == found  # noqa: S301  # our own


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        pytest.param({"build": None}, "build cannot be called", id="build-none"),
        pytest.param({"build": "net"}, "build cannot be called", id="build-text"),
        pytest.param({"samples": []}, "samples cannot be called", id="samples"),
        pytest.param({"score": 1}, "score cannot be called", id="score"),
        pytest.param({"inputs": []}, "a model needs inputs", id="no-inputs"),
        pytest.param({"inputs": [(1, 3)]}, "a model needs inputs", id="inputs-of-another-type"),
        pytest.param({"inputs": IMAGE}, "inputs is not usable", id="inputs-no-list"),
        pytest.param({"inputs": [IMAGE, IMAGE]}, "two inputs have one name", id="one-name-twice"),
        pytest.param({"dims": {"batch": (1, 8)}}, "dimension 't' has no range", id="dimension-without-range"),
        pytest.param({"dims": {**DIMS, "x": (1, 2)}}, "dimension 'x' is in no input's shape", id="dimension-unused"),
        pytest.param({"dims": [("batch", (1, 8))]}, "dims is not usable", id="dims-no-dict"),
        *(
            pytest.param({"dims": {**DIMS, "t": value}}, "dimension 't' has no usable range", id=f"range-{name}")
            for name, value in {
                "the-wrong-way-round": (5, 1),
                "negative": (-1, 5),
                "of-four": (1, 2, 3, 4),
                "of-no-step": (1, 5, 0),
                "an-empty-list": [],
                "an-empty-range": range(5, 5),
                "a-list-of-floats": [1.0],
                "a-number": 5,
                "of-floats": (1.0, 5.0),
                "of-bools": (False, True),
                "none": None,
            }.items()
        ),
        pytest.param({"measure": {"x": 1}}, "measure names an unknown dimension 'x'", id="measure-unknown"),
        pytest.param({"measure": {"batch": 9}}, "measure['batch'] is out of range", id="measure-above"),
        pytest.param({"measure": {"batch": 0}}, "measure['batch'] is out of range", id="measure-below"),
        pytest.param({"measure": {"batch": 1.0}}, "measure['batch'] is out of range", id="measure-float"),
        pytest.param({"measure": ["batch"]}, "measure is not usable", id="measure-no-dict"),
        pytest.param({"limits": [1]}, "limits is not usable", id="limits-no-dict"),
        pytest.param({"name": 5}, "name is not usable", id="name-no-text"),
        *(
            pytest.param({"rate_hz": value}, "rate_hz is not usable", id=f"rate-{value!s:.12}")
            for value in (0, -30, float("nan"), float("inf"), True, "30", 10**9, 10_001, 0.009, 10**400, [30])
        ),
        pytest.param({"rate_hz": 30, "late": "skip"}, "late is not usable", id="late-unknown"),
        pytest.param({"rate_hz": 30, "late": ["drop"]}, "late is not usable", id="late-no-text"),
        pytest.param({"rate_hz": 30, "late": ""}, "late is not usable", id="late-empty"),
        pytest.param({"late": "drop"}, "late without rate_hz", id="late-without-a-rate"),
        *(
            pytest.param({"tolerance": value}, "tolerance is not usable", id=f"tolerance-{value!s:.5}")
            for value in (0, -1, float("nan"), float("inf"), True, "x", 10**400)
        ),
    ],
)
def test_a_model_that_is_wrong_is_refused(arguments: dict[str, Any], what: str) -> None:
    with pytest.raises(ModelError) as caught:
        Model(**{"build": build, "inputs": [IMAGE], "dims": DIMS, **arguments})
    assert caught.value.what == what


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"rtol": -1}, id="negative"),
        pytest.param({"atol": float("nan")}, id="nan"),
        pytest.param({"rtol": 1, "atol": float("inf")}, id="infinite"),
        pytest.param({"rtol": "1e-3"}, id="text"),
    ],
)
def test_a_closeness_that_is_none_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="a closeness is not usable"):
        Closeness(**arguments)


@pytest.mark.parametrize(
    ("arguments", "late", "deadline", "period_ns"),
    [
        pytest.param({"rate_hz": 30}, "drop", 1000 / 30, 33_333_333, id="its-period"),
        pytest.param({"rate_hz": 0.5, "late": "queue"}, "queue", 2000, 2_000_000_000, id="slow"),
        pytest.param({"rate_hz": 10_000, "late": "drop"}, "drop", 0.1, 100_000, id="fast"),
        pytest.param({"rate_hz": 30, "limits": {"deadline_ms": 50}}, "drop", 50, 33_333_333, id="its-own"),
    ],
)
def test_a_sensors_clock_and_the_deadline_that_goes_with_it(
    arguments: dict[str, Any], late: str, deadline: float, period_ns: int
) -> None:
    model = Model(build=build, inputs=[IMAGE], dims=DIMS, **arguments)
    assert model.clock is not None
    assert (model.clock.late, model.clock.period_ns, model.limits["deadline_ms"]) == (late, period_ns, deadline)
    assert replace(model, name="another").limits == model.limits


def test_without_a_rate_there_is_no_clock_and_no_deadline() -> None:
    model = Model(build=build, inputs=[IMAGE], dims=DIMS)
    assert (model.clock, model.late, model.limits) == (None, None, {})


def test_a_closeness_is_its_own_measure() -> None:
    model = Model(build, [IMAGE], dims=DIMS, tolerance=Closeness(rtol=1e-2))
    assert model.parity_limit == 1


# Model files


def test_a_model_file_is_read(write: Write) -> None:
    path = write(FILE.replace("MORE", 'name="digits", samples=print, limits={"latency_p99_ms": 33, "accuracy_min": 1}'))
    file = load(path)
    assert (file.name, file.path) == ("digits", path)
    assert file.limits == (Limit("latency_p99_ms", 33, "net.py: limits"), Limit("accuracy_min", 1, "net.py: limits"))


@pytest.mark.parametrize(
    ("name", "more", "found"),
    [
        pytest.param("net.py", "", "net", id="the-files"),
        pytest.param("my-net.v2.py", "", "my-net.v2", id="the-files-with-signs"),
        pytest.param("net.py", 'name="other"', "other", id="its-own"),
        pytest.param("net.py", 'name=""', "net", id="empty"),
    ],
)
def test_a_models_name_is_its_own_or_the_files(write: Write, name: str, more: str, found: str) -> None:
    assert load(write(FILE.replace("MORE", more), name)).name == found


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a/b", id="slash"),
        pytest.param("../b", id="parent-folder"),
        pytest.param("a b", id="blank"),
        pytest.param("a\\n", id="line-end"),
        pytest.param("a[b]", id="brackets"),
    ],
)
def test_a_name_that_is_no_file_name_is_refused(write: Write, name: str) -> None:
    assert refused(write(FILE.replace("MORE", f'name="{name}"'))).what == "the model's name is not usable"


def test_a_file_whose_own_name_does_not_do_is_refused(write: Write) -> None:
    assert refused(write(FILE.replace("MORE", ""), "my net.py")).what == "the model's name is not usable"


@pytest.mark.parametrize(
    ("name", "what", "found"),
    [
        pytest.param("absent.py", "no such model file", "nothing", id="missing"),
        pytest.param("sub", "no such model file", "a folder", id="folder"),
        pytest.param("net.txt", "the model file is not Python", "net.txt", id="not-python"),
    ],
)
def test_what_is_no_model_file_is_refused(write: Write, name: str, what: str, found: str) -> None:
    text = write("x = 1", "net.txt")
    write("", "sub/x.py")
    error = refused(text.parent / name)
    assert (error.what, error.found, error.where) == (what, found, str(text.parent / name))


@pytest.mark.parametrize(
    ("text", "what", "found"),
    [
        pytest.param("", "the file has no usable `model`", "no `model`", id="empty"),
        pytest.param("model = 3", "the file has no usable `model`", "model of type int", id="another-type"),
        pytest.param(
            "from harness import Model as model", "the file has no usable `model`", "model of type type", id="the-class"
        ),
        pytest.param("def x(:", "the model file cannot be run", "SyntaxError: ", id="syntax"),
        pytest.param("1 / 0", "the model file cannot be run", "ZeroDivisionError: division by zero", id="raises"),
        pytest.param("import no_such", "the model file cannot be run", "ModuleNotFoundError: ", id="import"),
        pytest.param("raise SystemExit(0)", "the model file cannot be run", "SystemExit: 0", id="exits"),
        pytest.param(FILE.replace("MORE", "tolerance=-1"), "tolerance is not usable", "-1", id="wrong-model"),
    ],
)
def test_a_model_file_that_is_wrong_is_refused(write: Write, text: str, what: str, found: str) -> None:
    path = write(text)
    error = refused(path)
    assert error.what == what
    assert error.found.startswith(found)
    assert str(path) in error.where


def test_an_error_in_a_model_file_keeps_its_cause(write: Write) -> None:
    assert isinstance(refused(write("1 / 0")).__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        pytest.param("{'latency_p98_ms': 33}", "unknown limit 'latency_p98_ms'", id="unknown"),
        pytest.param("{'latency_p99_ms': -1}", "limit 'latency_p99_ms' is not a usable number", id="negative"),
    ],
)
def test_limits_are_checked_when_the_file_is_read(write: Write, limits: str, what: str) -> None:
    error = refused(write(FILE.replace("MORE", f"limits={limits}")))
    assert (error.what, error.where) == (what, "net.py: limits")


def test_a_model_file_imports_what_lies_beside_it(write: Write) -> None:
    write("WIDTH = 7", "beside_the_net.py")
    path = write("from beside_the_net import WIDTH\n" + FILE.replace("MORE", "tolerance=WIDTH"))
    assert load(path).model.tolerance == 7


def test_a_model_file_may_have_dataclasses(write: Write) -> None:
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n"
    assert load(write(text + FILE.replace("MORE", ""))).name == "net"


def test_a_model_file_runs_as_a_module_named_without_its_folder(write: Write) -> None:
    build_it = load(write(FILE.replace("MORE", ""), "my-net.py")).model.build
    assert build_it.__module__ == "hilgate_model_my_net"


def test_importing_harness_does_not_import_torch() -> None:
    program = "import sys, harness, harness.plugin; print([name for name in sys.modules if name == 'torch'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_two_models_that_bring_a_module_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "twin_of_a_net.py").write_text(f"NAME = {folder!r}\n")
        source = "import twin_of_a_net\nfrom harness import Input, Model\n"
        source += "model = Model(build=lambda: None, inputs=[Input('x', shape=(1,))], name=twin_of_a_net.NAME)\n"
        (tmp_path / folder / "net.py").write_text(source)
    assert read_model(tmp_path / "one" / "net.py").name == "one"
    with pytest.raises(ModelError, match="two models bring a module 'twin_of_a_net' each"):
        read_model(tmp_path / "two" / "net.py")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        pytest.param("Model(build=None, inputs=[], limit={})", "did you mean 'limits'? Model has: build, ", id="Model"),
        pytest.param("Input('x', (1,), minvalue=0)", "did you mean 'min_value'? Input has: name, ", id="Input"),
        pytest.param("Input('x', (1,), colour=0)", "Input has: name, ", id="nothing-near"),
        pytest.param("dict(x=1, **{'x': 2})", "", id="another-error"),
        pytest.param("model = (", "", id="syntax"),
    ],
)
def test_an_argument_that_is_misspelled_is_told_with_those_there_are(tmp_path: Path, line: str, hint: str) -> None:
    path = tmp_path / "net.py"
    path.write_text(f"from harness import Input, Model\n{line}\n")
    with pytest.raises(ModelError, match="the model file cannot be run") as caught:
        read_model(path)
    assert caught.value.hint.startswith(hint)
    assert bool(hint) == bool(caught.value.hint)


def test_a_model_file_that_empties_the_search_path_takes_nothing_from_hilgate(write: Write) -> None:
    before = list(sys.path)
    path = write("import sys\nsys.path[:] = ['/own']\n" + FILE.replace("MORE", ""))
    assert load(path).name == "net"
    assert sys.path[0] == "/own"
    assert set(before) <= set(sys.path)
