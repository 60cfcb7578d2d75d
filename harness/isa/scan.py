"""A static scan of one library for instructions that need an extension, and for those that run when it is loaded.

An instruction *runs at load* when direct calls lead to its function from one of the library's constructors, which the
loader calls, and no test of the CPU directly precedes it. That includes code that a constructor may reach but need not,
and excludes what it reaches through a pointer. Whether other instructions ever run cannot be told statically: kernels
for newer CPUs, which are dispatched to, look the same as unguarded code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .extensions import EXTENSIONS, LSE, Extension, Flags, Words
from .library import Addresses, Code, Library

# GCC's out-of-line atomics (libgcc's lse.S, called with -moutline-atomics): load into x16 a byte that tells whether the
# CPU has LSE, then CBZ x16, then the LSE instruction.
TEST_MASK, TEST = 0x7F00001F, 0x34000010
TEST_WITHIN = 3
NOT_REACHED = -1


@dataclass(frozen=True, kw_only=True)
class Need:
    """A library's instructions of one extension.

    Attributes:
        sites: how many there are, without those that directly follow a test of the CPU.
        tested: how many directly follow a test.
        at_load: how many of the sites run when the library is loaded.
        functions: in how many functions those are.
        first: the address of the one that a constructor seems to reach first; None where none runs at load.
        code: that instruction.
    """

    sites: int
    tested: int
    at_load: int
    functions: int
    first: int | None = None
    code: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON's own types, for the cache and the evidence."""
        return asdict(self)


def scan(library: Library) -> Mapping[str, Need]:
    """Find a library's instructions of each extension; return those of its extensions by name.

    Raises:
        ELFError: it is damaged.
    """
    order = reached_at_load(library)
    found = {extension.name: _need(library, extension, order) for extension in EXTENSIONS}
    return {name: need for name, need in found.items() if need.sites or need.tested}


def reached_at_load(library: Library) -> Addresses:
    """Order the functions as constructors reach them, depth first and as if each branch were taken.

    Returns:
        int64[functions], the place of each in that order; -1 for a function that no constructor reaches.
    """
    callers, callees = library.calls
    bounds = np.searchsorted(callers, np.arange(len(library.functions) + 1))
    order = np.full(len(library.functions), NOT_REACHED, dtype=np.int64)
    waiting = [int(constructor) for constructor in library.constructors[::-1] if constructor >= 0]
    count = 0
    while waiting:
        function = waiting.pop()
        if order[function] == NOT_REACHED:
            order[function] = count
            count += 1
            waiting += callees[bounds[function] : bounds[function + 1]][::-1].tolist()
    return order


def _need(library: Library, extension: Extension, order: Addresses) -> Need:
    sites, tested = list[Addresses](), 0
    for code in library.code:
        needing = extension.find(code.words)
        behind_test = needing & _after_test(code.words) if extension is LSE else np.zeros_like(needing)
        tested += int(behind_test.sum())
        sites.append(code.addresses(np.flatnonzero(needing & ~behind_test).astype(np.int64)))
    every = np.concatenate(sites) if sites else np.empty(0, np.int64)
    functions = library.function_of(every)
    known = functions >= 0
    reached = every[known][order[functions[known]] != NOT_REACHED]
    if not len(reached):
        return Need(sites=len(every), tested=tested, at_load=0, functions=0)
    homes = library.function_of(reached)
    first = int(reached[np.lexsort((reached, order[homes]))[0]])
    return Need(
        sites=len(every),
        tested=tested,
        at_load=len(reached),
        functions=len(np.unique(homes)),
        first=first,
        code=_word_at(library.code, first),
    )


def _after_test(words: Words) -> Flags:
    """Return which instructions follow a test of the CPU within TEST_WITHIN."""
    test: Flags = (words & np.uint32(TEST_MASK)) == np.uint32(TEST)
    behind = np.zeros_like(test)
    for distance in range(1, TEST_WITHIN + 1):
        behind[distance:] |= test[:-distance]
    return behind


def _word_at(code: tuple[Code, ...], address: int) -> int:
    part = next(section for section in code if 0 <= address - section.address < 4 * len(section.words))
    return int(part.words[(address - part.address) // 4])
