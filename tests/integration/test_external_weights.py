"""Weights in a file of their own beside the ONNX graph: from a size on at which one file takes too much memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from harness import Input, Model
from harness.export import onnx as exporting
from harness.export.refusal import Refused

# Exporters warn of themselves.
pytestmark = pytest.mark.filterwarnings("ignore")

INPUTS = [Input("x", ("b", 64))]


def model(opset: int | None = None) -> Model:
    return Model(lambda: torch.nn.Linear(64, 64).eval(), INPUTS, dims={"b": (1, 4)}, opset=opset)


@pytest.mark.parametrize("exporter", [exporting.export_dynamo, exporting.export_traced])
def test_large_weights_lie_beside_the_graph_and_the_answers_are_the_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exporter: Callable[..., list[str]]
) -> None:
    monkeypatch.setattr(exporting, "EXTERNAL_ABOVE", 1000)
    torch.manual_seed(0)
    module = model().build()
    assert exporter(module, model(opset=18), ["output"], tmp_path) == [exporting.FILE, exporting.DATA]
    assert (tmp_path / exporting.DATA).stat().st_size >= 64 * 64 * 4
    assert (tmp_path / exporting.FILE).stat().st_size < 64 * 64 * 4
    x = np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64)
    (found,) = onnxruntime.InferenceSession(str(tmp_path / exporting.FILE)).run(None, {"x": x})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(torch.from_numpy(x)).numpy(), rtol=1e-5, atol=1e-6)


def test_another_operator_set_than_the_model_files_is_refused() -> None:
    with pytest.raises(Refused, match="wants opset 18; this exporter wrote opset 20"):
        exporting._check_opset(20, model(opset=18))
