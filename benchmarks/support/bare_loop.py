"""What a user would write to time a model: a loop around the runtime, with nothing of hilgate in it.

    python bare_loop.py RUNTIME ARTIFACT INPUTS.npz

INPUTS.npz holds the arrays of several sets, SET/NAME each, taken in turn. For each line with a number on stdin it
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
    """The inputs: name -> array, for each set."""
    sets: dict[str, dict[str, Any]] = {}
    with np.load(path) as file:
        for key in file.files:
            index, name = key.split("/", 1)
            sets.setdefault(index, {})[name] = file[key]
    return list(sets.values())


def torchscript(artifact: str, sets: list[dict[str, Any]]) -> Loop:
    """One thread, no gradients."""
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    torch.set_grad_enabled(False)
    module: Any = torch.jit.load(artifact, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    inputs = [[torch.from_numpy(array) for array in one.values()] for one in sets]

    def loop(count: int) -> list[int]:
        clock, durations = time.perf_counter_ns, []
        for index in range(count):
            tensors = inputs[index % len(inputs)]
            start = clock()
            module(*tensors)
            durations.append(clock() - start)
        return durations

    return loop


def onnxruntime(artifact: str, sets: list[dict[str, Any]]) -> Loop:
    """One thread, on the CPU."""
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
    runtime, artifact, inputs = sys.argv[1:]
    loop = {"torchscript": torchscript, "onnxruntime": onnxruntime}[runtime](artifact, read_sets(inputs))
    for line in sys.stdin:
        print(json.dumps(loop(int(line))), flush=True)


if __name__ == "__main__":
    main()
