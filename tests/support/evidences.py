"""Evidence made by hand, for tests of what reads it: cells, checks and raw samples whose right reading is known."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.evidence.schema import RunEntry
from harness.model.model import Array

UNITS = {
    "latency_p50_ms": "ms",
    "latency_p90_ms": "ms",
    "latency_p99_ms": "ms",
    "memory_peak_mib": "MiB",
    "energy_per_inference_mj": "mJ",
    "load_time_s": "s",
    "artifact_mib": "MiB",
}


def make_check(metric: str, value: float | None, limit: float | None = None, **keys: Any) -> dict[str, Any]:
    """Make a check whose verdict follows from its numbers; the bound is the value unless it is given.

    Args:
        metric: its name; accuracy and what ends with _min are better when higher.
        value: the estimate.
        limit: the limit, if there is one.
        keys: further keys, or other values of those.
    """
    better = "higher" if metric in ("accuracy", "availability") else "lower"
    bound = keys.get("bound", value)
    if limit is None:
        verdict = "MEASURED" if value is not None else "INCONCLUSIVE"
    elif bound is None:
        verdict = "INCONCLUSIVE"
    else:
        verdict = "PASS" if (bound <= limit if better == "lower" else bound >= limit) else "FAIL"
    check = {
        "metric": metric,
        "value": value,
        "unit": UNITS.get(metric, ""),
        "limit": limit,
        "limit_source": None if limit is None else "net.py: limits",
        "confidence": None,
        "bound": bound,
        "bound_low": None,
        "samples": 1000,
        "raw": None,
        "raw_sha256": None,
        "better": better,
        "verdict": verdict,
        "reason": "" if verdict in ("PASS", "MEASURED") else f"wanted {limit}; found {bound}",
    }
    return {**check, **keys}


def make_cell(backend: str, checks: Sequence[Mapping[str, Any]], **keys: Any) -> dict[str, Any]:
    """Make a cell of the model ``net`` on the device ``pi4``; its verdict is the worst of its checks'."""
    verdicts = [check["verdict"] for check in checks]
    order = ("FAIL", "INCONCLUSIVE", "INELIGIBLE", "PASS", "MEASURED")
    cell = {
        "model": "net",
        "device": "pi4",
        "backend": backend,
        "emulated": False,
        "model_sha256": "a" * 64,
        "verdict": next((verdict for verdict in order if verdict in verdicts), "INCONCLUSIVE"),
        "error": None,
        "not_built": None,
        "fingerprint": None,
        "artifact": None,
        "bundle": None,
        "instructions": None,
        "measure": {},
        "unfinished": [],
        "notes": [],
        "checks": [dict(check) for check in checks],
    }
    return {**cell, **keys}


def make_run(cells: Sequence[Mapping[str, Any]], **keys: Any) -> dict[str, Any]:
    """Make a whole evidence.json, as JSON has it; its verdict is the worst of its cells'."""
    verdicts = [cell["verdict"] for cell in cells]
    order = ("FAIL", "INCONCLUSIVE", "INELIGIBLE", "PASS", "MEASURED")
    run = {
        "schema": 1,
        "tool": "hilgate 0.1.0",
        "started": "2026-11-27T10:00:00Z",
        "finished": "2026-11-27T10:05:00Z",
        "commit": "1" * 40,
        "verdict": next((verdict for verdict in order if verdict in verdicts), "INCONCLUSIVE"),
        "asked": {"time_limit_s": 300.0, "seed": 0, "selected": None, "narrowed": False},
        "harness": {"device_s": 10.0, "harness_s": 5.0, "export_s": 1.0},
        "files": [],
        "cells": [dict(cell) for cell in cells],
        "decision": [],
    }
    return {**run, **keys}


def read(run: Mapping[str, Any]) -> RunEntry:
    """Return a run as its types."""
    return RunEntry.model_validate(json.loads(json.dumps(run)))


def write(folder: Path, run: Mapping[str, Any], samples: Mapping[str, Array] | None = None) -> Path:
    """Write evidence.json and raw samples; every check that names one of them under ``raw`` gets its hash.

    Args:
        folder: it is made if it is not there.
        run: as make_run returns it.
        samples: the arrays by their paths in the folder, such as "samples/net-pi4-onnxruntime.npy".

    Returns:
        The path of evidence.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = json.loads(json.dumps(run))
    for name, array in (samples or {}).items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(buffer.getvalue())
        for check in (check for cell in run["cells"] for check in cell["checks"] if check["raw"] == name):
            check["raw_sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    path = folder / "evidence.json"
    path.write_text(json.dumps(run, indent=1), encoding="utf-8")
    return path
