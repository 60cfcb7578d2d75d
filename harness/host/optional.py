"""Packages that only some of hilgate needs, and that are installed when asked for: the extras of pyproject.toml."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from ..errors import InputError

SERVING = ("starlette", "uvicorn", "h11")
SIGNING = ("botocore",)


def check_cloud(what: str, packages: Sequence[str] = SERVING, where: str = "") -> None:
    """Refuse to begin what needs hilgate[cloud], where that is not installed.

    Args:
        what: what needs it.
        packages: those of hilgate[cloud] that it needs.
        where: what asks for it, such as a device file's key.

    Raises:
        InputError: it says what to install.
    """
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"{what} needs packages that are not installed",
            wanted=", ".join(packages),
            found=f"no {', '.join(missing)}",
            where=where,
            hint='pip install "hilgate[cloud]"',
        )
