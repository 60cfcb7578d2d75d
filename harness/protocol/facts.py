"""What a board is, as it says itself: see harness.agent.facts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from .fields import Answer, Count, Few, Libc, Mib, Package, Path, PythonVersion, Text, Token, Word, bounded_table

PACKAGES = 1 << 14


class Target(Answer):
    """What a runtime must fit.

    Attributes:
        arch: as platform.machine() has it.
        python: CPython's version there.
        libc: such as "glibc-2.36"; "" where it does not say (musl).
        executable: the Python that was started; "" where it is not known yet.
        packages: what is installed there, of what was asked for, NAME: VERSION.
        folders: where each of these lies.
    """

    arch: Token
    python: PythonVersion
    libc: Libc
    executable: str = ""
    packages: Annotated[dict[Package, Token], *bounded_table(PACKAGES)] = Field({})
    folders: Annotated[dict[Package, Path], *bounded_table(PACKAGES)] = Field({})


class BoardFacts(Target):
    """All that is known of a board.

    Attributes:
        cpu: Arm's cores as compilers spell them, others as the kernel does.
        features: what the CPU can, in the kernel's words.
        board: its name by the device tree; "" where there is none. ``serial``: the same.
        bits: of its Python.
        governor: the CPU frequency governors in use.
        boot: names this time that it is switched on; "" where the kernel does not say.
    """

    executable: Path
    packages: Annotated[dict[Package, Token], *bounded_table(PACKAGES)]
    folders: Annotated[dict[Package, Path], *bounded_table(PACKAGES)]
    cpu: Text
    features: Few[Word]
    cores: Count
    memory_mib: Mib
    board: Text
    serial: Text
    kernel: Text
    bits: Annotated[int, Field(ge=8, le=128, description="a number of bits, from 8 to 128")]
    governor: Few[Word]
    boot: Word

    @field_validator("folders")
    @classmethod
    def _of_each_package(cls, folders: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        """A package without a folder would be missed only when a runner is built for it."""
        packages: dict[str, Any] = info.data.get("packages", {})
        if folders.keys() != packages.keys():
            raise ValueError("wanted the folder of each package")
        return folders
