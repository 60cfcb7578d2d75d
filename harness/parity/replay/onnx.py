"""Runs an ONNX file in a replay: python replay.py (numpy and onnxruntime, without hilgate).

It is copied beside replay.py as run_onnx.py, so it imports nothing of harness.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def infer(path: str, inputs: dict[str, Any], settings: dict[str, Any], notify: Callable[[str], None]) -> list[Any]:
    """Run the file once with ONNX Runtime.

    Args:
        path: of the file.
        inputs: arrays by name; those that the file does not read are left out.
        settings: see DEFAULTS of replay.py.
        notify: is told what a person should know.

    Returns:
        The outputs as arrays, in the file's order.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    options.inter_op_num_threads = settings["interop_threads"]
    if settings["interop_threads"] > 1:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.add_session_config_entry("session.set_denormal_as_zero", str(int(settings["flush_denormals"])))
    providers, here = settings["providers"], set(onnxruntime.get_available_providers())
    if not here.issuperset(providers):
        missing = ", ".join(sorted(set(providers) - here))
        notify(f"not on this machine: {missing}; the difference may not show")
        providers = [name for name in providers if name in here] or ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    used = {item.name for item in session.get_inputs()}
    return list(session.run(None, {name: value for name, value in inputs.items() if name in used}))
