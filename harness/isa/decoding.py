"""One instruction in words, by Capstone."""

from __future__ import annotations

from dataclasses import dataclass

import capstone

from .extensions import needed_by

MODES = {
    "aarch64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN),
    "x86_64": (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
}
# Made to be illegal: a program that has lost its way ends there on purpose.
TRAPS = ("ud0", "ud1", "ud2", "udf")
# What Capstone says of an instruction of x86 beside its extension.
NO_EXTENSIONS = {
    "jump",
    "call",
    "ret",
    "int",
    "iret",
    "privilege",
    "branch_relative",
    "vm",
    "mode32",
    "mode64",
    "not64bitmode",
}


@dataclass(frozen=True)
class Instruction:
    """An instruction; ``extension`` and its ``words`` are "" where it needs none, or none that is known here."""

    text: str
    extension: str = ""
    words: str = ""
    feature: str = ""
    trap: bool = False


def decode(code: bytes, arch: str) -> Instruction | None:
    """The first instruction of some code; None where there is none that is known, or the architecture is not."""
    if arch not in MODES:
        return None
    disassembler = capstone.Cs(*MODES[arch])
    disassembler.detail = True
    found = next(disassembler.disasm(code, 0, 1), None)
    if found is None:
        return None
    text = f"{found.mnemonic} {found.op_str}".strip()
    if found.mnemonic in TRAPS:
        return Instruction(text, trap=True)
    if arch == "aarch64":
        extension = needed_by(int.from_bytes(code[:4], "little"))
        return Instruction(text, extension.name, extension.words, extension.feature) if extension else Instruction(text)
    names = [found.group_name(group) for group in found.groups]
    own = next((name for name in names if name not in NO_EXTENSIONS), "")
    return Instruction(text, own.upper(), f"x86's {own.upper()}" if own else "", own)
