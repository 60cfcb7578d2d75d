"""Packages that only some of hilgate needs, and that are installed when asked for: the extras of pyproject.toml."""

from __future__ import annotations

import importlib.util

from ..errors import InputError

CLOUD = ("starlette", "uvicorn", "h11")


def check_cloud(what: str) -> None:
    """Refuse to begin what needs hilgate[cloud], where that is not installed.

    Args:
        what: what needs it.

    Raises:
        InputError: it says what to install.
    """
    if missing := [name for name in CLOUD if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"{what} needs packages that are not installed",
            wanted=", ".join(CLOUD),
            found=f"no {', '.join(missing)}",
            hint='pip install "hilgate[cloud]"',
        )
