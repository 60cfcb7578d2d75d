"""A program: KServe with both models, on loopback, at the port that is its argument."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.protocol.rest.server import RESTServer


class Digits(Model):  # type: ignore[misc]
    """What KServe asks for the scores."""

    def __init__(self, name: str) -> None:
        """Open the model that both are."""
        super().__init__(name)
        self.session = ort.InferenceSession(Path(os.environ["PEER_MODEL"]))
        self.ready = True

    async def get_input_types(self) -> list[dict[str, Any]]:
        """Describe the input, for the metadata."""
        return [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]

    async def get_output_types(self) -> list[dict[str, Any]]:
        """Describe the output, for the metadata."""
        return [{"name": "output", "datatype": "FP32", "shape": [-1, 10]}]

    def predict(self, payload: InferRequest, headers: Any = None, response_headers: Any = None) -> InferResponse:
        """Answer a request."""
        (scores,) = self.session.run(None, {"image": payload.get_input_by_name("image").as_numpy()})
        output = InferOutput("output", list(scores.shape), "FP32")
        output.set_data_from_numpy(scores if self.name == "digits" else -scores)
        return InferResponse(
            payload.id or "1",
            self.name,
            [output],
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )


def main() -> None:
    """Serve until killed."""
    server = ModelServer(enable_grpc=False)
    for name in ("digits", "wrong"):
        server.register_model(Digits(name))
    # KServe itself listens at every address of the machine.
    listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    rest = RESTServer("kserve.model_server:app", server.dataplane, server.model_repository_extension, 0)
    rest.run([listening])


if __name__ == "__main__":
    main()
