"""What a board is, as it reports itself: see harness.agent.facts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from .fields import Answer, Count, Few, Libc, Mib, Package, Path, PythonVersion, Text, Token, Word, bounded_table

PACKAGES = 1 << 14


class Target(Answer):
    """What a runtime must fit.

    Attributes:
        arch: what platform.machine() returns.
        python: CPython's version there.
        libc: such as "glibc-2.36"; "" where it does not say (musl).
        executable: the Python that was started; "" where it is not known yet.
        packages: which of the packages that were asked for are installed there, NAME: VERSION.
        folders: the folder of each of these.
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
        cpu: the CPU's name: of Arm's cores as compilers spell it, of others as the kernel does.
        features: the CPU's features, in the kernel's words.
        cores: how many CPUs it has.
        memory_mib: its memory; 0 where it does not say.
        board: its name in the device tree; "" where there is none.
        serial: its serial number in the device tree; "" where there is none.
        kernel: the kernel's release.
        bits: its Python's word size.
        governor: the CPU frequency governors in use.
        boot: an identifier that changes with each boot; "" where the kernel has none.
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
        """Refuse packages without folders: otherwise that is noticed only when a runner is built for one."""
        packages: dict[str, Any] = info.data.get("packages", {})
        if folders.keys() != packages.keys():
            raise ValueError("wanted the folder of each package")
        return folders
