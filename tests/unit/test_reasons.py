"""Messages about a model: the reason first, the weight or the parser of arguments by its name."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from harness.errors import ModelError
from harness.export import onnx, torchscript
from harness.export.fixing import describe_fixed, fixed_models
from harness.export.onnx import DYNAMO, exporters
from harness.export.refusal import Refused, advice, describe_warnings, first_lines, reason_first
from harness.export.sizes import describe_fixed_sizes
from harness.export.worker import refused
from harness.model.fingerprint import weight_hashes
from harness.model.model import Input, Model
from harness.model.model_file import read_model
from harness.model.operators import import_operators

TORCH = Path(torch.__file__).parent


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Holding(nn.Module):
    """Has one buffer."""

    def __init__(self, buffer: Any) -> None:
        super().__init__()
        self.register_buffer("adjacency", buffer)


class Scaled(torch.Tensor):
    """A tensor whose numbers are made when it is used, as those of quantization libraries are."""

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError(func)


def scaled() -> Any:
    return torch.Tensor._make_wrapper_subclass(Scaled, (2, 2), dtype=torch.float32)


@pytest.mark.parametrize(
    ("make", "named", "said"),
    [
        pytest.param(lambda: Holding(torch.eye(3).to_sparse()), "buffer adjacency", "sparse_coo", id="sparse"),
        pytest.param(lambda: Holding(torch.eye(3).to_sparse_csr()), "buffer adjacency", "sparse_csr", id="csr"),
        pytest.param(lambda: nn.Sequential(nn.LazyLinear(2)), "parameter 0.weight", "lazy", id="lazy"),
        pytest.param(lambda: Holding(torch.empty(2, device="meta")), "buffer adjacency", "meta", id="meta"),
        pytest.param(lambda: Holding(scaled()), "buffer adjacency", "Scaled, a subclass", id="subclass"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_weight_that_has_no_plain_numbers_is_named(make: Any, named: str, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        weight_hashes(make(), "model.py")
    assert caught.value.what == f"{named} has no plain numbers"
    assert said in caught.value.found
    assert (caught.value.where, bool(caught.value.hint)) == ("model.py", True)


@pytest.fixture(scope="module")
def refusal() -> Exception:
    """What torch.export itself says to a branch on a value."""
    model = Model(build=Branching, inputs=[Input("x", ("n", 4), min_value=-1, max_value=1)], dims={"n": (1, 4)})
    export = exporters(Branching())[DYNAMO]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            export(Branching().eval(), model, ["output"], Path("nowhere"))
        except RuntimeError as error:
            return error
    pytest.fail("the exporter takes it by now")


def test_the_reason_of_a_refusal_stands_first_and_advice_is_left_out(refusal: Exception) -> None:
    reason = reason_first(refusal)
    assert reason.startswith("GuardOnDataDependentSymNode: Could not guard on data-dependent expression")
    assert Path(__file__).name in reason
    assert not [words for words in ("Next steps", "GitHub", "TORCH_LOGS", "draft_export", "\x1b") if words in reason]
    assert advice(refusal).startswith("Failed to export the model with torch.export. This is step 1/3")


def test_an_error_of_another_kind_is_said_as_it_is() -> None:
    error = RuntimeError("\x1b[31mthe exporter fixed b at 2; dims says 1 … 6\x1b[0m")
    assert reason_first(error) == first_lines(error) == "RuntimeError: the exporter fixed b at 2; dims says 1 … 6"
    assert advice(error) == ""


def _warning(path: Path, line: int, kind: str = "TracerWarning") -> Any:
    category = type(kind, (Warning,), {})
    return warnings.WarningMessage(category("Converting a tensor"), category, str(path), line)


def test_torchs_own_tracer_warnings_are_one_line() -> None:
    own = [_warning(TORCH / "nn/functional.py", line) for line in (10, 10, 12)]
    theirs = [_warning(Path("net.py"), 3), _warning(Path("net.py"), 3), _warning(Path("net.py"), 4, "UserWarning")]
    assert describe_warnings([*own, *theirs], TORCH) == [
        "net.py, line 3: TracerWarning: Converting a tensor",
        "3 TracerWarnings in torch's own code, which mostly checks shapes there (functional.py:10, functional.py:12)",
    ]
    assert describe_warnings([_warning(Path("net.py"), 4, "UserWarning")], TORCH) == []


def test_a_dimension_is_fixed_at_its_measured_size_alone_then_with_the_others() -> None:
    inputs = [Input("x", ("n", "samples", "one"), min_value=-1, max_value=1)]
    dims = {"n": (1, 4), "samples": (8000, 32000), "one": (1, 1)}
    model = Model(build=Branching, inputs=inputs, dims=dims, measure={"samples": 16000})
    found = [(dict(made.dims), fixed) for made, fixed in fixed_models(model)]
    assert [fixed for _, fixed in found] == [{"n": 4}, {"samples": 16000}, {"n": 4, "samples": 16000}]
    assert found[1][0] == {"n": range(1, 5), "samples": range(16000, 16001), "one": range(1, 2)}
    said = describe_fixed(found[1][1])
    assert said == 'with samples = 16000 fixed it exports: dims={"samples": (16000, 16000)}'
    assert refused("onnx", ["it: no"], [], [], "model.py", said).hint.startswith(said)


ARGUMENTS = """
import argparse
from harness import Input, Model
parser = argparse.ArgumentParser()
parser.add_argument("--weights", required=True)
options = parser.parse_args([])
"""


def test_who_parsed_a_command_line_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "parses.py").write_text(ARGUMENTS, encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be run") as caught:
        read_model(tmp_path / "parses.py")
    assert "argparse read the command line, called by parses.py, line 6" in caught.value.hint
    assert "--weights" in capsys.readouterr().err


def test_a_process_that_is_ended_otherwise_has_no_parser(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("raise SystemExit(2)\n", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be run") as caught:
        read_model(tmp_path / "ends.py")
    assert caught.value.hint == ""


class Windows(nn.Module):
    """Its batch becomes a constant: it is worked out with int()."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(int(x.shape[0] / 1), 2, 4).flip(0)


class AloneRefused(nn.Module):
    """Its trace takes no batch of one, and any other: that is for parity to say."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[0] + x[1] if x.shape[0] > 1 else x[0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(Windows, "the exporter fixed n at 2; dims says 1 … 6 (run at n = 1, the file says: ", id="int"),
        pytest.param(nn.Flatten, "", id="any size"),
        pytest.param(AloneRefused, "", id="one size is refused"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_trace_that_takes_one_size_is_refused_with_the_dimension(make: Any, said: str, tmp_path: Path) -> None:
    model = Model(
        build=lambda: make().eval(), inputs=[Input("x", ("n", 8), min_value=-1, max_value=1)], dims={"n": (1, 6)}
    )
    torchscript.trace(model.build(), model, ["output"], tmp_path)
    found = describe_fixed_sizes(
        tmp_path / torchscript.FILE, lambda: torchscript.opened(tmp_path, ""), model.build, model
    )
    assert found.startswith(said)
    assert bool(found) == bool(said)
    if found:
        assert "is invalid for input of size" in found
    onnx.export_traced(model.build(), model, ["output"], tmp_path)
    again = describe_fixed_sizes(tmp_path / onnx.FILE, lambda: onnx.opened(tmp_path, onnx.OLDER), model.build, model)
    assert again.startswith(said)
    assert bool(again) == bool(said)


def test_a_module_of_operators_that_is_not_on_this_host_is_named() -> None:
    inputs = [Input("x", (4,), min_value=-1, max_value=1)]
    import_operators(Model(build=Branching, inputs=inputs, imports=["xml.dom"]), "model.py")
    with pytest.raises(ModelError, match="no_such_operators, which the model file imports") as caught:
        import_operators(Model(build=Branching, inputs=inputs, imports=["no_such_operators"]), "model.py")
    assert "ModuleNotFoundError" in caught.value.found
    assert (caught.value.where, bool(caught.value.hint)) == ("model.py", True)


def test_what_an_export_fixes_is_told_with_the_place_in_forward() -> None:
    warned = ["net.py, line 7: TracerWarning: Converting a tensor to a Python integer. This means that …"] * 4
    refusal = reason_first(Refused("the exporter fixed n at 2; dims says 1 … 6", warned))
    place = "net.py, line 7: TracerWarning: Converting a tensor to a Python integer"
    assert refusal.splitlines() == ["the exporter fixed n at 2; dims says 1 … 6", *[place] * 3]
    assert "look in forward" in refused("onnx", [f"it: {refusal}"], [], [], "model.py").hint
