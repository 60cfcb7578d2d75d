"""A shared library as the scan needs it: its code, where its functions begin, and which of them calls which.

Only direct calls and branches are found. Calls through a pointer (a virtual method, an entry of a table of kernels) are
not: that is how libraries dispatch to code for newer CPUs.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section

from .extensions import Words

Addresses = np.ndarray[Any, np.dtype[np.int64]]

SHF_EXECINSTR = 4
# Relocations that fill in a function's address, from the ABI for AArch64 (IHI 0056).
R_ABS64, R_RELATIVE = 257, 1027
RELOCATION = np.dtype([("offset", "<u8"), ("type", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])
NOWHERE = -1
# (mask, value) of the instructions that an entry of the procedure linkage table begins with: ADRP x16 and
# LDR x17, [x16, #…].
ADRP_X16, LDR_X17 = (0x9F00001F, 0x90000010), (0xFFC003FF, 0xF9400211)
# Branches with an immediate, from the manual's C4: (mask, value, bits of the immediate, its lowest bit).
BRANCHES = (
    (0x7C000000, 0x14000000, 26, 0),  # B, BL
    (0xFF000010, 0x54000000, 19, 5),  # B.cond
    (0x7E000000, 0x34000000, 19, 5),  # CBZ, CBNZ
    (0x7E000000, 0x36000000, 14, 5),  # TBZ, TBNZ
)
# The table of .eh_frame_hdr (Linux Standard Base): sorted pairs of 32 bits, relative to its section.
SORTED_TABLE = bytes([1, 0x1B, 0x03, 0x3B])
FUNCTION = "STT_FUNC"


@dataclass(frozen=True)
class Code:
    """Consecutive instructions, uint32[n], and the first one's address."""

    address: int
    words: Words

    def addresses(self, places: Addresses) -> Addresses:
        """Return the addresses of instructions, given their indices."""
        return self.address + 4 * places


class Library:
    """An ELF file for AArch64.

    Raises (anywhere):
        ELFError: it is not one, or damaged.
    """

    def __init__(self, content: bytes) -> None:
        self._elf = ELFFile(io.BytesIO(content))
        if self._elf["e_machine"] != "EM_AARCH64":
            raise ELFError(f"for {self._elf['e_machine']}")
        if self._elf.num_sections() == 0:
            raise ELFError("without a table of sections")

    @cached_property
    def code(self) -> tuple[Code, ...]:
        """Its executable sections, without the procedure linkage table."""
        found = []
        for section in self._elf.iter_sections():
            executable = section["sh_flags"] & SHF_EXECINSTR and section["sh_type"] == "SHT_PROGBITS"
            if executable and not section.name.startswith(".plt"):
                words = np.frombuffer(section.data(), dtype="<u4", count=section["sh_size"] // 4)
                found.append(Code(section["sh_addr"], words))
        return tuple(found)

    @cached_property
    def _symbols(self) -> list[tuple[str, int]]:
        """(name, address of a function or 0) of the dynamic symbols, in their order."""
        table = self._section(".dynsym")
        if table is None:
            return []
        symbols = table.iter_symbols()  # type: ignore[attr-defined]
        return [(one.name, one["st_value"] if one["st_info"]["type"] == FUNCTION else 0) for one in symbols]

    @cached_property
    def functions(self) -> Addresses:
        """Where functions begin, sorted: according to the exception tables and the symbols."""
        known = [
            np.array([address for _, address in self._symbols if address], dtype=np.int64),
            *self._exception_table(),
        ]
        return np.unique(np.concatenate(known))

    def _exception_table(self) -> Iterator[Addresses]:
        header = self._section(".eh_frame_hdr")
        data = header.data() if header is not None else b""
        if header is not None and data.startswith(SORTED_TABLE):
            (count,) = struct.unpack_from("<I", data, 8)
            pairs = np.frombuffer(data, dtype="<i4", offset=12, count=2 * count)
            yield pairs[::2].astype(np.int64) + header["sh_addr"]

    def function_of(self, addresses: Addresses) -> Addresses:
        """Return the number of the function that each of the addresses is in; -1 before the first."""
        return np.searchsorted(self.functions, addresses, side="right") - 1

    @cached_property
    def constructors(self) -> Addresses:
        """The functions that the loader calls before anybody else does, by their numbers."""
        array = self._section(".init_array")
        if array is None:
            return np.empty(0, np.int64)
        stored = np.frombuffer(array.data(), dtype="<i8", count=array["sh_size"] // 8).copy()
        relocations = self._relocations(".rela.dyn")
        slots = (relocations["offset"].astype(np.int64) - array["sh_addr"]) // 8
        for slot, one in zip(slots, relocations, strict=True):
            if 0 <= slot < len(stored) and one["type"] in (R_ABS64, R_RELATIVE):
                base = self._symbols[one["symbol"]][1] if one["type"] == R_ABS64 else 0
                stored[slot] = base + one["addend"]
        return np.unique(self.function_of(stored[stored > 0]))

    @cached_property
    def calls(self) -> tuple[Addresses, Addresses]:
        """(callers, callees) by their numbers, in the order of the branches that lead out of a function."""
        pairs = [self._branches(code, *branch) for code in self.code for branch in BRANCHES]
        nothing = np.empty(0, np.int64)
        sources = np.concatenate([nothing, *(source for source, _ in pairs)])
        targets = np.concatenate([nothing, *(target for _, target in pairs)])
        callers, callees = self.function_of(sources), self.function_of(self._resolve_stubs(targets))
        out = (callers != callees) & (callers >= 0) & (callees >= 0)
        order = np.argsort(sources[out], kind="stable")
        return callers[out][order], callees[out][order]

    @staticmethod
    def _branches(code: Code, mask: int, value: int, bits: int, lowest: int) -> tuple[Addresses, Addresses]:
        places = np.flatnonzero((code.words & np.uint32(mask)) == np.uint32(value)).astype(np.int64)
        field = (code.words[places].astype(np.int64) >> lowest) & ((1 << bits) - 1)
        distance = np.where(field >> (bits - 1), field - (1 << bits), field)
        sources = code.addresses(places)
        return sources, sources + 4 * distance

    def _resolve_stubs(self, targets: Addresses) -> Addresses:
        """Replace targets in the procedure linkage table by the library's own function of that name, or by NOWHERE."""
        stubs, slots = self._stubs()
        relocations = self._relocations(".rela.plt")
        if not len(stubs) or not len(relocations):
            return targets
        relocations = np.sort(relocations, order="offset")
        own = np.array([self._symbols[one][1] or NOWHERE for one in relocations["symbol"]], dtype=np.int64)
        filled = np.minimum(np.searchsorted(relocations["offset"], slots), len(relocations) - 1)
        leads_to = np.where(relocations["offset"][filled] == slots, own[filled], NOWHERE)
        nearest = np.minimum(np.searchsorted(stubs, targets), len(stubs) - 1)
        # With branch target identification a stub begins with one instruction more.
        by_stub = (stubs[nearest] - targets >= 0) & (stubs[nearest] - targets <= 4)
        return np.where(by_stub, leads_to[nearest], targets)

    def _stubs(self) -> tuple[Addresses, Addresses]:
        """Return the addresses of the procedure linkage table's entries, and of their slots in the offset table."""
        table = self._section(".plt")
        if table is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        words = np.frombuffer(table.data(), dtype="<u4", count=table["sh_size"] // 4).astype(np.int64)
        pages = (words[:-1] & ADRP_X16[0]) == ADRP_X16[1]
        loads = (words[1:] & LDR_X17[0]) == LDR_X17[1]
        places = np.flatnonzero(pages & loads)
        addresses = table["sh_addr"] + 4 * places.astype(np.int64)
        distance = ((words[places] >> 29) & 3) | (((words[places] >> 5) & 0x7FFFF) << 2)
        distance = np.where(distance >> 20, distance - (1 << 21), distance)
        slot = ((addresses >> 12) + distance << 12) + ((words[places + 1] >> 10) & 0xFFF) * 8
        return addresses, slot

    def _relocations(self, name: str) -> Any:
        section = self._section(name)
        data = section.data() if section is not None else b""
        return np.frombuffer(data, dtype=RELOCATION, count=len(data) // RELOCATION.itemsize)

    def _section(self, name: str) -> Section | None:
        found: Section | None = self._elf.get_section_by_name(name)
        return found
