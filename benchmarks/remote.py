"""The client of SageMaker's endpoints, over TLS on loopback ÷ boto3: CPU time, memory; and how late late calls end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from harness.agent.remote.failure import LATE, CallFailed
from tests.support.certificates import Authority

from .support import remote_callers, remote_server
from .support.interleave import Block, interleave, median_of, ratios
from .support.row import RATIO, Aim, Options, Row, ratio_row

# Bytes of a request's tensor: digits, and 1×3×224×224 of float32.
SIZES = {256: Aim(0.5), 602_112: Aim(0.8)}
MEMORY_AIM, LATE_AIM = Aim(0.85), Aim(1.05)
ROUNDS, CALLS = 15, 100
MEMORY_CALLS, MEMORY_ROUNDS = 50, 3
TIMEOUT_S, TIMES, QUICK_TIMES = 1.0, 20, 4
BOTOCORES_FAULT, BOTOCORES_MOST_S = "trickled slowly", 20.0
FAULTS = (
    "no connection",
    "no handshake",
    "stalled upload",
    "silence",
    "half a head",
    "trickled head",
    "endless 100s",
    "no body",
    "trickled body",
    "trickled chunks",
    "half a chunk",
    "trickled frames",
)
UPLOAD_BYTES = 50 << 20


def run(options: Options) -> Iterator[Row]:
    """CPU time of a call, peak of memory, and the longest of calls that are cut off."""
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as (ports, ca_file):
        url, ca = f"https://127.0.0.1:{ports[0]}", ca_file.read_text()
        for size, aim in SIZES.items():
            yield _cpu(url, ca, ca_file, size, aim)
        yield _memory(url, ca_file)
        yield _late(ports, ca, QUICK_TIMES if options.quick else TIMES)
        if not options.quick:
            yield _botocores(url, ca_file)


def _cpu(url: str, ca: str, ca_file: Path, size: int, aim: Aim) -> Row:
    """Compare the CPU time of all threads."""
    array = np.linspace(0, 1, size // 4, dtype=np.float32).reshape(1, -1)
    own, boto3 = remote_callers.own(url, ca), remote_callers.boto3(url, ca, str(ca_file))
    for call in (own, boto3):
        np.testing.assert_array_equal(call(array), array)
    mine, theirs = interleave(ROUNDS, _spent(own, array), _spent(boto3, array))
    best = min(min(block) for block in mine) / min(min(block) for block in theirs)
    details = {"own_ms": median_of(mine) / 1e6, "boto3_ms": median_of(theirs) / 1e6, "of_minima": best}
    against = f"boto3: {median_of(theirs) / 1e6:.2f} ms; the rounds' {min(ratios(mine, theirs)):.2f} … "
    against += f"{max(ratios(mine, theirs)):.2f}"
    return ratio_row(f"CPU time of a call, {size} B", mine, theirs, against, aim, details)


def _spent(call: remote_callers.Caller, array: remote_callers.Array) -> Callable[[], Block]:
    def block() -> Block:
        start = time.process_time_ns()
        for _ in range(CALLS):
            call(array)
        return [(time.process_time_ns() - start) / CALLS]

    return block


def _memory(url: str, ca_file: Path) -> Row:
    """Compare the peaks of fresh processes that call with a picture; both have numpy, which makes the arrays."""
    peaks: dict[str, list[float]] = {"own": [], "boto3": []}
    imports: dict[str, list[float]] = {"own": [], "boto3": []}
    for _ in range(MEMORY_ROUNDS):
        for kind, found in peaks.items():
            module = remote_callers.__name__
            words = [sys.executable, "-m", module, kind, url, str(ca_file), str(max(SIZES)), str(MEMORY_CALLS)]
            done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
            peak, took = map(float, done.stdout.split())
            found.append(peak / 1024)
            imports[kind].append(took)
    least = {kind: min(found) for kind, found in peaks.items()}
    details = {
        "own_mib": least["own"],
        "boto3_mib": least["boto3"],
        "import_s": {k: min(v) for k, v in imports.items()},
    }
    against = f"boto3: {least['boto3']:.0f} MiB, both with numpy"
    return Row("peak of the client's process", least["own"] / least["boto3"], RATIO, against, MEMORY_AIM, details)


def _late(ports: list[int], ca: str, times: int) -> Row:
    """Call with each fault, all of them beside each other; a call is mostly waiting."""
    longest: dict[str, float] = {}
    wrong: list[str] = []

    def call(fault: str) -> None:
        port = {"no handshake": ports[1], "no connection": ports[2]}.get(fault, ports[0])
        how: dict[str, Any] = {"timeout_s": TIMEOUT_S, "stream": "frames" in fault}
        client = remote_callers.client_of(f"https://127.0.0.1:{port}", ca, fault.replace(" ", "-"), **how)
        array = np.zeros((1, (UPLOAD_BYTES if fault == "stalled upload" else 256) // 4), np.float32)
        for _ in range(times):
            start = time.monotonic()
            try:
                client.infer([array])
                wrong.append(f"{fault}: answered")
            except CallFailed as error:
                if error.kind != LATE:
                    wrong.append(f"{fault}: {error}")
            longest[fault] = max(longest.get(fault, 0.0), time.monotonic() - start)
        client.close()

    threads = [threading.Thread(target=call, args=(fault,)) for fault in FAULTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise AssertionError(wrong[0])
    worst = max(longest, key=lambda fault: longest[fault])
    what = f"longest call ÷ timeout_ms, {len(FAULTS)} faults × {times}"
    details = {fault: longest[fault] / TIMEOUT_S for fault in FAULTS}
    return Row(
        what, longest[worst] / TIMEOUT_S, RATIO, f"timeout_ms = {TIMEOUT_S * 1000:g}; {worst}", LATE_AIM, details
    )


def _botocores(url: str, ca_file: Path) -> Row:
    """Show what botocore's read_timeout bounds, with an answer of a byte each 0.8 s; it has no end, and is left."""
    runtime = remote_callers.runtime_of(url, str(ca_file), TIMEOUT_S)
    done = threading.Event()

    def call() -> None:
        name = BOTOCORES_FAULT.replace(" ", "-")
        with contextlib.suppress(Exception):  # however it ends
            runtime.invoke_endpoint(EndpointName=name, Body=b"{}", ContentType="application/json")["Body"].read()
        done.set()

    start = time.monotonic()
    threading.Thread(target=call, daemon=True).start()
    done.wait(BOTOCORES_MOST_S)
    ratio = (time.monotonic() - start) / TIMEOUT_S
    return Row("the same of boto3, an answer trickled slowly", ratio, RATIO, f"stopped at {BOTOCORES_MOST_S:g} s")


@contextmanager
def _server(folder: Path) -> Iterator[tuple[list[int], Path]]:
    authority = Authority(folder)
    authority.server()
    (chain,) = folder.glob("*.pem")
    ca_file = folder / "ca.crt"
    ca_file.write_text(authority.pem)
    command = [sys.executable, str(remote_server.__file__), str(chain)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield [int(port) for port in (process.stdout.readline() if process.stdout else "").split()], ca_file
        finally:
            process.kill()
