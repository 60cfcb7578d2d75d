"""Shared libraries for arm64, assembled and linked by GNU binutils from a few lines."""

from __future__ import annotations

import subprocess
from pathlib import Path

PREFIX = "aarch64-linux-gnu-"
PACKAGE = "binutils-aarch64-linux-gnu"
HEAD = ".arch armv8.6-a+sve+crypto+bf16+i8mm+fp16\n.text\n"


def function(name: str, body: str, *, exported: bool = False) -> str:
    """Return the assembly of a function; instructions are separated by semicolons."""
    lines = [f".{'global' if exported else 'local'} {name}", f".type {name}, %function", f"{name}:", ".cfi_startproc"]
    return "\n".join([*lines, *body.split(";"), ".cfi_endproc", f".size {name}, .-{name}"]) + "\n"


def constructor(name: str) -> str:
    """Have the loader call a function."""
    return f'.section .init_array, "aw"\n.xword {name}\n.text\n'


def table(*names: str) -> str:
    """Pointers to functions."""
    return ".data\n" + "".join(f".xword {name}\n" for name in names) + ".text\n"


def assemble(folder: Path, source: str) -> bytes:
    """Assemble and link a library from its source."""
    (folder / "source.s").write_text(HEAD + source, encoding="ascii")
    _run("as", "-o", "object.o", "source.s", folder=folder)
    _run("ld", "-shared", "--eh-frame-hdr", "-o", "library.so", "object.o", folder=folder)
    return (folder / "library.so").read_bytes()


def _run(tool: str, *arguments: str, folder: Path) -> None:
    try:
        subprocess.run([PREFIX + tool, *arguments], cwd=folder, check=True, timeout=60)
    except FileNotFoundError as error:
        raise RuntimeError(f"these tests need {PREFIX}{tool}: apt-get install {PACKAGE}") from error
