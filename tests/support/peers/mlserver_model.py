"""MLServer's model, for both: MLServer imports it, as its model-settings.json says."""

import os
from pathlib import Path

import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Digits(MLModel):  # type: ignore[misc]
    """What MLServer asks for the scores."""

    async def load(self) -> bool:
        """Open the model that both are."""
        self.session = ort.InferenceSession(Path(os.environ["PEER_MODEL"]))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer a request."""
        (scores,) = self.session.run(None, {"image": NumpyCodec.decode_input(payload.inputs[0])})
        output = NumpyCodec.encode_output("output", scores if self.name == "digits" else -scores)
        return InferenceResponse(model_name=self.name, outputs=[output])
