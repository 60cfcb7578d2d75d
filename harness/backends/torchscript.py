"""The backend torchscript: ``torch.jit.load`` in Python.

This file is shipped to the device beside the agent, as ``backend.py``: it imports nothing of harness.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

ARTIFACT = "torchscript"
PACKAGES = ("torch", "numpy")
OPTIONS: Mapping[str, tuple[str, str]] = {}
OPERATORS = True

# The file in the archive that holds the names of outputs, where the exporter has flattened them.
NAMES = "hilgate_output_names.json"


def preload() -> None:
    """Import the runtime."""
    import torch  # noqa: F401


class Engine:
    """A TorchScript module, run without gradients; see harness.backends.EngineType."""

    def __init__(self, settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        import torch

        torch.set_num_threads(settings["threads"])
        torch.set_num_interop_threads(settings["interop_threads"])
        torch.set_flush_denormal(settings["flush_denormals"])
        # For the whole process: a context manager around each call would be timed as well.
        torch.set_grad_enabled(False)
        self.torch: Any = torch
        self.module: Any = None
        self.names: list[str] = []

    def load(self, artifact: str) -> None:
        """Load the file onto the CPU."""
        extra = {NAMES: ""}
        self.module = self.torch.jit.load(artifact, map_location="cpu", _extra_files=extra).eval()
        self.names = json.loads(extra[NAMES]) if extra[NAMES] else []

    def prepare(self, inputs: Mapping[str, Any]) -> Any:
        """Make tensors of the numpy arrays, in the same memory and in the inputs' order; not timed."""
        return [self.torch.from_numpy(array) for array in inputs.values()]

    def run(self, prepared: Any) -> Any:
        """One inference: what is timed."""
        return self.module(*prepared)

    def arrays(self, raw: Any) -> Any:
        """Return the outputs as numpy arrays, in their own nesting."""
        if isinstance(raw, dict):
            return {key: self.arrays(value) for key, value in raw.items()}
        if isinstance(raw, (tuple, list)):
            return tuple(self.arrays(value) for value in raw)
        return raw.numpy()

    def profile(self, take: Callable[[], Any], count: int) -> list[tuple[str, str, list[float]]]:
        """Time each kind of operator, without what it calls, with PyTorch's profiler, which knows no layers' names."""
        with self.torch.autograd.profiler.profile() as profiler:
            for _ in range(count):
                self.run(take())
        durations: dict[str, list[float]] = {}
        for event in profiler.function_events:
            durations.setdefault(event.name, []).append(1000 * event.self_cpu_time_total)
        return [(name, "", each) for name, each in durations.items()]

    def output_names(self) -> list[str]:
        """Return the outputs' names if the exporter has flattened them; empty where their nesting names them."""
        return self.names

    def versions(self) -> dict[str, str]:
        """Return the version of PyTorch."""
        return {"torch": self.torch.__version__}

    def settings(self) -> dict[str, Any]:
        """Return the numbers of threads that are in force."""
        return {"threads": self.torch.get_num_threads(), "interop_threads": self.torch.get_num_interop_threads()}
