"""ONNX Runtime from Python.

Shipped to the device beside the agent, as ``backend.py``: it imports nothing of harness.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ARTIFACT = "onnx"
PACKAGES = ("onnxruntime|onnxruntime-gpu", "numpy")
CPU = "CPUExecutionProvider"
# Of the profiler's events: a node's own time, in microseconds.
KERNEL = "_kernel_time"
# Before it counts, memory is laid out and code read for the first time.
UNCOUNTED = 3
OPTIONS: Mapping[str, tuple[str, str]] = {
    "providers": ("texts", f"execution providers in order of preference, such as ['CUDAExecutionProvider', {CPU!r}]"),
}


def preload() -> None:
    """Import the runtime."""
    import onnxruntime  # noqa: F401


class Engine:
    """One inference session."""

    def __init__(self, settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        import onnxruntime

        self.onnxruntime = onnxruntime
        self.providers = list(options.get("providers", [CPU]))
        self.session_options = onnxruntime.SessionOptions()
        self.session_options.intra_op_num_threads = settings["threads"]
        self.session_options.inter_op_num_threads = settings["interop_threads"]
        if settings["interop_threads"] > 1:  # they have nothing to do else
            self.session_options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        flush = "1" if settings["flush_denormals"] else "0"
        self.session_options.add_session_config_entry("session.set_denormal_as_zero", flush)
        if CPU not in self.providers:
            # A provider may start and then take no node: without this the CPU would run them all, without a word.
            self.session_options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        self.session: Any = None

    def load(self, artifact: str) -> None:
        """Open the file.

        Raises:
            RuntimeError: a requested provider did not start. ONNX Runtime itself would go on without a word on the CPU,
                and the figures would be the CPU's.
        """
        self.artifact = artifact
        try:
            self.session = self.onnxruntime.InferenceSession(artifact, self.session_options, providers=self.providers)
        except Exception as error:
            raise RuntimeError(f"with the execution providers {', '.join(self.providers)}: {error}") from error
        started = self.session.get_providers()
        missing = [name for name in self.providers if name not in started]
        if missing:
            built = ", ".join(self.onnxruntime.get_available_providers())
            raise RuntimeError(
                f"execution provider {', '.join(missing)} did not start: wanted {', '.join(self.providers)}; "
                f"found {', '.join(started)} (this onnxruntime has {built}). Install a build of onnxruntime "
                "that has it, or take it off `providers` in the device file"
            )
        self.input_names = [item.name for item in self.session.get_inputs()]

    def prepare(self, inputs: Mapping[str, Any]) -> Any:
        """By name; an input that the model never uses is not in the graph. Not timed."""
        return {name: inputs[name] for name in self.input_names}

    def run(self, prepared: Any) -> Any:
        """One inference: what is timed."""
        return self.session.run(None, prepared)

    def arrays(self, raw: Any) -> Any:
        """The outputs as numpy arrays, flat: a graph has no nesting."""
        return tuple(raw)

    def profile(self, take: Callable[[], Any], count: int) -> list[tuple[str, str, list[float]]]:
        """By ONNX Runtime's profiler, in a session of its own, for it is switched on before the model is loaded.

        A node is named as in the graph; what was fused into one is named by the first of them. Its times are whole
        microseconds. A loop's or a branch's own time would be that of the nodes in it once more: it is left out.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.session_options.enable_profiling = True
            self.session_options.profile_file_prefix = f"{folder}/profile"
            session = self.onnxruntime.InferenceSession(self.artifact, self.session_options, providers=self.providers)
            for _ in range(UNCOUNTED + count):
                session.run(None, take())
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        nodes: dict[tuple[str, str], list[float]] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
                key = event["args"]["op_name"], event["name"][: -len(KERNEL)]
                nodes.setdefault(key, []).append(1000.0 * event["dur"])
        return [
            (operator, name, each[len(each) * UNCOUNTED // (UNCOUNTED + count) :])
            for (operator, name), each in nodes.items()
            if operator not in ("Loop", "If", "Scan")
        ]

    def output_names(self) -> list[str]:
        """As the exporter wrote them into the graph."""
        return [item.name for item in self.session.get_outputs()]

    def versions(self) -> dict[str, str]:
        """What ran."""
        return {"onnxruntime": self.onnxruntime.__version__}

    def settings(self) -> dict[str, Any]:
        """What was really set."""
        return {
            "threads": self.session_options.intra_op_num_threads,
            "interop_threads": self.session_options.inter_op_num_threads,
            "providers": self.session.get_providers(),
        }
