"""Decoding one instruction, with Capstone."""

from __future__ import annotations

from dataclasses import dataclass

import capstone

from .extensions import needed_by

MODES = {
    "aarch64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN),
    "x86_64": (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
}
# Instructions that are illegal by definition: a program executes one on purpose when it cannot go on.
TRAPS = ("ud0", "ud1", "ud2", "udf")
# Capstone's groups of x86 instructions that are no extensions.
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


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """An instruction.

    Attributes:
        text: its disassembly.
        extension: the name of the extension that it needs; "" where it needs none, or an unknown one.
        words: the extension in words.
        feature: the kernel's name of it.
        trap: whether the instruction is illegal by definition.
    """

    text: str
    extension: str = ""
    words: str = ""
    feature: str = ""
    trap: bool = False


def decode(code: bytes, arch: str) -> Instruction | None:
    """Decode the first instruction of some code; return None where it or the architecture is unknown.

    Args:
        code: machine code.
        arch: as platform.machine() names it.
    """
    if arch not in MODES:
        return None
    disassembler = capstone.Cs(*MODES[arch])
    disassembler.detail = True
    found = next(disassembler.disasm(code, 0, 1), None)
    if found is None:
        return None
    text = f"{found.mnemonic} {found.op_str}".strip()
    if found.mnemonic in TRAPS:
        return Instruction(text=text, trap=True)
    if arch == "aarch64":
        extension = needed_by(int.from_bytes(code[:4], "little"))
        if extension is None:
            return Instruction(text=text)
        return Instruction(text=text, extension=extension.name, words=extension.words, feature=extension.feature)
    names = [found.group_name(group) for group in found.groups]
    own = next((name for name in names if name not in NO_EXTENSIONS), "")
    return Instruction(text=text, extension=own.upper(), words=f"x86's {own.upper()}" if own else "", feature=own)
