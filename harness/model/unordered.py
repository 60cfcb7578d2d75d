"""``Unordered``: outputs whose rows form a set; and how a model file names outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ModelError
from ..host.suggestion import did_you_mean


@dataclass(frozen=True)
class Unordered:
    """Outputs whose rows form a set: row i of one belongs to row i of the others, and their order means nothing.

    For detectors, say, whose boxes may come in any order. Parity matches a backend's rows with the reference's, so that
    the worst pair is as close as possible, and then compares them like any other output (docs/parity.md).

    Args:
        outputs: The outputs whose rows belong together. Each is named as messages show it (``"output_boxes"``), by
            what only that name ends in (``"boxes"``), or by its place among the outputs, an int from 0.
        axis: The axis that counts the rows, an int ≥ 0. Axes before it (a batch) are compared one by one. Default: 0.

    Raises:
        ModelError: ``outputs`` is empty or has something else than texts and ints, or ``axis`` is no int ≥ 0. Whether
            the model has such outputs is only known, and refused, when it is built.

    Example:
        >>> from harness import Unordered
        >>> Unordered(("boxes", "scores", "labels"), axis=1)  # boxes [batch, rows, 4], scores and labels [batch, rows]
        Unordered(outputs=('boxes', 'scores', 'labels'), axis=1)
    """

    outputs: Sequence[str | int]
    axis: int = 0

    def __post_init__(self) -> None:
        outputs = (self.outputs,) if isinstance(self.outputs, (str, int)) else self.outputs
        usable = isinstance(outputs, Sequence) and all(type(output) in (str, int) for output in outputs)
        if not usable or not outputs:
            wanted = 'names or places of outputs, such as ("boxes", "scores", "labels")'
            raise ModelError("unordered is not usable", wanted=wanted, found=repr(self.outputs), where=WHERE)
        if type(self.axis) is not int or self.axis < 0:
            raise ModelError("unordered has no usable axis", wanted="an int ≥ 0", found=repr(self.axis), where=WHERE)
        object.__setattr__(self, "outputs", tuple(outputs))


WHERE = "Model(unordered=…)"


def read_unordered(value: object) -> tuple[Unordered, ...]:
    """Read ``Model(unordered=…)``: a list of Unordered, or of groups of names.

    Raises:
        ModelError: It is no such list.
    """
    if isinstance(value, (str, Unordered)) or not isinstance(value, Sequence):
        wanted = 'a list of groups, such as [("boxes", "scores", "labels")]'
        raise ModelError("unordered is not usable", wanted=wanted, found=repr(value), where=WHERE)
    return tuple(group if isinstance(group, Unordered) else Unordered(group) for group in value)


@dataclass(frozen=True)
class RowSet:
    """A group of outputs whose rows form a set, by their full names."""

    outputs: tuple[str, ...]
    axis: int


def row_sets(groups: Sequence[Unordered], outputs: Sequence[str]) -> tuple[RowSet, ...]:
    """Resolve groups to the full names of the model's outputs.

    Args:
        groups: What the model file declares.
        outputs: The names of the model's outputs.

    Raises:
        ModelError: A name fits no output, or several; or an output is in two groups.
    """
    resolved = [
        RowSet(tuple(find_output(output, outputs, "unordered") for output in group.outputs), group.axis)
        for group in groups
    ]
    names = [name for each in resolved for name in each.outputs]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ModelError("an output is named twice in unordered", found=", ".join(twice), where=WHERE)
    return tuple(resolved)


def find_output(output: str | int, outputs: Sequence[str], what: str) -> str:
    """Find the output that a model file means: by its name, by what only that name ends in, or by its place from 0.

    Args:
        output: The name or place, as the file has it.
        outputs: The names of the model's outputs.
        what: The argument of Model that names it, for messages, such as "unordered".

    Returns:
        The output's full name.

    Raises:
        ModelError: It fits no output, or several.
    """
    if isinstance(output, int):
        fitting = [outputs[output]] if 0 <= output < len(outputs) else []
    else:
        whole = [name for name in outputs if name in (output, f"output_{output}")]
        fitting = whole or [name for name in outputs if name.endswith(f"_{output}")]
    if len(fitting) != 1:
        found = "several outputs" if fitting else "no output"
        wanted = f"one of {', '.join(outputs)}, or what only one of them ends in"
        hint = "" if fitting else did_you_mean(output, outputs)
        raise ModelError(
            f"{what} names {found}", wanted=wanted, found=repr(output), where=f"Model({what}=…)", hint=hint
        )
    return fitting[0]
