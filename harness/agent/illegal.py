"""A handler that reports where an illegal instruction was met, on stderr, before the process dies of it.

Nothing else would: arm64's kernel logs it only with debug.exception-trace set, core files are mostly switched off, and
a small board has no gdb. So the process reports it itself, on any board and without privileges, in one line:

    hilgate-illegal-instruction {"path": "/…/libc10.so", "offset": 5050348, "code": "…"}

``path`` is the file that the instruction was mapped from, "" where it was made in memory; ``offset`` its address as the
file's own program headers count (what objdump and addr2line take), null where that is not known; ``code`` the
instruction and what follows it, hexadecimal. Standard library only.

A handler of Python's own comes too late: it is called when the C code returns, which never happens. This one is called
by the kernel, through ctypes. It needs Python's lock; where another thread keeps that, the agent's watchdog is the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
from typing import Any

MARK = "hilgate-illegal-instruction"
# No instruction is longer than x86's.
CODE_BYTES = 16
SA_SIGINFO = 4
# struct siginfo begins with signal, error and code, as ints; si_addr follows after padding, on all of Linux's 64-bit
# architectures. A code above 0 means that the kernel sent the signal.
SI_CODE, SI_ADDR = 8, 16
# ELF-64's magic, e_phoff, e_phentsize, e_phnum; and of a program header type, offset, address, size (elf(5)).
MAGIC = b"\x7fELF\x02"
PROGRAM_HEADERS = struct.Struct("<5s27xQ14xHH")
SEGMENT = struct.Struct("<IxxxxQQxxxxxxxxQ")
PT_LOAD = 1


_handlers: list[Any] = []  # the function that the kernel calls must not be garbage-collected


def install_handler() -> None:
    """Install the handler, for this process and those that it forks; do nothing where Python has no ctypes."""
    with contextlib.suppress(ImportError, OSError, MemoryError, AttributeError):
        _install()


def _install() -> None:
    import ctypes

    class Sigaction(ctypes.Structure):
        """struct sigaction of glibc and musl."""

        _fields_ = (
            ("handler", ctypes.c_void_p),
            ("mask", ctypes.c_ulong * (128 // ctypes.sizeof(ctypes.c_ulong))),
            ("flags", ctypes.c_int),
            ("restorer", ctypes.c_void_p),
        )

    libc = ctypes.CDLL(None)

    def say_and_die(number: int, info: int, context: int) -> None:
        """Report the instruction, and restore the default action: on return it is met again, and ends the process."""
        try:
            if ctypes.c_int.from_address(info + SI_CODE).value > 0:
                address = ctypes.c_void_p.from_address(info + SI_ADDR).value or 0
                # It begins on a new line, whatever a library may have begun to write.
                os.write(2, f"\n{MARK} {json.dumps(look_up(address))}\n".encode())
            else:  # another process sent the signal: no instruction will be met again
                os.kill(os.getpid(), signal.SIGILL)
        finally:
            libc.signal(signal.SIGILL, None)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(say_and_die)
    action = Sigaction(handler=ctypes.cast(handler, ctypes.c_void_p), flags=SA_SIGINFO)
    _handlers.append(handler)
    libc.sigaction(signal.SIGILL, ctypes.byref(action), None)


def look_up(address: int) -> dict[str, Any]:
    """Look an address up in this process's memory map; return "path", "offset" and "code" (see the module)."""
    import ctypes

    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            stretch, _, offset, _, _, *path = line.rstrip("\n").split(maxsplit=5)
            start, end = (int(text, 16) for text in stretch.split("-"))
            if start <= address < end:
                code = ctypes.string_at(address, min(CODE_BYTES, end - address))
                # Shared anonymous memory has a file's name, too: "/dev/zero (deleted)".
                name = path[0] if path and os.path.isfile(path[0]) else ""
                place = _file_address(name, address - start + int(offset, 16)) if name else None
                return {"path": name, "offset": place, "code": code.hex()}
    return {"path": "", "offset": None, "code": ""}


def _file_address(path: str, position: int) -> int | None:
    """Return the address that a library's program headers give a byte of its file; None where they give none."""
    try:
        with open(path, "rb") as file:
            magic, table, size, count = PROGRAM_HEADERS.unpack(file.read(PROGRAM_HEADERS.size))
            if magic != MAGIC:
                return None
            file.seek(table)
            headers = file.read(size * count)
        for start in range(0, len(headers), size or 1):
            kind, offset, address, length = SEGMENT.unpack_from(headers, start)
            if kind == PT_LOAD and offset <= position < offset + length:
                return int(position - offset + address)
    except (OSError, struct.error):
        pass
    return None
