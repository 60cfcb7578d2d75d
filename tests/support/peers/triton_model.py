"""Triton's model.py, for both models: Triton's stub imports it, in a Python that it embeds."""

import os
import sys
from pathlib import Path
from typing import Any

# That Python looks at no PYTHONPATH.
sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)

import onnxruntime as ort  # noqa: E402
import triton_python_backend_utils as triton  # noqa: E402


class TritonPythonModel:
    """What Triton asks for the scores."""

    def initialize(self, args: dict[str, Any]) -> None:
        """Open the model that both are."""
        self.is_right = args["model_name"] == "digits"
        self.session = ort.InferenceSession(Path(os.environ["PEER_MODEL"]))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a batch of requests."""
        return [self._answer(triton.get_input_tensor_by_name(one, "image").as_numpy()) for one in requests]

    def _answer(self, image: Any) -> Any:
        (scores,) = self.session.run(None, {"image": image})
        return triton.InferenceResponse([triton.Tensor("output", scores if self.is_right else -scores)])
