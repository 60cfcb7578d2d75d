"""Arm's extensions that CPUs of today's small boards have or lack, and the encodings of their instructions.

The patterns are from the Arm Architecture Reference Manual for A-profile (DDI 0487), chapter C4 "A64 instruction set
encoding": an instruction belongs to an extension when ``word & mask == value`` for one of its pairs. Extensions that
are not listed are not looked for (pointer authentication, for one: older CPUs ignore its common forms as hints).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

Words = np.ndarray[Any, np.dtype[np.uint32]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class Extension:
    """One extension.

    Attributes:
        name: the manual's, FEAT_… without the prefix.
        words: what people call it.
        feature: the kernel's name for it in "Features" of /proc/cpuinfo.
        patterns: (mask, value) of its instructions.
        except_patterns: (mask, value) of instructions that match the patterns, but that any CPU has.
    """

    name: str
    words: str
    feature: str
    patterns: tuple[tuple[int, int], ...]
    except_patterns: tuple[tuple[int, int], ...] = ()

    def find(self, words: Words) -> Flags:
        """Return which of these instructions, uint32[n], need the extension, as bool[n]."""
        found = _any(words, self.patterns)
        return found & ~_any(words, self.except_patterns) if self.except_patterns else found


def _any(words: Words, patterns: Iterable[tuple[int, int]]) -> Flags:
    found = np.zeros(len(words), dtype=np.bool_)
    for mask, value in patterns:
        found |= (words & np.uint32(mask)) == np.uint32(value)
    return found


LSE = Extension(
    name="LSE",
    words="ARMv8.1's atomics",
    feature="atomics",
    patterns=(
        (0x3F208C00, 0x38200000),  # LDADD … LDUMIN, and their ST aliases
        (0x3F20FC00, 0x38208000),  # SWP
        (0x3FA07C00, 0x08A07C00),  # CAS
        (0xBFA07C00, 0x08207C00),  # CASP
    ),
)
EXTENSIONS = (
    LSE,
    Extension(
        name="RDM",
        words="ARMv8.1's rounding multiply-add",
        feature="asimdrdm",
        patterns=(
            (0xBF20F400, 0x2E008400),
            (0xFF20F400, 0x7E008400),
            (0xBF00D400, 0x2F00D000),
            (0xFF00D400, 0x7F00D000),
        ),
    ),
    Extension(name="LRCPC", words="ARMv8.3's load-acquire RCpc", feature="lrcpc", patterns=((0x3FFFFC00, 0x38BFC000),)),
    Extension(
        name="FP16",
        words="half-precision arithmetic",
        feature="asimdhp",
        patterns=(
            (0xFFE00C00, 0x1EE00800),  # scalar, two sources
            (0xFFE07C00, 0x1EE04000),  # one source
            (0xFFE0FC07, 0x1EE02000),  # compare
            (0xFFE00400, 0x1EE00400),  # conditional compare and select
            (0xFFE01FE0, 0x1EE01000),  # immediate
            (0xFF400000 | 0x00800000, 0x1FC00000),  # three sources
            (0x7FE0FC00, 0x1EE00000),  # to and from integers
            (0x7FE00000, 0x1EC00000),  # to and from fixed point
            (0x9F60C400, 0x0E400400),  # vector, three the same
            (0xDF60C400, 0x5E400400),  # the same, scalar
            (0x9F7E0C00, 0x0E780800),  # vector, two registers
            (0xDF7E0C00, 0x5E780800),  # the same, scalar
            (0xBF7FEC00, 0x0E30C800),  # across lanes: the largest, the smallest
            (0xBF7FFC00, 0x0E30F800),
            *((0xBFC0F400, 0x0F000000 | opcode) for opcode in (0x1000, 0x5000, 0x9000)),  # by element
            (0xBFC0F400, 0x2F009000),
            *((0xFFC0F400, 0x5F000000 | opcode) for opcode in (0x1000, 0x5000, 0x9000)),
            (0xFFC0F400, 0x7F009000),
            (0xBFF8FC00, 0x0F00FC00),  # vector, immediate
        ),
        except_patterns=((0xFFFEFC00, 0x1EE24000), (0xFFFFFC00, 0x1EE2C000)),  # FCVT from half precision is ARMv8.0's
    ),
    Extension(
        name="DotProd",
        words="dot product",
        feature="asimddp",
        patterns=((0x9FE0FC00, 0x0E809400), (0x9FC0F400, 0x0F80E000)),
    ),
    Extension(
        name="I8MM",
        words="8-bit integer matrix multiplication",
        feature="i8mm",
        patterns=(
            (0xFFE0F400, 0x4E80A400),  # SMMLA, USMMLA
            (0xFFE0FC00, 0x6E80A400),  # UMMLA
            (0xBFE0FC00, 0x0E809C00),  # USDOT
            (0xBF40F400, 0x0F00F000),  # USDOT, SUDOT by element
        ),
    ),
    Extension(
        name="BF16",
        words="bfloat16",
        feature="bf16",
        patterns=(
            (0xBF60FC00, 0x2E40FC00),  # BFDOT, BFMLAL
            (0xFFE0FC00, 0x6E40EC00),  # BFMMLA
            (0xBF40F400, 0x0F40F000),  # by element
            (0xFFFFFC00, 0x1E634000),  # BFCVT
            (0xBFFFFC00, 0x0EA16800),  # BFCVTN
        ),
    ),
    Extension(
        name="AES",
        words="AES and polynomial multiplication",
        feature="aes",
        patterns=((0xFFFFCC00, 0x4E284800), (0xBFE0FC00, 0x0EE0E000)),
    ),
    Extension(
        name="SHA256", words="SHA-256", feature="sha2", patterns=((0xFFE0CC00, 0x5E004000), (0xFFFFFC00, 0x5E282800))
    ),
    Extension(name="SVE", words="the Scalable Vector Extension", feature="sve", patterns=((0x1E000000, 0x04000000),)),
)

# Versions that run on an emulated Cortex-A72: torch 2.9.1 and onnxruntime 1.32.0 by our tests, the others by trial.
RUNS_WITHOUT_LSE = {
    "torch": ("2.9.1", "2.8.0", "2.7.1", "2.5.1", "2.4.1"),
    "onnxruntime": ("1.32.0",),
}


def lacking(features: Iterable[str]) -> tuple[Extension, ...]:
    """Return the extensions that a CPU lacks, given the features that its kernel lists."""
    there = frozenset(features)
    return tuple(extension for extension in EXTENSIONS if extension.feature not in there)


def needed_by(word: int) -> Extension | None:
    """Return the extension that an instruction needs; None where it is ARMv8.0's, or of an extension not listed."""
    words = np.array([word], dtype=np.uint32)
    return next((extension for extension in EXTENSIONS if extension.find(words)[0]), None)
