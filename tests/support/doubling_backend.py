"""A backend in Python for tests: its model doubles its input "x", or does what ``options["does"]`` says."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Engine:
    """Everything that the check asks of a backend."""

    def __init__(self, settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.given = dict(settings)
        self.does = options.get("does", "")
        self.names = options.get("names", ["y"])
        self.times = 0

    def load(self, artifact: str) -> None:
        """Look whether it is there; the behaviour "full" finds no memory for it."""
        Path(artifact).stat()
        if self.does == "full":
            raise MemoryError

    def prepare(self, inputs: Mapping[str, Any]) -> Any:
        """Take the one input."""
        return inputs["x"]

    def run(self, prepared: Any) -> Any:
        """Double it, and do what else is asked for."""
        self.times += 1
        answer = prepared * prepared.dtype.type(2)
        act = getattr(self, f"_{self.does}", None)
        return answer if act is None else act(answer)

    def arrays(self, raw: Any) -> Any:
        """They are."""
        return raw

    def output_names(self) -> list[str]:
        """Return the one output's, or what is asked for."""
        return list(self.names)

    def versions(self) -> dict[str, str]:
        """Of nothing."""
        return {"doubling": "1"}

    def settings(self) -> dict[str, Any]:
        """As they were given, or not."""
        return {**self.given, "threads": 7} if self.does == "other_settings" else self.given

    def _nan(self, answer: Any) -> Any:
        answer[-1] = np.nan
        return answer

    def _infinity(self, answer: Any) -> Any:
        answer[-1] = np.inf
        return answer

    def _drift(self, answer: Any) -> Any:
        return answer if self.times < 3 else answer + answer.dtype.type(1)

    def _worn(self, answer: Any) -> Any:
        if self.times > 1:
            raise RuntimeError("worn out")
        return answer

    def _large(self, answer: Any) -> Any:
        self.taken = np.ones(64 << 17)  # 64 MiB
        return answer

    def _wide(self, answer: Any) -> Any:
        return answer.astype(np.float64)

    def _column(self, answer: Any) -> Any:
        return answer.reshape(-1, 1)

    def _twice(self, answer: Any) -> Any:
        return answer, answer

    def _write(self, answer: Any) -> Any:
        os.write(1, b"check: PASS\n")
        print("check: PASS", flush=True)
        return answer

    def _slow(self, answer: Any) -> Any:
        time.sleep(0.03)
        return answer

    def _refuse(self, answer: Any) -> Any:
        raise RuntimeError("no such\noperator: \x1b[31mAdd")

    def _leave(self, answer: Any) -> Any:
        sys.exit(0)

    def _exit(self, answer: Any) -> Any:
        os._exit(0)

    def _crash(self, answer: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(5)

    def _hang(self, answer: Any) -> Any:
        sys.stderr.write(f"pid {os.getpid()}\n")
        sys.stderr.flush()
        while True:
            time.sleep(1)

    def _close(self, answer: Any) -> Any:
        os.closerange(3, 100)
        while True:
            time.sleep(1)
