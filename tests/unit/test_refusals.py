"""What a runtime says when it refuses, and the next step that is told."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from harness.backends import load_backend
from harness.deploy.refusals import next_step

TORCHSCRIPT, LIBTORCH, ONNX = (load_backend(name) for name in ("torchscript", "libtorch", "onnxruntime"))
UNKNOWN = "RuntimeError: \nUnknown builtin op: torchvision::nms.\nCould not find any similar ops to torchvision::nms."
NEWER = (
    "[ONNXRuntimeError] : 1 : FAIL : Load model failed: ONNX Runtime only guarantees support for models stamped with "
)
NEWER += "official released onnx opset versions. Opset 99 is under development and support for this is limited."


@pytest.mark.parametrize(
    ("found", "backend", "imports", "given", "said"),
    [
        pytest.param(UNKNOWN, TORCHSCRIPT, [], "", 'Model(imports=["torchvision"])', id="an operator's library"),
        pytest.param(UNKNOWN, LIBTORCH, ["mine"], "", "mine was opened there, and does not register it", id="another"),
        pytest.param("Unknown builtin op: aten::new.", LIBTORCH, [], "", "older than the torch", id="torch's own"),
        pytest.param(
            "Unknown type name '__torch__.torch.classes.mine.Table'", TORCHSCRIPT, [], "", '["mine"]', id="a class"
        ),
        pytest.param(
            "ModuleNotFoundError: No module named 'mine'",
            TORCHSCRIPT,
            ["mine.ops"],
            "",
            "device's runtime",
            id="import",
        ),
        pytest.param("x.so: undefined symbol: _ZN3c10", LIBTORCH, ["mine"], "", "built for its torch", id="open"),
        pytest.param(NEWER, ONNX, [], "", "Model(opset=17)", id="an export for a newer runtime"),
        pytest.param(NEWER, ONNX, [], "vendor.onnx", "vendor.onnx is newer", id="a given file for a newer runtime"),
        pytest.param("Gemm: dimensions do not match", ONNX, ["mine"], "", "", id="something else"),
    ],
)
def test_the_next_step_is_told(found: str, backend: object, imports: list[str], given: str, said: str) -> None:
    told = next_step(found, backend, None, imports, given)  # type: ignore[arg-type]
    assert said in told
    assert bool(told) == bool(said)


@pytest.mark.parametrize("name", ["node_linear", "of a later optimization"])
def test_the_type_without_a_kernel_is_named(tmp_path: Path, name: str) -> None:
    values = [helper.make_tensor_value_info(each, TensorProto.BFLOAT16, [2, 2]) for each in ("x", "y")]
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="node_linear")
    weight = helper.make_tensor("w", TensorProto.BFLOAT16, [2, 2], [0.0] * 4)
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weight])
    onnx.save(helper.make_model(graph), str(tmp_path / "model.onnx"))
    found = f"NOT_IMPLEMENTED : Could not find an implementation for Gemm(13) node with name '{name}'"
    assert "no kernel of Gemm of bfloat16" in next_step(found, ONNX, tmp_path / "model.onnx", [], "")
    assert "no kernel of Gemm for the types" in next_step(found, ONNX, tmp_path / "none.onnx", [], "")
