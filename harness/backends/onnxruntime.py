"""The backend onnxruntime: ONNX Runtime in Python.

This file is shipped to the device beside the agent, as ``backend.py``: it imports nothing of harness.
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
# The suffix of the profiler's events that hold a node's own time, in microseconds.
KERNEL = "_kernel_time"
# Inferences before the profiler's figures count: in the first ones memory is allocated and code loaded.
UNCOUNTED = 3
OPTIONS: Mapping[str, tuple[str, str]] = {
    "providers": ("texts", f"execution providers in order of preference, such as ['CUDAExecutionProvider', {CPU!r}]"),
}


def preload() -> None:
    """Import the runtime."""
    import onnxruntime  # noqa: F401


class Engine:
    """An inference session of ONNX Runtime; see harness.backends.EngineType."""

    def __init__(self, settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        import onnxruntime

        self.onnxruntime = onnxruntime
        self.providers = list(options.get("providers", [CPU]))
        self.session_options = onnxruntime.SessionOptions()
        self.session_options.intra_op_num_threads = settings["threads"]
        self.session_options.inter_op_num_threads = settings["interop_threads"]
        if settings["interop_threads"] > 1:  # without it these threads would have nothing to do
            self.session_options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        flush = "1" if settings["flush_denormals"] else "0"
        self.session_options.add_session_config_entry("session.set_denormal_as_zero", flush)
        if CPU not in self.providers:
            # A provider may start and then accept no node: without this the CPU would silently run them all.
            self.session_options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        self.session: Any = None

    def load(self, artifact: str) -> None:
        """Open the file.

        Raises:
            RuntimeError: a requested provider did not start. ONNX Runtime itself would silently continue on the CPU,
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
        """Select the inputs that the graph has, by name: one that the model never uses is not in it. Not timed."""
        return {name: inputs[name] for name in self.input_names}

    def run(self, prepared: Any) -> Any:
        """Run one inference; this call is what is timed."""
        return self.session.run(None, prepared)

    def arrays(self, raw: Any) -> Any:
        """Return the outputs as a flat tuple of numpy arrays: a graph has no nesting."""
        return tuple(raw)

    def profile(self, take: Callable[[], Any], count: int) -> list[tuple[str, str, list[float]]]:
        """Time each node with ONNX Runtime's profiler; see harness.backends.EngineType.

        It runs in a session of its own, because the profiler must be enabled before the model is loaded. A node has its
        name in the graph, and one that was fused of several the name of the first. Times are whole microseconds. Loops
        and branches are left out: their time is that of the nodes inside, which are counted themselves.
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
        """Return the outputs' names, as the exporter wrote them into the graph."""
        return [item.name for item in self.session.get_outputs()]

    def versions(self) -> dict[str, str]:
        """Return the version of ONNX Runtime."""
        return {"onnxruntime": self.onnxruntime.__version__}

    def settings(self) -> dict[str, Any]:
        """Return the settings that are in force in the session."""
        return {
            "threads": self.session_options.intra_op_num_threads,
            "interop_threads": self.session_options.inter_op_num_threads,
            "providers": self.session.get_providers(),
        }
