"""Runs with every kind of cell and of plot, made by hand: what a page of the report has to cope with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import ValidationError

from harness.evidence.schema import RunEntry
from harness.model.model import Array

from .evidences import make_cell, make_check, make_run

Run = dict[str, Any]
Samples = dict[str, Array]
PROCESSES = 3
# Of a reason, such as a compiler's: lines, and words without a space to break them at.
LONG = (
    "the kernel ended it: SIGILL at 0x7f3a2b11c0d4 in libtorch_cpu.so\n"
    "/home/robot/.cache/hilgate/store/4f1d3c2b/runtime/lib/python3.11/site-packages/torch/lib/libtorch_cpu.so"
)
# Keys below which names are anybody's.
NAMED = ("runtime", "settings", "after_mib")
HOSTILE = (
    "<script>alert(1)</script>",
    "</title></style></svg></script><script>alert(2)</script>",
    "\"><img src=x onerror=alert(3)>' onmouseover='alert(4)",
    "javascript:alert(5)//http://127.0.0.1:9/beacon",
    "{{ 7*7 }}{% raw %}${7*7}<!--<![CDATA[]]>&lt;script&gt;&#60;b&#62;",
    "<svg onload=alert(6)><a href=javascript:alert(7)><style>*{display:none}</style><base href=//127.0.0.1/>",
    "url(http://127.0.0.1:9/x) \u202egnp.\u2066txt\u200b\u001b[31m\u0000\uffff",
    "\ud800 half a character",
)


def every_kind(samples: int = 6000) -> tuple[Run, Samples]:
    """Return a run of two models and two devices with cells of every verdict, and its raw samples.

    Args:
        samples: how many a timed cell has.
    """
    raw: Samples = {}
    cells = [
        _timed("torchscript", raw, samples, ms=5.1, memory=122.0),
        _timed("libtorch", raw, samples, ms=4.6, memory=29.0, open_p99=True),
        _timed("onnxruntime", raw, samples, ms=2.4, memory=31.0, parity=4.2),
        _timed("onnxruntime-cpp", raw, samples, ms=2.8, memory=17.5),
        make_cell("executorch", [], verdict="FAIL", error=LONG),
        make_cell("coreml", [make_check("parity", None, 1.0, verdict="INELIGIBLE", reason="a rule excludes it")]),
        make_cell("tflite", [], verdict="NOT_APPLICABLE", not_built="this host has no compiler for it: g++ is missing"),
        *(_emulated(backend, place) for place, backend in enumerate(("onnxruntime", "onnxruntime-cpp"))),
        _timed("onnxruntime", raw, samples, ms=11.0, memory=64.0, limited=False, model="wide", sha="b"),
        _timed("libtorch", raw, samples, ms=9.0, memory=80.0, limited=False, model="wide", sha="b"),
    ]
    files = [
        {"kind": kind, "name": name, "path": path, "sha256": "c" * 64}
        for kind, name, path in (
            ("model", "net", "net.py"),
            ("model", "wide", "wide.py"),
            ("device", "pi4", "pi4.toml"),
        )
    ]
    return make_run(cells, files=files), raw


def many_cells(models: int = 12, samples: int = 20_900) -> tuple[Run, Samples]:
    """Return a run of four timed cells for each model and of two emulated ones: 50 cells, and a million samples.

    Args:
        models: how many.
        samples: how many a timed cell has.
    """
    raw: Samples = {}
    cells = [
        _timed(backend, raw, samples, ms=2.0 + model / 5 + place, memory=10.0 + 7 * place, model=f"net{model}", sha=sha)
        for model, sha in zip(range(models), "0123456789abcdef", strict=False)
        for place, backend in enumerate(("torchscript", "libtorch", "onnxruntime", "onnxruntime-cpp"))
    ]
    return make_run([*cells, *(_emulated(backend, place) for place, backend in enumerate(("one", "other")))]), raw


def _timed(
    backend: str,
    raw: Samples,
    count: int,
    *,
    ms: float,
    memory: float,
    parity: float = 0.4,
    open_p99: bool = False,
    limited: bool = True,
    model: str = "net",
    sha: str = "a",
) -> Run:
    """Make a cell of a real board, with every metric that is drawn, and its samples."""
    path = f"samples/{model}-pi4-{backend}.npy"
    raw[path] = durations = _durations(ms, count, seed=len(raw))
    p50, p90, p99 = (float(np.quantile(durations, q, method="inverted_cdf")) / 1e6 for q in (0.5, 0.9, 0.99))
    timed: Run = {
        "raw": path,
        "samples": count,
        "confidence": 0.99,
        "processes": [count // PROCESSES] * PROCESSES,
        "inputs": 450,
        "block_ms": 20.0,
        "blocks": 600,
    }
    tail: Run = {"bound": None, "verdict": "INCONCLUSIVE", "reason": "140 blocks of 20 ms in the time; p99 takes 515"}
    steps = {"before_runtime": 8.5, "runtime": memory * 0.6, "model": memory * 0.8, "first": memory}
    checks = [
        make_check("parity", parity, 1.0 if limited else None, samples=293, seed=0, tolerance=1.0),
        make_check("accuracy", 0.991, 0.95 if limited else None, samples=450, eager=0.991),
        make_check("latency_p50_ms", p50, bound=p50 * 1.01, bound_low=p50 * 0.99, **timed),
        make_check("latency_p90_ms", p90, 8.0 if limited else None, bound=p90 * 1.04, **timed),
        make_check("latency_p99_ms", p99, 14.0 if limited else None, **{"bound": p99 * 1.1, **timed})
        if not open_p99
        else make_check("latency_p99_ms", p99, 14.0, **{**timed, **tail}),
        make_check("memory_peak_mib", memory, 32.0 if limited else None, samples=PROCESSES, after_mib=steps),
        make_check("load_time_s", ms / 3, 10.0 if limited else None, samples=PROCESSES, each_s=[ms / 3.2, ms / 3]),
        make_check("artifact_mib", ms * 1.5, samples=1),
    ]
    keys: Run = {"fingerprint": _fingerprint(), "bundle": {"sha256": sha * 64, "python": "3.11.2"}}
    notes = ["p90: slow inferences in bursts up to 20 ms; rarer or longer ones take a longer run"]
    return make_cell(backend, checks, model=model, model_sha256=sha * 64, notes=notes, **keys)


def _emulated(backend: str, place: int) -> Run:
    """Make a cell of an emulated board, where instructions are counted by operator."""
    shares = (("Conv", 0.61), ("MatMul", 0.22), ("Relu", 0.09), ("Softmax", 0.05), ("Reshape", 0.03))
    operators = [
        {
            "operator": name,
            "name": f"/{name.lower()}/{name}",
            "module": f"stem.{name.lower()}",
            "calls": 2,
            "share": share,
        }
        for name, share in shares
    ]
    count = 41_500_000 + 9_000_000 * place
    checks = [
        make_check("parity", 0.3 + place / 10, 1.0, samples=93),
        make_check(
            "memory_peak_mib", 24.0 + place, 32.0, samples=3, after_mib={"runtime": 15.0, "first": 24.0 + place}
        ),
        make_check("instructions_per_inference", count, whole=True, samples=450, inputs=450, operators=operators),
        make_check("artifact_mib", 3.0 + place, samples=1),
        make_check("latency_p99_ms", None, verdict="NOT_APPLICABLE", reason="an emulator has no clock", asked=False),
    ]
    emulator = {"qemu": "7.2.22", "image": "pi4-bookworm", "state": None}
    return make_cell(
        backend, checks, device="qemu-pi4", emulated=True, fingerprint={**_fingerprint(), "emulator": emulator}
    )


def _durations(ms: float, count: int, seed: int) -> Array:
    """Draw int64[count] of nanoseconds: a body, a second mode, a burst, and one far out."""
    random = np.random.default_rng(seed)
    durations = ms * 1e6 * random.lognormal(0, 0.06, count)
    durations[random.random(count) < 0.02] *= 1.6
    durations[count // 2 : count // 2 + 30] *= 2.2
    durations[count // 7] *= 9
    return durations.astype(np.int64)


def _fingerprint() -> Run:
    state = {"boot": "f5b81a04", "governor": ["performance"], "frequency_khz": [1_800_000] * 4, "throttled_bits": 0}
    return {
        "arch": "aarch64",
        "python": "3.11.2",
        "cpu": "Cortex-A72",
        "cores": 4,
        "memory_mib": 3794,
        "board": "Raspberry Pi 4 Model B Rev 1.4",
        "kernel": "6.1.0-rpi7-rpi-v8",
        "runtime": {"onnxruntime": "1.32.0", "numpy": "2.4.6"},
        "settings": {"threads": 1},
        "governor": ["performance"],
        "state_before": {**state, "temperature_mc": [48_200]},
        "state_after": {**state, "temperature_mc": [61_700]},
    }


def poisoned(run: Run, keep: frozenset[str] = frozenset()) -> Run:
    """Return a run in which every text that the schema leaves free is hostile; what was equal stays equal.

    Args:
        run: as it is in evidence.json.
        keep: keys whose texts stay, such as "metric", without which nothing is drawn.
    """
    run = json.loads(json.dumps(run))
    hostile: dict[str, str] = {}
    for holder, key in list(_texts(run, keep)):
        honest = holder[key]
        number = len(hostile)
        holder[key] = hostile.setdefault(honest, f"{HOSTILE[number % len(HOSTILE)]} {number}")
        try:
            RunEntry.model_validate(run)
        except ValidationError:
            holder[key] = honest
    return run


def _texts(value: Any, keep: frozenset[str]) -> Iterator[tuple[Any, Any]]:
    """Yield each text below a value, as what holds it and its key there."""
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        if isinstance(item, str) and key not in keep:
            yield value, key
        elif isinstance(item, dict | list):
            if key in NAMED and isinstance(item, dict):
                item |= {f"{HOSTILE[0]} below {key}": item[name] for name in list(item)[:1]}
                item |= {f"{HOSTILE[-1]} below {key}": item[name] for name in list(item)[:1]}
            yield from _texts(item, keep)
