"""A hostile board: what it may say in place of the truth, and the program that says it (issue 17).

``mutations`` makes, of an honest answer, one lie for each way in which each of its fields can be wrong. HostileProgram
puts one of them between a real board's programs and the host. ``peak_growth`` and ``assert_plain`` say what must hold.
"""

from __future__ import annotations

import copy
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("hostile_program.py")
Place = tuple[str | int, ...]
NOT_THERE = object()


def nested(depth: int) -> Any:
    """Return lists nested in lists."""
    made: Any = []
    for _ in range(depth):
        made = [made]
    return made


# What may stand where something else should; every kind of JSON, at sizes that nobody needs.
VALUES: Mapping[str, Any] = {
    "missing": NOT_THERE,
    "null": None,
    "true": True,
    "text": "7",
    "empty-text": "",
    "long-text": "x" * 100_000,
    "escapes": "\x1b[2J\x1b[Hverdict: PASS\r\n\u202e",
    "surrogate": "\ud800",
    "zero": 0,
    "negative": -1,
    "fraction": 0.5,
    "over-64-bits": 1 << 64,
    "over-128-bits": -(1 << 127),
    "nan": float("nan"),
    "infinity": float("inf"),
    "huge": 1e308,
    "list": [],
    "list-of-null": [None],
    "list-of-lists": [[[]]],
    "long-list": [0] * 100_000,
    "table": {},
    "table-of-null": {"x": None},
    "long-table": {str(number): "x" for number in range(20_000)},
    "nested": nested(30),
}


@dataclass(frozen=True)
class Mutation:
    """One lie: at a place of an answer, a value that is not what the board has there."""

    place: Place
    kind: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.place))}-{self.kind}"

    @property
    def plan(self) -> dict[str, Any]:
        """For HostileProgram."""
        value = VALUES[self.kind]
        return {"drop": self.place} if value is NOT_THERE else {"set": self.place, "to": value}

    def of(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer with this change made."""
        made: dict[str, Any] = copy.deepcopy(dict(answer))
        holder: Any = made
        for key in self.place[:-1]:
            holder = holder[key]
        if VALUES[self.kind] is NOT_THERE:
            del holder[self.place[-1]]
        else:
            holder[self.place[-1]] = copy.deepcopy(VALUES[self.kind])
        return made


def places(answer: Any, before: Place = ()) -> Iterator[Place]:
    """Every field of an answer, also those inside others; of a list the first item stands for all."""
    inside: list[tuple[str | int, Any]] = []
    if isinstance(answer, Mapping):
        inside = list(answer.items())
    elif isinstance(answer, list):
        inside = list(enumerate(answer[:1]))
    for key, value in inside:
        yield (*before, key)
        yield from places(value, (*before, key))


def mutations(answer: Mapping[str, Any]) -> list[Mutation]:
    """Every lie about an answer."""
    return [Mutation(place, kind) for place in places(answer) for kind in VALUES]


class HostileProgram:
    """A Python for a board, at ``path``: it does what its plan says. Honest until it is told otherwise."""

    def __init__(self, path: Path, real: str, plan: Path) -> None:
        self.path, self._plan = path, plan
        text = PROGRAM.read_text(encoding="utf-8").replace("@REAL@", real).replace("@PLAN@", str(plan))
        path.write_text(f"#!{real} -I\n{text}", encoding="utf-8")
        path.chmod(0o755)
        self.be_honest()

    def be_honest(self) -> None:
        """Change nothing."""
        self._write({})

    def lie(self, program: str, operation: str, **how: Any) -> None:
        """Change what a program answers to an operation; see hostile_program."""
        self._write({"program": program, "operation": operation, **how})

    def _write(self, plan: Mapping[str, Any]) -> None:
        self._plan.write_text(json.dumps(plan), encoding="utf-8")
        self._plan.chmod(0o644)


@contextmanager
def peak_growth() -> Iterator[Callable[[], int]]:
    """How many bytes the resident set of this process grew at most, within the block; see clear_refs of proc(5)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _peak_bytes()
    yield lambda: _peak_bytes() - before


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


def assert_plain(text: str) -> None:
    """No control character, escape or override of direction, but the line's end."""
    odd = {one for one in text if one != "\n" and unicodedata.category(one)[0] == "C"}
    assert not odd, f"{odd} in {text!r}"
