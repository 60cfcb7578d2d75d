"""The model file's samples that the search for mismatches mutates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...model.inputs import Arrays
from ...model.model import Model

# At most so many real samples, of so many bytes together, are mutated.
SAMPLES = 4
SAMPLE_BYTES = 1 << 26


def samples_of(sets: Sequence[Arrays], model: Model) -> list[Arrays]:
    """Choose the samples that are mutated: so many as go into one call to the device.

    Args:
        sets: all samples, cut into sets of their own sizes.
        model: names its inputs.
    """
    size = max((sum(array.nbytes for array in arrays.values()) for arrays in sets), default=1)
    count = max(min(SAMPLES, len(sets), SAMPLE_BYTES // max(size, 1)), min(len(sets), 1))
    chosen = np.linspace(0, len(sets) - 1, count).round().astype(int)
    return [{item.name: np.ascontiguousarray(sets[index][item.name]) for item in model.inputs} for index in chosen]
