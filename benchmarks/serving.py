"""`hilgate serve` over plain HTTP: p50 against bare uvicorn + starlette and against Triton, 32 callers against one.

And the emulated service: 602 112 bytes, signed, over TLS and verified, against the bare server.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from harness.agent.remote.credentials import Wallet
from harness.agent.remote.description import read_endpoint
from harness.agent.remote.sagemaker import SageMakerClient
from harness.export import export_artifact
from harness.host.cache import cache_folder
from harness.measure import known_metrics
from harness.model.model_file import ModelFile
from harness.model.process import build_hosted, read_hosted
from harness.serving.service.settings import ServiceSettings
from harness.serving.service.starting import RunningService, ServiceRequest
from tests.support.peers.installing import TRITON
from tests.support.peers.serving import running

from .support import bare_server
from .support.deploy import EXAMPLES, MODELS, prepare
from .support.interleave import interleave, median_of, median_ratio, timed
from .support.row import RATIO, Aim, Options, Row

P50_AIM, TRITON_AIM, SIGNED_AIM = Aim(2.5), Aim(0.5), Aim(4.0)
RATE_AIM = Aim(float("inf"), low=0.9)
CALLS, ROUNDS = 200, 15
SIGNED_CALLS = 50
CALLERS = 32
STARTED_S = 120.0
DIGITS, IMAGE = (1, 1, 8, 8), (1, 3, 224, 224)
SCORES_BYTES = 40

Ask = Callable[[], bytes]


def run(options: Options) -> Iterator[Row]:
    """Both of digits with ONNX Runtime, in binary."""
    with _served() as port:
        with _bare() as bare_port:
            yield _p50(port, bare_port)
        with tempfile.TemporaryDirectory() as folder:
            model = prepare("digits", "onnxruntime").artifact
            with running(TRITON, model, cache_folder(), Path(folder)) as triton:
                yield _against_triton(port, triton.port)
        yield _rate(port, 5.0 if options.quick else 60.0)
    with _emulated() as call, _bare("image", IMAGE) as bare_port:
        yield _signed(call, bare_port)


def _p50(port: int, bare_port: int) -> Row:
    served, bare = _caller(port), _caller(bare_port)
    if not served().endswith(bare()):
        raise AssertionError("the two servers answer differently")
    own, other = interleave(ROUNDS, timed(served, CALLS), timed(bare, CALLS))
    against = f"bare uvicorn + starlette, the same session: {median_of(other) / 1e6:.2f} ms"
    details = {"served_ms": median_of(own) / 1e6, "bare_ms": median_of(other) / 1e6, "samples": CALLS * ROUNDS}
    return Row("p50 of the served model, plain HTTP", median_ratio(own, other), RATIO, against, P50_AIM, details)


def _against_triton(port: int, triton_port: int) -> Row:
    """Compare with Triton's program and its backend of models in Python, which calls ONNX Runtime."""
    served, triton = _caller(port), _caller(triton_port)
    scores, others = (np.frombuffer(ask()[-SCORES_BYTES:], "<f4") for ask in (served, triton))
    if np.abs(scores - others).max() > 1e-4:
        raise AssertionError("the two servers answer differently")
    own, other = interleave(ROUNDS, timed(served, CALLS), timed(triton, CALLS))
    against = f"Triton 2.51 of nvidia-pytriton's wheel, its Python backend: {median_of(other) / 1e6:.2f} ms"
    details = {"served_ms": median_of(own) / 1e6, "triton_ms": median_of(other) / 1e6, "samples": CALLS * ROUNDS}
    return Row("p50 of the served model, plain HTTP", median_ratio(own, other), RATIO, against, TRITON_AIM, details)


def _signed(call: Ask, bare_port: int) -> Row:
    bare = _caller(bare_port, "image", IMAGE)
    if call() != bare():
        raise AssertionError("the two servers answer differently")
    own, other = interleave(ROUNDS, timed(call, SIGNED_CALLS), timed(bare, SIGNED_CALLS))
    against = f"bare uvicorn + starlette, plain HTTP, the same session: {median_of(other) / 1e6:.2f} ms"
    details = {"signed_ms": median_of(own) / 1e6, "bare_ms": median_of(other) / 1e6, "samples": SIGNED_CALLS * ROUNDS}
    what = "signed, and verified by the emulated service, 602 112 B"
    return Row(what, median_ratio(own, other), RATIO, against, SIGNED_AIM, details)


def _rate(port: int, seconds: float) -> Row:
    """Compare rates in turns, so many seconds of each: one caller, then all; each answer must be its own request's."""
    turns = 4
    ones, manys, lost = [], [], 0
    for _ in range(turns):
        count, missed = _answered(port, 1, seconds / turns)
        ones.append(count)
        lost += missed
        count, missed = _answered(port, CALLERS, seconds / turns)
        manys.append(count)
        lost += missed
    if lost:
        raise AssertionError(f"{lost} answers were lost, or another request's")
    ratio = float(np.median([many / one for one, many in zip(ones, manys, strict=True)]))
    against = f"one caller: {np.median(ones):.0f}/s; nothing lost, order kept"
    return Row(f"{CALLERS} callers at once: their rate", ratio, RATIO, against, RATE_AIM, {"one": ones, "many": manys})


def _answered(port: int, callers: int, seconds: float) -> tuple[float, int]:
    """Return answers per second, and how many were not those of their requests."""
    counts, missed = [0] * callers, [0] * callers
    end = time.monotonic() + seconds

    def call(index: int) -> None:
        ask, number = _numbered(port), 0
        while time.monotonic() < end:
            name = f"{index}-{number}"
            missed[index] += ask(name) != name
            number += 1
        counts[index] = number

    threads = [threading.Thread(target=call, args=(index,)) for index in range(callers)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - start), sum(missed)


def _image(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.linspace(0, 1, int(np.prod(shape)), dtype="<f4").reshape(shape)


def _request(name: str = "", shape: tuple[int, ...] = DIGITS) -> tuple[bytes, dict[str, str]]:
    image = _image(shape)
    tensor = {"name": "image", "datatype": "FP32", "shape": shape, "parameters": {"binary_data_size": image.nbytes}}
    named = {"id": name} if name else {}
    head = json.dumps({**named, "inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + image.tobytes(), {"Inference-Header-Content-Length": str(len(head))}


def _caller(port: int, model: str = "digits", shape: tuple[int, ...] = DIGITS) -> Ask:
    connection, (body, headers) = http.client.HTTPConnection("127.0.0.1", port), _request(shape=shape)

    def ask() -> bytes:
        connection.request("POST", f"/v2/models/{model}/infer", body, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != http.HTTPStatus.OK:
            raise AssertionError(answer)
        return answer

    return ask


def _numbered(port: int) -> Callable[[str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(name: str) -> str:
        connection.request("POST", "/v2/models/digits/infer", *_request(name))
        answer = connection.getresponse().read()
        return str(json.loads(answer[: answer.index(b"}]}") + 3]).get("id"))

    return ask


@contextmanager
def _served() -> Iterator[int]:
    serve = "from harness.cli import main; main()"
    words = ["serve", str(EXAMPLES / "digits.py"), "--backend", "onnxruntime", "--port", "0"]
    with _program([sys.executable, "-c", serve, *words], re.compile(r"at http://[\d.]+:(\d+)")) as port:
        yield port


@contextmanager
def _bare(model: str = "digits", shape: tuple[int, ...] = DIGITS) -> Iterator[int]:
    words = [bare_server.__file__, str(prepare(model, "onnxruntime").artifact), ",".join(map(str, shape))]
    with _program([sys.executable, *words], re.compile(r"^(\d+)$")) as port:
        yield port


@contextmanager
def _emulated() -> Iterator[Ask]:
    """Start the emulated service of the image model; hand out a call of hilgate's own client, which signs it."""
    metrics = [*known_metrics().values()]
    file = read_hosted(MODELS / "image.py", metrics)
    with contextlib.closing(file.process):
        artifact = export_artifact(build_hosted(file), "onnx")
    read = ModelFile(file.path, file.model, file.limits)
    device = prepare("image", "onnxruntime").cell.device
    settings = ServiceSettings(endpoint="image")
    service = RunningService.start(
        ServiceRequest(artifact=artifact, file=read, device=device, backend="onnxruntime", settings=settings)
    )
    with contextlib.closing(service):
        named = {"url": service.url, "ca": service.authority, "endpoint": "e", "endpoint_name": "image", "model": ""}
        inputs = [{"name": "image", "dtype": "float32", "shape": list(IMAGE)}]
        kind = {"schema": 1, "protocol": "sagemaker", "region": settings.region, "timeout_ms": 10_000}
        wallet = Wallet()
        wallet.put(service.credentials())
        client = SageMakerClient(read_endpoint({**kind, **named, "inputs": inputs, "outputs": []}, "sagemaker"), wallet)
        client.open()
        image = _image(IMAGE)

        def call() -> bytes:
            return client.infer([image])[0].tobytes()

        yield call
        client.close()


@contextmanager
def _program(command: Sequence[str], port: re.Pattern[str]) -> Iterator[int]:
    """Start a server, and hand out the port that it says on its stdout."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(STARTED_S, process.kill)
        watchdog.start()
        try:
            found = port.search(process.stdout.readline() if process.stdout else "")
            watchdog.cancel()
            if found is None:
                raise AssertionError(f"{command[1]} did not say where it listens")
            yield int(found[1])
        finally:
            watchdog.cancel()
            process.send_signal(signal.SIGTERM)
