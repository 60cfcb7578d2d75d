"""A program beside us that infers as often as it is told: it works in turn with others, and is never in our process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .deploy import Prepared
from .interleave import Block


@contextmanager
def served_blocks(
    prepared: Prepared, program: Sequence[str], behind: Sequence[str] = ()
) -> Iterator[Callable[[int], Block]]:
    """Start ``python PROGRAM… ARTIFACT INPUTS.npz BEHIND…``; what is handed out takes a number of inferences.

    For each line with a number on its stdin the program infers as often and writes nanoseconds, a JSON list, on a line
    of stdout. INPUTS.npz holds the arrays of several sets, SET/NAME each.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder, "inputs.npz")
        arrays = {f"{index}/{name}": array for index, one in enumerate(prepared.sets) for name, array in one.items()}
        np.savez(inputs, allow_pickle=False, **arrays)
        command = [sys.executable, "-B", *program, str(prepared.artifact), str(inputs), *behind]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

            def block(count: int) -> Block:
                if process.stdin is None or process.stdout is None:
                    raise AssertionError("started with pipes")
                print(count, file=process.stdin, flush=True)
                durations: Block = json.loads(process.stdout.readline())
                return durations

            block(10)
            yield block
