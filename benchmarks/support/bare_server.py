"""A program: ONNX Runtime's session behind uvicorn and starlette, and nothing else.

Usage: python bare_server.py ARTIFACT SHAPE, such as 1,1,8,8. It writes its port on a line of stdout. It takes requests
of the Open Inference Protocol with one float32 input of that shape in binary, looks at none of what they say, and
answers with bare elements.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

import numpy as np
import onnxruntime as ort
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def main() -> None:
    """Serve until killed."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session: Any = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    name, shape = session.get_inputs()[0].name, tuple(map(int, sys.argv[2].split(",")))

    async def infer(request: Request) -> Response:
        body = await request.body()
        start = int(request.headers["inference-header-content-length"])
        image = np.frombuffer(body, np.float32, offset=start).reshape(shape)
        return Response(session.run(None, {name: image})[0].tobytes())

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    print(listening.getsockname()[1], flush=True)
    app = Starlette(routes=[Route("/v2/models/{name}/infer", infer, methods=["POST"])])
    uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, timeout_keep_alive=600)).run(
        sockets=[listening]
    )


if __name__ == "__main__":
    main()
