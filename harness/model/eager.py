"""Eager runs: the module's own outputs, computed on one thread, or its error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .model import Array
from .user_code import users_code, words

if TYPE_CHECKING:
    import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute on one thread inside the block.

    The last bits of a reference must not depend on how many cores the host has. And while another process keeps a core
    busy, two threads waiting for each other make a digits inference 40 times slower than one (measured).
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_eager(module: torch.nn.Module, arrays: Mapping[str, Array]) -> Any:
    """Run a module on inputs, by position, without gradients, on one thread; return its outputs in its own nesting."""
    import torch

    with torch.no_grad(), one_thread(), users_code("ignore"):
        return module(*(torch.from_numpy(array.copy()) for array in arrays.values()))


def rejection(module: torch.nn.Module, arrays: Mapping[str, Array]) -> str:
    """Run a module on inputs, and return its error as a text; "" if it accepts them."""
    try:
        run_eager(module, arrays)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever forward raises
        return words(error)
    return ""
