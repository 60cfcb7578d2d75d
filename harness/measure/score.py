"""Scoring: the model file's score, or top-1, of eager PyTorch's outputs and of a deployment's."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..agent.structure import flatten, rebuild
from ..errors import ModelError, ProcessError
from ..model.build import BuiltModel, run_eager
from ..model.model import Array
from ..model.user_code import missing_file_hint, users_code, words
from .nesting import describe_arguments
from .sample_set import ALL, SampleSet, read_samples, spread_places
from .top1 import top1

# A key of BuiltModel.kept: the hash of the samples' inputs.
HASH = "hash of the samples"


def scored_samples(built: BuiltModel, at_most: int | None) -> tuple[SampleSet, float] | None:
    """Read the samples, and score eager PyTorch on them: a question (see BuiltModel).

    Args:
        built: The model.
        at_most: How many samples to take; None for all.

    Returns:
        The samples and eager PyTorch's score; None if the model file has no samples.

    Raises:
        ModelError: As read_samples and score.
    """
    samples = read_samples(built, at_most)
    if samples is None:
        return None
    outputs = eager_outputs(built, samples)
    differ = (len({output.shape for output in column}) > 1 for column in zip(*outputs, strict=True))
    samples = replace(samples, lists=frozenset(place for place, each in enumerate(differ) if each))
    accuracy = score(built, samples, outputs)
    if samples.labels.dtype.hasobject:  # they may be of the user's own classes: they stay in this process
        samples = replace(
            samples,
            labels=spread_places(samples.given, len(samples.labels)),
            stay=True,
            inputs_hash=_inputs_hash(built),
        )
    return samples, accuracy


def eager_accuracy(built: BuiltModel, samples: SampleSet) -> float:
    """Score the module's own outputs."""
    return score(built, samples, eager_outputs(built, samples))


def eager_outputs(built: BuiltModel, samples: SampleSet) -> list[list[Array]]:
    """Run the module on each set; return its outputs, one list of arrays per set."""
    runs = (flatten(run_eager(built.module, arrays)) for arrays in samples.sets)
    return [[np.array(leaf.detach().resolve_neg().numpy()) for _, leaf in leaves] for leaves in runs]


def score(built: BuiltModel, samples: SampleSet, outputs: Sequence[Sequence[Array]]) -> float:
    """Compute the model file's score, or top-1, of outputs.

    Args:
        built: The model.
        samples: The samples that the outputs are of; their inputs are not needed.
        outputs: The outputs of each set, in the order of ``built.outputs``.

    Raises:
        ModelError: The outputs have another form than eager's, or score() raises or returns no finite number.
        ProcessError: The labels cannot be had any more.
    """
    function = built.model.score or top1
    labels = _labels(built, samples).copy()  # score() may write to them
    given, what = "", "the outputs cannot be scored"
    try:
        columns = enumerate(zip(*outputs, strict=True))
        joined = [samples.join(column, as_lists=place in samples.lists) for place, column in columns]
        if len(joined) != len(built.outputs):
            raise ValueError(f"wanted the outputs {', '.join(built.outputs)}; found {len(joined)}")
        outcome = rebuild(built.structure, iter(joined))
        given = f"\nit was given\n{describe_arguments(outputs=outcome, labels=labels)}"  # it may change them
        what = "score() raised" if function is built.model.score else what
        with users_code():
            returned = function(outcome, labels)
            what = "score() returned no number" if function is built.model.score else what
            value = float(returned)
    except (Exception, SystemExit) as error:
        found, where, hint = f"{words(error)}{given}", str(built.file.path), missing_file_hint(error)
        raise ModelError(what, found=found, where=where, hint=hint) from error
    if not math.isfinite(value):
        raise ModelError(
            "score() is not usable", wanted="a finite number", found=f"{value}{given}", where=str(built.file.path)
        )
    return value


def _labels(built: BuiltModel, samples: SampleSet) -> Array:
    """Return the samples' labels; read those that stay with the module again if its process was restarted.

    Raises:
        ProcessError: They cannot be read again, or come with other inputs.
    """
    if not samples.stay:
        return samples.labels
    where = f"{built.file.path}: samples"
    try:
        again = read_samples(built)
    except ModelError as error:
        raise ProcessError("the labels cannot be read again", found=str(error), where=where) from error
    if again is None or _inputs_hash(built) != samples.inputs_hash:
        what, wanted = "samples() returns others when it is called again", "the same inputs in the same order"
        raise ProcessError(what, wanted=wanted, where=where, hint="seed what chooses or shuffles them")
    return again.labels[samples.labels]


def _inputs_hash(built: BuiltModel) -> str:
    """Hash the inputs of all samples, once in a process: samples() may return others when it is called again."""
    if HASH not in built.kept:
        digest = hashlib.sha256()
        for name, column in built.kept[ALL][0].items():
            for part in column if isinstance(column, list) else [column]:
                digest.update(f"{name} {part.dtype} {part.shape}".encode())
                digest.update(np.ascontiguousarray(part).data.cast("B") if part.size else b"")
        built.kept[HASH] = digest.hexdigest()
    inputs_hash: str = built.kept[HASH]
    return inputs_hash
