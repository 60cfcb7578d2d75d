"""`hilgate serve` as a process on loopback, asked by raw http.client and by sockets that do not keep to the rules."""

import contextlib
import http.client
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.errors import InputError
from harness.serving import sockets
from harness.serving.limits import ServingLimits
from tests.support.oip import HEADER, TRITON, floats, in_binary, in_json
from tests.support.processes import descendants

HILGATE = [sys.executable, "-c", "from harness.cli import main; main()"]
STARTED_S = 120.0
# y is 2 x; an x of exactly -77 ends the process, and one of s + 1000 takes s seconds longer.
MODEL = """
    import torch
    from harness import Input, Model


    class Net(torch.nn.Module):
        def forward(self, x):
            return 2 * x


    model = Model(
        build=lambda: Net().eval(),
        inputs=[Input("x", shape=("batch", 2), min_value=-1.0, max_value=1.0)],
        dims={"batch": (1, 64)},
        name="net",
    )
"""
BACKEND = '''
    """doubling: what the tests serve: it doubles, waits, refuses or dies as its input says."""

    import os
    import time

    ARTIFACT = "torchscript"
    PACKAGES = ("numpy",)
    OPTIONS = {}


    def preload():
        import numpy  # noqa: F401


    class Engine:
        def __init__(self, settings, options):
            pass

        def load(self, artifact):
            pass

        def prepare(self, inputs):
            (array,) = inputs.values()
            return array

        def run(self, prepared):
            first = float(prepared.flat[0])
            if first == -77:
                os.kill(os.getpid(), 9)
            if first == -78:
                raise ValueError("no such input")
            if first > 1000:
                time.sleep(first - 1000)
            return prepared * 2

        def arrays(self, raw):
            return raw

        def profile(self, take, count):
            return []

        def output_names(self):
            return ["y"]

        def versions(self):
            return {}

        def settings(self):
            return {"threads": 1, "interop_threads": 1}
'''


@dataclass
class Server:
    """A running `hilgate serve`."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    port: int = 0

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()

    def infer(self, *values: float) -> tuple[int, dict[str, Any]]:
        status, _, body = self.ask("POST", "/v2/models/net/infer", in_json(values, [len(values) // 2, 2]))
        return status, json.loads(body)

    def raw(self, sent: bytes, *, wait_s: float = 20.0) -> bytes:
        """Send bytes, and return all that comes until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait_s) as made:
            found = bytearray()
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # it need not read all of it
                made.sendall(sent)
            with contextlib.suppress(ConnectionResetError):
                while part := made.recv(1 << 16):
                    found += part
            return bytes(found)

    def agents(self) -> list[int]:
        """The agent processes of this server."""
        found = []
        for process in descendants(self.process.pid):
            with contextlib.suppress(OSError):
                if b"-m\0agent\0" in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                    found.append(process.pid)
        return found


@pytest.fixture(scope="module")
def project(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the model, and the backend as a plug-in."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "plugins" / "backends").mkdir(parents=True)
    (folder / "pytest.ini").write_text("[pytest]\nhil_plugins = plugins\n")
    (folder / "net.py").write_text(textwrap.dedent(MODEL))
    (folder / "plugins" / "backends" / "doubling.py").write_text(textwrap.dedent(BACKEND))
    return folder


@contextlib.contextmanager
def serving(folder: Path, *words: str, model: str = "net.py", backend: str = "doubling") -> Iterator[Server]:
    """Start the command in a project."""
    command = [*HILGATE, "serve", model, "--backend", backend, "--port", "0", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    ) as process:
        server = Server(process)
        readers = [
            threading.Thread(target=lambda: server.said.extend(iter(process.stdout.readline, ""))),  # type: ignore[union-attr]
            threading.Thread(target=lambda: server.told.extend(iter(process.stderr.readline, ""))),  # type: ignore[union-attr]
        ]
        for reader in readers:
            reader.start()
        try:
            eventually(lambda: any("model = " in line for line in server.said) or process.poll() is not None, STARTED_S)
            found = re.search(r"at http://127\.0\.0\.1:(\d+)", "".join(server.said))
            assert found is not None, "".join(server.told)
            server.port = int(found[1])
            yield server
        finally:
            process.kill()
            for reader in readers:
                reader.join()


def eventually(is_so: Callable[[], bool], limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[Server]:
    with serving(project, "--max-request-bytes", "100000") as made:
        yield made


def test_it_says_what_it_serves_where_and_how_to_name_it(server: Server) -> None:
    said = "".join(server.said)
    assert f"serving net with doubling at http://127.0.0.1:{server.port}" in said
    assert "this machine only" in said
    assert "endpoints/net.toml" in said
    assert f'url = "http://127.0.0.1:{server.port}"' in said


def test_it_tells_what_it_is_and_that_it_is_ready(server: Server) -> None:
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/net/ready", "/ping"):
        assert server.ask("GET", path)[0] == 200
    found = json.loads(server.ask("GET", "/v2/models/net")[2])
    assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert found["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]


def test_json_binary_and_invocations_answer_alike(server: Server) -> None:
    status, found = server.infer(1, 2, 3, 4)
    assert status == 200
    assert found["outputs"][0]["data"] == [2, 4, 6, 8]
    body, size = in_binary([1, 2, 3, 4], [2, 2])
    status, headers, answer = server.ask("POST", "/v2/models/net/infer", body, {HEADER: str(size)})
    assert status == 200
    assert floats(answer, int(headers[HEADER.lower()])) == [2, 4, 6, 8]
    status, headers, answer = server.ask("POST", "/invocations", body, {"Content-Type": f"{TRITON}{size}"})
    assert status == 200
    assert floats(answer, int(headers["content-type"].rpartition("=")[2])) == [2, 4, 6, 8]


def test_32_callers_at_once_lose_nothing_and_keep_their_order(server: Server) -> None:
    wrong: list[str] = []

    def call(caller: int) -> None:
        with contextlib.closing(server.connect()) as connection:
            for number in range(40):
                name = f"{caller}-{number}"
                values = [caller, number]
                body, size = in_binary(values, [1, 2], id=name)
                connection.request("POST", "/v2/models/net/infer", body, {HEADER: str(size)})
                response = connection.getresponse()
                answer = response.read()
                header_bytes = int(response.getheader(HEADER) or 0)
                is_own = json.loads(answer[:header_bytes]).get("id") == name
                if not is_own or floats(answer, header_bytes) != [2 * value for value in values]:
                    wrong.append(name)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_caller_that_does_not_wait_gets_its_answers_in_its_order(server: Server) -> None:
    """Pipelined: several requests on one connection before the first answer."""
    requests = []
    for number in range(8):
        body = in_json([number, 0], [1, 2], id=str(number))
        last = "Connection: close\r\n" if number == 7 else ""
        head = f"POST /v2/models/net/infer HTTP/1.1\r\nHost: a\r\n{last}Content-Length: {len(body)}\r\n\r\n"
        requests.append(head.encode() + body)
    answers = server.raw(b"".join(requests)).decode()
    assert re.findall(r'"id": "(\d)"', answers) == [str(number) for number in range(8)]


MALFORMED = {
    "nothing": (b"\r\n\r\n\r\n", 400),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "no host": (b"GET /v2 HTTP/1.1\r\n\r\n", 400),
    "long headers": (b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n", 400),
    "many headers": (b"GET /v2 HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 200_000 + b"\r\n", 400),
    "a length that is none": (b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
    "a negative length": (b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    "two lengths": (b"POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "an enormous length": (
        b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        413,
    ),
    "a chunk that is none": (
        b"POST /invocations HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        400,
    ),
    "another transfer": (b"POST /ping HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_request_is_refused_and_the_next_is_served(server: Server, name: str) -> None:
    sent, status = MALFORMED[name]
    answer = server.raw(sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert "error" in json.loads(body)
    assert server.infer(1, 2)[0] == 200


def test_a_request_that_is_too_large_is_told_so_however_it_comes(server: Server) -> None:
    status, _, body = server.ask("POST", "/v2/models/net/infer", bytes(3_000_000))
    assert status == 413
    assert "100000" in json.loads(body)["error"]
    with contextlib.closing(server.connect()) as connection:
        connection.request("POST", "/v2/models/net/infer", iter([bytes(50_000)] * 5), encode_chunked=True)
        assert connection.getresponse().status == 413
    assert server.infer(1, 2)[0] == 200


def test_inputs_that_the_model_refuses_are_told_and_end_nothing(server: Server) -> None:
    before = server.agents()
    status, found = server.infer(-78, 0)
    assert status == 400
    assert "no such input" in found["error"]
    assert server.infer(1, 2)[0] == 200
    assert server.agents() == before


def test_one_who_stalls_keeps_nobody_waiting(server: Server) -> None:
    head = b"POST /v2/models/net/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for sent in (b"", b"GET /v2 HT", head, head + bytes(80_000)) * 10:
            made = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            made.sendall(sent)
        start = time.monotonic()
        assert server.infer(1, 2)[0] == 200
        assert time.monotonic() - start < 5


def test_more_connections_than_there_is_room_for_are_told_so(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(ServingLimits().connections):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        eventually(lambda: b"503" in server.raw(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n", wait_s=5)[:20])
    eventually(lambda: server.ask("GET", "/ping")[0] == 200)


def test_a_process_that_dies_is_told_and_started_again_three_times(project: Path) -> None:
    with serving(project) as server:
        for left in (2, 1, 0):
            (before,) = server.agents()
            status, found = server.infer(-77, 0)
            assert status == 503
            assert "has ended" in found["error"]
            eventually(lambda: server.ask("GET", "/ping")[0] == 200)
            assert server.agents() != [before]
            assert server.infer(1, 2)[0] == 200
            eventually(lambda left=left: any(f"{left} times more" in line for line in server.told))  # type: ignore[misc]
        assert server.infer(-77, 0)[0] == 503
        eventually(lambda: server.agents() == [])
        status, found = server.infer(1, 2)
        assert status == 503
        assert "is not any more" in found["error"]
        assert server.ask("GET", "/ping")[0] == 503
        assert server.ask("GET", "/v2/health/live")[0] == 200
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0


def test_a_second_server_has_a_store_of_its_own_and_sigterm_lets_its_inference_finish_and_takes_no_new_one(
    server: Server, project: Path
) -> None:
    with serving(project) as second:
        assert second.infer(1, 2)[0] == 200
        assert server.infer(1, 2)[0] == 200
        found: list[tuple[int, dict[str, Any]]] = []
        caller = threading.Thread(target=lambda: found.append(second.infer(1003, 0)))
        caller.start()
        time.sleep(1)
        agents = second.agents()
        second.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(ConnectionRefusedError):
            second.infer(1, 2)
        caller.join()
        assert found[0][0] == 200
        assert found[0][1]["outputs"][0]["data"] == [2006, 0]
        assert second.process.wait(20) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in agents)
    assert server.infer(1, 2)[0] == 200


@pytest.mark.slow
def test_what_hangs_is_not_waited_for(project: Path) -> None:
    with serving(project) as server:
        agents = server.agents()
        body = in_json([1059, 0], [1, 2])
        head = f"POST /v2/models/net/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", server.port)) as made:
            made.sendall(head + body)
            time.sleep(0.5)
            start = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(60) == 0
        assert 20 < time.monotonic() - start < 30  # a container is killed after 30 s
        assert not any(Path(f"/proc/{pid}").exists() for pid in agents)


def test_a_signal_before_anything_is_served_ends_it(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "slow.py").write_text("import time\n\nprint('here', flush=True)\ntime.sleep(60)\n")
    command = [*HILGATE, "serve", "slow.py", "--backend", "onnxruntime", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        eventually(lambda: descendants(process.pid) != [], 60)
        time.sleep(1)
        below = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        eventually(lambda: not any(Path(f"/proc/{each.pid}").exists() for each in below))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["net.py", "--backend", "onnxruntime", "--bind", "somewhere"], "this is no address"),
        (["net.py", "--backend", "onnxruntime", "--bind", "203.0.113.1"], "no address of this machine"),
        (["net.py", "--backend", "nothing"], "no such backend"),
        (["nothing.py", "--backend", "onnxruntime"], "no such model file"),
        (["net.py", "--backend", "onnxruntime", "--device", "qemu-pi4"], "served by this machine"),
    ],
)
def test_what_cannot_be_served_is_told_in_words(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    (tmp_path / "net.py").write_text(textwrap.dedent(MODEL))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["serve", *words] + ([] if "--bind" in words else ["--port", "0"]))
    assert done.exit_code == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_told_before_anything_is_built(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.py").write_text("raise SystemExit('it was built')\n")
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(cli, ["serve", "net.py", "--backend", "onnxruntime", "--port", str(port)])
    assert done.exit_code == 1
    assert f"port {port} is in use" in done.stderr
    assert f"--port {port + 1}" in done.stderr


def test_two_that_bound_the_same_port_do_not_both_listen() -> None:
    with contextlib.closing(sockets.bind("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with contextlib.closing(sockets.bind("127.0.0.1", port)) as second:
            sockets.listen(first)
            with pytest.raises(InputError, match="in use"):
                sockets.listen(second)


def test_answers_do_not_wait_for_acknowledgements(server: Server) -> None:
    """Of the parts of an answer, the second waits 40 ms for the first one's ACK where TCP_NODELAY is not set."""
    body, size = in_binary([1, 2], [1, 2])
    durations = []
    with contextlib.closing(server.connect()) as connection:
        for _ in range(50):
            start = time.perf_counter()
            connection.request("POST", "/v2/models/net/infer", body, {HEADER: str(size)})
            connection.getresponse().read()
            durations.append(time.perf_counter() - start)
    assert sorted(durations)[10] < 0.03


def test_a_connection_can_be_cut_in_the_middle_of_everything(server: Server) -> None:
    body = in_json([1, 2], [1, 2])
    whole = f"POST /v2/models/net/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    for cut in range(1, len(whole) + 1, 7):
        with socket.create_connection(("127.0.0.1", server.port)) as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            made.sendall(whole[:cut])
    assert server.infer(1, 2)[0] == 200
    assert not any("Traceback" in line for line in server.told)
