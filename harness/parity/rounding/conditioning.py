"""What no float32 program can be better than on one input: how far the rounding of the input itself moves the answer.

Eager PyTorch's own error is one sample, and on some inputs a lucky one: the deviation of equal numbers is 0, and so is
what is left of each when their mean is taken off. Another program, whose mean is off in its last place, is not as lucky
there, and at fault no more than eager is on any input beside. So beside a suspicious input a few others are
looked at that no sensor could tell from it: every element x is moved by at most one unit in the last place (where it is
0, of the largest element; where all are, of the range's larger end),

    x₁ = x + δ·2⁻²³·|x|,  δ uniform in −1 … 1, rounded to the input's type, within the declared range

and an error counts as 1 that is as large as

    max |e(x₁) − r(x₁)|,  eager's own error there, or
    max |r(x₁) − r(x)|,   what the answer itself moves by (a backward stable program is off by about that much:
                          Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 1.5).

A jump of the model (a threshold, a rounding) is no conditioning: it is left to the plain rule, so that a backend on the
wrong side of it is still found. It is told by three steps, each 11 times shorter than the one before: along them a
smooth answer's movement m shrinks by one and the same factor (m₂² = m₁·m₃, whatever the order), a jump's does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ...model.inputs import Arrays, sizes_of
from ...model.model import FLOAT_TYPES, Array, Input

Run = Callable[[Arrays], Mapping[str, Array]]

# One unit in the last place, and two shorter steps.
STEPS = (2.0**-23, 2.0**-26.5, 2.0**-30)
# From the first to the last step a smooth movement shrinks at least by this factor; a linear one shrinks by 128.
LEAST = 8.0
# m₂² may differ from m₁·m₃ by this factor.
SMOOTH = 64.0
TRIES = 3
# A run with other picks, or with errors, may take LONGER times as many operators as the model's own, and MORE.
LONGER, MORE = 10, 1000
# How many inputs beside one are run to see whether the model keeps as many rows there.
BESIDE = 12
# Besides these, inputs with all elements moved up, and with all moved down.
SIGNS = (1.0, -1.0)


def input_perturbation(
    inputs: Sequence[Input], arrays: Arrays, here: Mapping[str, Array], eager: Run, exact: Run
) -> dict[str, float]:
    """Return, by output, the error that counts as 1 for the reasons above; 0 where there is none.

    Args:
        inputs: the model's declared inputs.
        arrays: their arrays, by name.
        here: what the float64 run gives for the arrays themselves, by output.
        eager: the model in its own types; arrays by output.
        exact: the same in float64.
    """
    largest: dict[str, float] = {}
    floats = {name: array for name, array in here.items() if array.dtype.kind == "f"}
    for seed in range(TRIES):
        directions = _directions(inputs, arrays, seed)
        if not directions:
            break
        beside = {name: move(STEPS[0]).astype(arrays[name].dtype) for name, move in directions.items()}
        ways = [beside, *({name: move(step) for name, move in directions.items()} for step in STEPS[1:])]
        answers = [exact({**arrays, **way}) for way in ways]
        other = eager({**arrays, **beside})
        for name, there in floats.items():
            if any(one[name].shape != there.shape for one in (*answers, other)):
                continue  # its size depends on the values: nothing can be subtracted
            moves = [largest_difference(answer[name], there) for answer in answers]
            if is_smooth(*moves):
                own = largest_difference(other[name].astype(np.float64), answers[0][name])
                largest[name] = max(largest.get(name, 0.0), moves[0], own)
    return largest


def moved(inputs: Sequence[Input], arrays: Arrays) -> Iterator[Arrays]:
    """Yield inputs that no sensor could tell from this one, in its own types.

    First all elements are moved up by one unit in the last place, then all down: of equal elements that lie at a
    threshold, random moves always leave some on either side of it. Then each at random, by at most one, four and
    sixteen units, four times each.
    """
    for seed in range(-len(SIGNS), BESIDE):
        directions = _directions(inputs, arrays, seed) if seed >= 0 else _directions(inputs, arrays, 0, SIGNS[seed])
        if not directions:
            return
        step = STEPS[0] * 4 ** (max(seed, 0) // (BESIDE // 3))
        yield {**arrays, **{name: move(step).astype(arrays[name].dtype) for name, move in directions.items()}}


def is_smooth(first: float, second: float, third: float) -> bool:
    """Tell whether movements along STEPS are those of a smooth answer, and not of a jump."""
    if first == 0:
        return second == third == 0
    product = first * third
    return product > 0 and third * LEAST <= first and product / SMOOTH <= second * second <= product * SMOOTH


def patience(operators: int) -> int:
    """Return how many operators a run may take where the model's own took these: beyond, a loop no longer converges."""
    return LONGER * operators + MORE


def _directions(
    inputs: Sequence[Input], arrays: Arrays, seed: int, sign: float = 0.0
) -> dict[str, Callable[[float], Array]]:
    """Map each float input's name to a function: relative step -> perturbed input (float64).

    Args:
        inputs: the model's declared inputs.
        arrays: their arrays, by name.
        seed: of the random directions.
        sign: +1 moves all elements up, −1 all down, 0 each at random.
    """
    result = {}
    sizes = sizes_of(inputs, arrays)
    for index, item in enumerate(inputs):
        if item.dtype in FLOAT_TYPES:
            random = np.random.Generator(np.random.Philox([seed, index]))
            result[item.name] = _direction(item.at(sizes), arrays[item.name], random, sign)
    return result


def _direction(item: Input, array: Array, random: np.random.Generator, sign: float = 0.0) -> Callable[[float], Array]:
    wide = array.astype(np.float64)
    finite = np.isfinite(wide)
    largest = float(np.abs(wide).max(initial=0.0, where=finite)) or max(map(abs, item.range))
    sizes = np.where(wide == 0, largest, np.abs(wide))
    delta = np.where(finite, (sign or random.uniform(-1, 1, array.shape)) * sizes, 0.0)

    # A real sample may lie outside the declared range.
    low = float(wide.min(initial=item.range[0], where=finite))
    high = float(wide.max(initial=item.range[1], where=finite))

    def moved(step: float) -> Array:
        there: Array = np.where(finite, np.clip(wide + step * delta, low, high), wide)
        return there

    return moved


def largest_difference(one: Array, other: Array) -> float:
    """Find the largest difference where both are finite."""
    with np.errstate(all="ignore"):
        difference = np.abs(one - other)
    return float(difference.max(initial=0.0, where=np.isfinite(difference)))
