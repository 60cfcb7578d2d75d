"""What a model file declares of outputs: ``Output``, how large one is; ``Closeness``, how close a backend must come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..agent.frames import Array
from ..checks.limits import is_finite_number
from ..errors import ModelError


@dataclass(frozen=True)
class Output:
    """What is known of one output of the model.

    Args:
        name: as messages have it: ``output``, ``output_0``, …; of a dict that forward returns, the key is enough.
        max_value: how large its elements may be, in either direction: an error of one unit in the last place of it
            counts as 1 for parity, also where all elements are small. A probability's is 1.

    Raises:
        ModelError: any of these is not as said.
    """

    name: str
    max_value: float

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name):
            raise ModelError("an output's name is not usable", wanted="a text", found=repr(self.name))
        if isinstance(self.max_value, np.generic):  # a number of numpy's, as Python has it
            object.__setattr__(self, "max_value", self.max_value.item())
        if not is_finite_number(self.max_value) or self.max_value <= 0:
            where = f"Output({self.name!r})"
            raise ModelError("max_value is not usable", wanted="a number > 0", found=repr(self.max_value), where=where)


@dataclass(frozen=True)
class Closeness:
    """How close a backend must come to eager PyTorch, said outright: |found − eager| ≤ atol + rtol · |eager|.

    For each element, as numpy.isclose has it. For what computes in a narrower type by intent, and for models that have
    no float64 run, such as quantized ones.

    Args:
        rtol: as a fraction of eager's element.
        atol: in the output's own unit.

    Raises:
        ModelError: one of them is no number ≥ 0, or both are 0.
    """

    rtol: float = 0.0
    atol: float = 0.0

    def __post_init__(self) -> None:
        usable = all(is_finite_number(value) and value >= 0 for value in (self.rtol, self.atol))
        if not usable or self.rtol == self.atol == 0:
            found = f"rtol={self.rtol!r}, atol={self.atol!r}"
            raise ModelError("a closeness is not usable", wanted="finite numbers ≥ 0, not both 0", found=found)

    def allowed(self, eager: Array) -> Array:
        """The error of each element that counts as 1: float64[…]."""
        largest: Array = self.atol + self.rtol * np.abs(eager.astype(np.float64))
        return largest
