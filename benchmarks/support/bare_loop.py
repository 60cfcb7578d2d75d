"""What a user would write to time a model: a loop around the runtime, with nothing of hilgate in it.

    python bare_loop.py RUNTIME ARTIFACT INPUTS.npz [restore]

INPUTS.npz holds the arrays of several sets, SET/NAME each, taken in turn; with ``restore`` each is written anew before
it is run, outside of what is timed, for a model that writes into its input. For each line with a number on stdin it
infers as often and writes the durations in nanoseconds, a JSON list, on a line of stdout.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Loop = Callable[[int], list[int]]


def read_sets(path: str) -> list[dict[str, Any]]:
    """Return the inputs of each set, name to array."""
    sets: dict[str, dict[str, Any]] = {}
    with np.load(path) as file:
        for key in file.files:
            index, name = key.split("/", 1)
            sets.setdefault(index, {})[name] = file[key]
    return list(sets.values())


def torchscript(artifact: str, sets: list[dict[str, Any]], *, restore: bool = False) -> Loop:
    """One thread, no gradients."""
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    torch.set_grad_enabled(False)
    module: Any = torch.jit.load(artifact, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    originals = [[torch.from_numpy(array) for array in one.values()] for one in sets]
    inputs = [[tensor.clone() for tensor in one] for one in originals]

    def loop(count: int) -> list[int]:
        clock, durations = time.perf_counter_ns, []
        for index in range(count):
            tensors = inputs[index % len(inputs)]
            if restore:
                for tensor, original in zip(tensors, originals[index % len(inputs)], strict=True):
                    tensor.copy_(original)
            start = clock()
            module(*tensors)
            durations.append(clock() - start)
        return durations

    return loop


def onnxruntime(artifact: str, sets: list[dict[str, Any]], *, restore: bool = False) -> Loop:
    """One thread, on the CPU; it never writes into an input."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])

    def loop(count: int) -> list[int]:
        clock, durations = time.perf_counter_ns, []
        for index in range(count):
            feed = sets[index % len(sets)]
            start = clock()
            session.run(None, feed)
            durations.append(clock() - start)
        return durations

    return loop


def main() -> None:
    """Load, then serve blocks."""
    runtime, artifact, inputs, *words = sys.argv[1:]
    start = {"torchscript": torchscript, "onnxruntime": onnxruntime}[runtime]
    loop = start(artifact, read_sets(inputs), restore=words == ["restore"])
    for line in sys.stdin:
        print(json.dumps(loop(int(line))), flush=True)


if __name__ == "__main__":
    main()
