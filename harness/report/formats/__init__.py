"""Formats: each is a file here with a function ``render(report) -> str``, found by its name.

To add one, add a file. It is shown by `hilgate report --format NAME`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...host.plugins import load_module, module_names
from ..report import Report

# What a format's file must have.
CONTRACT = {"render": (lambda value: "" if callable(value) else "it is no function", "render(report) -> str")}


def format_names() -> list[str]:
    """List the formats."""
    return module_names(__name__)


def load_format(name: str) -> Callable[[Report], str]:
    """Load the function that renders a report in a format, and with it the libraries that it needs."""
    module: Any = load_module(__name__, name, CONTRACT, "format")
    render: Callable[[Report], str] = module.render
    return render
