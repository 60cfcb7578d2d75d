"""Watching what each module of the model gives while it runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...agent.structure import flatten
from ...model.inputs import Arrays
from ...model.model import Array
from ...model.module_state import version_of
from ..rule.indices import Picking

if TYPE_CHECKING:
    import torch

# Outputs of a module's calls, by "MODULE@CALL:LEAF": the calls of a module and the leaves of an output are counted.
Record = dict[str, Array]
See = Callable[[str, "torch.Tensor"], None]


@dataclass(frozen=True)
class Form:
    """An output without its numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """What its numbers take."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def wide(self) -> Form:
        """The same in float64, if it is a float."""
        return replace(self, dtype=np.dtype("f8")) if self.dtype.kind == "f" else self

    def is_like(self, other: Form) -> bool:
        """Tell whether numbers of both can be compared."""
        return (self.shape, self.wide.dtype) == (other.shape, other.wide.dtype)


def forms_into(found: dict[str, Form]) -> See:
    """Return a ``see`` that keeps the forms of outputs in a dict."""

    def see(name: str, leaf: torch.Tensor) -> None:
        import torch

        with suppress(TypeError):  # numpy has no such numbers: see arrays_of
            dtype = np.dtype(str(leaf.dtype).removeprefix("torch."))
            if dtype.kind in "fiubc" and leaf.layout == torch.strided and not leaf.is_quantized:
                found[name] = Form(tuple(leaf.shape), dtype)

    return see


@contextmanager
def watched(module: torch.nn.Module, see: See) -> Iterator[None]:
    """Within the block, call ``see`` with each output of each module's call when the call ends, by its name."""
    calls: Counter[str] = Counter()

    def hook(name: str) -> Any:
        def note(module: torch.nn.Module, args: Any, output: Any) -> None:
            leaves = [leaf for _, leaf in flatten(output) if hasattr(leaf, "detach")]
            for index, leaf in enumerate(leaves):
                see(f"{name}@{calls[name]}:{index}", leaf)
            calls[name] += 1

        return note

    with ExitStack() as stack:
        for name, part in module.named_modules():
            stack.callback(part.register_forward_hook(hook(name)).remove)
        yield


@contextmanager
def recorded(
    module: torch.nn.Module, picking: Picking | None = None, only: Collection[str] | None = None
) -> Iterator[dict[str, torch.Tensor]]:
    """Record, within the block, the outputs of all calls of all modules, as they are when the call ends.

    Args:
        module: the whole model.
        picking: is told their names, too.
        only: the outputs that are wanted; all without it.
    """
    record: dict[str, torch.Tensor] = {}
    last: list[tuple[torch.Tensor, int | None, torch.Tensor]] = []
    wanted = None if only is None else frozenset(only)

    def copied(leaf: torch.Tensor) -> torch.Tensor:
        """Copy a leaf as it is now; once for a module and those that only hand it on."""
        version = version_of(leaf)
        # A tensor without a version counter may have been written to since: copy it again.
        if not (last and last[0][0] is leaf and last[0][1] == version is not None):
            last[:] = [(leaf, version, leaf.clone())]
        return last[0][2]

    def see(name: str, leaf: torch.Tensor) -> None:
        if wanted is None or name in wanted:
            record[name] = copied(leaf)
            if picking is not None:
                picking.note(name, leaf)

    with watched(module, see):
        yield record


def tensors(arrays: Arrays) -> list[torch.Tensor]:
    """Make tensors of inputs, for forward."""
    import torch

    return [torch.from_numpy(array.copy()) for array in arrays.values()]


def arrays_of(record: Mapping[str, torch.Tensor]) -> Record:
    """Hand recorded tensors on as arrays."""
    result = {}
    for name, tensor in record.items():
        try:
            # A copy that this module made is nobody else's: its numbers need not be copied once more.
            result[name] = np.ascontiguousarray(tensor.resolve_conj().resolve_neg().numpy()).reshape(tensor.shape)
        except (TypeError, RuntimeError):
            continue  # numpy has no such numbers (bfloat16, quantized, sparse): nothing to compare
    return result
