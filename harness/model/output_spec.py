"""What a model file declares of outputs: ``Output``, how large one is; ``Closeness``, how close a backend must come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..agent.frames import Array
from ..checks.limits import is_finite_number
from ..errors import ModelError


@dataclass(frozen=True)
class Output:
    """How large the elements of one output may be, for parity's rule about small answers.

    An error of one unit in the last place of ``max_value`` is within what float32 costs, even where all elements of an
    answer happen to be small. Without an ``Output`` hilgate estimates this from inputs that fill the declared range and
    from the samples (docs/parity.md, "Small answers").

    Args:
        name: The output's name as messages show it: ``"output"`` if there is one, ``"output_0"``, … of a tuple or
            list, ``"output_KEY"`` of a dict. What only that name ends in is enough: ``"scores"``.
        max_value: The largest magnitude of an element, in the output's own unit; a finite number > 0. A probability's
            is 1.

    Raises:
        ModelError: The name is no text or is empty, or ``max_value`` is no finite number > 0.

    Example:
        >>> from harness import Output
        >>> Output("speech", max_value=1.0)
        Output(name='speech', max_value=1.0)
        >>> Output("speech", max_value=0)
        Traceback (most recent call last):
        harness.errors.ModelError: max_value is not usable
          wanted: a number > 0
          found:  0
          where:  Output('speech')
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
    """How close a backend must come to eager PyTorch, as a relative and an absolute tolerance.

    Give it as ``Model(tolerance=Closeness(…))`` in place of a number, for models that compute in a narrower type by
    intent (float16, TF32, int8), or that have no float64 run. Each element of a backend's output is then compared with
    eager PyTorch's, as numpy.isclose does it with eager as the second argument:

        |backend − eager| ÷ (atol + rtol · |eager|) ≤ 1

    The largest left side over all elements is the figure of ``parity``, whose limit is then 1. NaN and infinities must
    be where eager has them, and shapes and integers must be equal.

    Args:
        rtol: The error allowed as a fraction of the magnitude of eager's element (no unit). A finite number ≥ 0.
            Default: 0.
        atol: The error allowed besides, in the output's own unit; it decides where eager's element is near 0. A finite
            number ≥ 0. Default: 0.

    Raises:
        ModelError: One of the two is no finite number ≥ 0, or both are 0.

    Example:
        >>> import numpy as np
        >>> from harness import Closeness
        >>> closeness = Closeness(rtol=0.01, atol=0.001)
        >>> closeness.allowed(np.array([0.0, 2.0])).tolist()
        [0.001, 0.021]
        >>> Closeness()
        Traceback (most recent call last):
        harness.errors.ModelError: a closeness is not usable
          wanted: finite numbers ≥ 0, not both 0
          found:  rtol=0.0, atol=0.0
    """

    rtol: float = 0.0
    atol: float = 0.0

    def __post_init__(self) -> None:
        usable = all(is_finite_number(value) and value >= 0 for value in (self.rtol, self.atol))
        if not usable or self.rtol == self.atol == 0:
            found = f"rtol={self.rtol!r}, atol={self.atol!r}"
            raise ModelError("a closeness is not usable", wanted="finite numbers ≥ 0, not both 0", found=found)

    def allowed(self, eager: Array) -> Array:
        """Return the error that each element may have, atol + rtol · |eager|.

        Args:
            eager: Eager PyTorch's output, array[…] of any float type.

        Returns:
            float64[…] of the same shape, in the output's own unit.
        """
        errors: Array = self.atol + self.rtol * np.abs(eager.astype(np.float64))
        return errors
