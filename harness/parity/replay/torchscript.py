"""Runs a TorchScript file in a replay: python replay.py (numpy and torch, without hilgate).

It is copied beside replay.py as run_torchscript.py, so it imports nothing of harness.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def infer(path: str, inputs: dict[str, Any], settings: dict[str, Any], notify: Callable[[str], None]) -> list[Any]:
    """Run the file once with PyTorch.

    Args:
        path: of the file.
        inputs: arrays by name, in the order of forward.
        settings: see DEFAULTS of replay.py.
        notify: is told what a person should know.

    Returns:
        The outputs as arrays, laid flat.
    """
    import torch

    torch.set_num_threads(settings["threads"])
    torch.set_num_interop_threads(settings["interop_threads"])
    torch.set_flush_denormal(settings["flush_denormals"])
    with torch.no_grad():
        module = optimized(torch.jit.load(path).eval(), settings["optimize"])  # type: ignore[no-untyped-call]
        answer = module(*(torch.from_numpy(value) for value in inputs.values()))
    return [leaf.numpy() for leaf in flat(answer)]


def optimized(module: Any, how: str) -> Any:
    """Optimize a loaded module as the backend libtorch does in C++ (docs/runners.md).

    Args:
        module: as torch.jit.load returns it.
        how: "none", "freeze" or "optimize_for_inference".
    """
    import torch

    if how != "none":
        module = torch.jit.freeze(module)
    return torch.jit.optimize_for_inference(module) if how == "optimize_for_inference" else module


def flat(answer: Any) -> list[Any]:
    """List the tensors in tuples, lists and dicts, in order."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, (tuple, list)):
        return [leaf for part in answer for leaf in flat(part)]
    return [answer]
