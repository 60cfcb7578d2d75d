"""The explanation for a process that died of an illegal instruction: which one, where, and what the CPU lacks for it.

The process itself has reported where, in the same way on every kind of board (see harness.agent.illegal).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..agent.illegal import MARK
from ..host.exit_cause import ExitCause
from ..protocol import Answer, BoardFacts, parse_text
from ..protocol.fields import Count, Hex, Text
from .decoding import Instruction, decode
from .wheel_scans import known_to_run

REPORT = re.compile(rf"^{MARK} (\{{.*\}})$", re.MULTILINE)
# The part of a path before the package's own.
ROOTS = re.compile(r".*/(?:runtimes/[0-9a-f]{64}|site-packages|dist-packages)/")


def illegal_instruction(stderr_tail: str, facts: BoardFacts, packages: Mapping[str, str]) -> ExitCause | None:
    """Explain the death of a process that was killed by SIGILL.

    Args:
        stderr_tail: the end of what it wrote to stderr.
        facts: what its board is.
        packages: those of the runtime, NAME: VERSION.

    Returns:
        None where the process did not report the instruction.
    """
    place = _place(stderr_tail)
    if place is None:
        return None
    path = ROOTS.sub("", place.path)
    code = bytes.fromhex(place.code)
    instruction = decode(code, facts.arch)
    offset = f"+{place.offset:#x}" if place.offset is not None else ""
    where = f"at {path}{offset}" if path else "in code that was made in memory"
    text = instruction.text if instruction else f"{code[:4].hex()} (unknown)"
    found = f"killed by SIGILL: illegal instruction {text} {where}{_reason(instruction, facts)}"
    return ExitCause(found, _next(path, instruction, packages))


class Place(Answer):
    """Where an illegal instruction was met, as its process reported it; see harness.agent.illegal."""

    path: Text
    offset: Count | None
    code: Hex


def _place(stderr_tail: str) -> Place | None:
    lines = REPORT.findall(stderr_tail)
    return parse_text(Place, lines[-1]) if lines else None


def _reason(instruction: Instruction | None, facts: BoardFacts) -> str:
    """Say which extension the instruction needs, and that the CPU lacks it."""
    cpu = facts.cpu
    if instruction is None:
        return f": no instruction that is known here, and none of this {cpu}'s"
    if instruction.trap:
        return ": a trap, which the program runs into on purpose when it cannot go on; the CPU lacks nothing"
    if not instruction.extension:
        return f": this {cpu} lacks it; which extension has it is not known here"
    needs = f": it needs {instruction.extension} ({instruction.words}), which this {cpu}"
    if any(feature.startswith(instruction.feature) for feature in facts.features):
        return f"{needs} has by its kernel's list of features: it may need a later version of that"
    return f"{needs} lacks"


def _next(path: str, instruction: Instruction | None, packages: Mapping[str, str]) -> str:
    if instruction is None or not instruction.extension:
        return ""
    known = known_to_run(path, instruction.extension, packages)
    package = path.partition("/")[0].partition(".")[0]
    return f"{known}Pin another version of {package or 'the package'} in the device file: [runtime] packages"
