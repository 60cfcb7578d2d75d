"""The result of fault localization, and the time that it may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .node_repro import NodeCase

EXPORTER = "exporter"
RUNTIME = "runtime"
OPTIMIZER = "optimizer"
TORCHSCRIPT = "TorchScript"


@dataclass(frozen=True, kw_only=True)
class Location:
    """The first place at which a backend leaves the reference.

    Attributes:
        module: its name in the PyTorch model, as in named_modules; "" is the model itself.
        node: the node of the ONNX graph; "" where there is none, as in TorchScript.
        operator: the node's, as in "Clip"; of TorchScript "aten::relu" or the like; "" where it is not known.
        output: the compared tensor: a value of the ONNX graph, or the module.
        index: of its worst element.
        found: the backend's element, as text.
        eager: eager PyTorch's.
        exact: the float64 run's.
        ratio: the error as a multiple of what float32 is off; see harness.parity.rule.comparison.
        fault: "exporter", "runtime", "optimizer" (the runtime's graph optimizations) or "TorchScript" (the trace).
        explanation: why that one.
        notes: what could not be looked at.
        case: the node alone, where it is at fault.
        replay: the folder in which that was kept.
    """

    module: str
    node: str
    operator: str
    output: str
    index: tuple[int, ...]
    found: str
    eager: str
    exact: str
    ratio: float
    fault: str
    explanation: str
    notes: tuple[str, ...] = field(default=())
    case: NodeCase | None = field(default=None, repr=False, compare=False)
    replay: str = ""

    def __str__(self) -> str:
        module = f"module {self.module}" if self.module else "the model itself"
        node = f", node {self.node} ({self.operator})" if self.node else ""
        node = node or (f" ({self.operator})" if self.operator else "")
        place = f"{self.output}[{', '.join(map(str, self.index))}]" if self.index else self.output
        values = f"wanted {self.exact} (eager: {self.eager}); found {self.found}"
        notes = "".join(f"; {note}" for note in self.notes)
        alone = f"; the node alone: {self.replay}" if self.replay else ""
        return (
            f"first wrong at {module}{node}: {place}: {values}; fault: {self.fault}: {self.explanation}{notes}{alone}"
        )

    @property
    def described(self) -> dict[str, Any]:
        """For the evidence: JSON has no infinity, so a ratio that is none is None."""
        finite = self.ratio == self.ratio and abs(self.ratio) != float("inf")
        lists = {"index": list(self.index), "notes": list(self.notes)}
        said = {key: value for key, value in asdict(replace(self, case=None)).items() if key != "case"}
        return said | lists | {"ratio": self.ratio if finite else None}


@dataclass(frozen=True)
class NotLocated:
    """Why no place was found."""

    reason: str

    def __str__(self) -> str:
        return f"not located: {self.reason}"

    @property
    def described(self) -> dict[str, Any]:
        """For the evidence."""
        return {"not_located": self.reason}


class Unlocated(Exception):
    """Ends the looking; its text is the reason."""


class TimeUp(Unlocated):
    """The reason is that it took too long."""


@dataclass
class Clock:
    """Ends the looking when its time is up.

    Args:
        limit_s: how long it may take.
        report: is told (seconds passed, the limit).
    """

    limit_s: float
    report: Callable[[int, int], None]
    _start: float = field(default_factory=time.monotonic)
    _shown: int = -1

    def check(self, doing: str) -> None:
        """End the looking if the time is up; to be called before each step.

        Args:
            doing: what is being done, for the message.

        Raises:
            TimeUp: it is over.
        """
        passed = time.monotonic() - self._start
        if passed > self.limit_s:
            raise TimeUp(f"its {self.limit_s:g} s were over while {doing}")
        if int(passed) != self._shown:
            self._shown = int(passed)
            self.report(self._shown, int(self.limit_s))
