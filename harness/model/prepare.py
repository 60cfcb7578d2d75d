"""``Model(prepare=…)``: the model file's own function that makes drawn inputs valid.

It runs in the process of the file's code, so calling it is a question (see ModelFile.ask). It is applied to all inputs
that hilgate draws (for parity, timing, memory, loading, counting, an export's example), and never to the file's samples
as they come. A recipe is drawn first and then prepared; it gives the same input again as long as prepare returns the
same for the same, which is checked each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import ModelError
from ..host.cache import file_sha256
from .fingerprint import code_sha256
from .inputs import Arrays, describe, measured_sets
from .model import FLOAT_TYPES, Array, Input, Model
from .model_file import ModelFile
from .user_code import users_code, words


def prepared(file: ModelFile, sets: Sequence[Arrays]) -> list[Arrays]:
    """Prepare drawn sets of inputs in the process of the file's code; return them as they are without ``prepare``.

    Raises:
        ModelError: As prepared_here.
    """
    return list(sets) if file.model.prepare is None or not sets else file.ask(run_prepare, list(sets))


def prepared_measured_sets(file: ModelFile, count: int) -> list[Arrays]:
    """Draw and prepare ``count`` sets of inputs for the closed loop, at the measured sizes.

    Raises:
        ModelError: As prepared_here.
    """
    return prepared(file, measured_sets(file.model, count))


def prepare_sha256(file: ModelFile) -> str:
    """Hash the code of a file's ``prepare``, or the whole file if that cannot be hashed: a question about a file.

    Returns:
        The hash; "" without ``prepare``.
    """
    if file.model.prepare is None:
        return ""
    try:
        return code_sha256(file.model.prepare)
    except Exception:  # noqa: BLE001  # whatever pickling raises
        return file_sha256(file.path)


def run_prepare(file: ModelFile, sets: Sequence[Arrays]) -> list[Arrays]:
    """Prepare sets of inputs: a question about a file.

    Raises:
        ModelError: As prepared_here.
    """
    return prepared_here(file.model, sets, str(file.path))


def prepared_here(model: Model, sets: Sequence[Arrays], where: str = "") -> list[Arrays]:
    """Prepare sets of inputs in this process, which runs the model file's code.

    Each set is prepared twice, and the first once more after the others: neither chance nor earlier calls may decide
    what is tried.

    Args:
        model: The model; without ``prepare``, the sets are returned as they are.
        sets: The drawn inputs.
        where: The model file, for messages.

    Raises:
        ModelError: prepare() raises, returns other names, shapes or dtypes than it was given, or returns something else
            at a later call.
    """
    if model.prepare is None:
        return list(sets)
    results = []
    for arrays in sets:
        result = _call_prepare(model, arrays, where)
        _check_same(result, _call_prepare(model, arrays, where), "called twice on the same inputs", arrays, where)
        results.append(result)
    if len(sets) > 1:
        what = "called on the same inputs before and after others"
        _check_same(results[0], _call_prepare(model, sets[0], where), what, sets[0], where)
    return results


def _call_prepare(model: Model, arrays: Arrays, where: str) -> Arrays:
    """Call prepare() once, on copies, to which it may write; return copies, because it may keep what it returns.

    Raises:
        ModelError: It raises, or returns something else than inputs like those that it was given.
    """
    assert model.prepare is not None
    wanted = f"the same inputs, valid: {describe(arrays)}"
    try:
        with users_code():
            returned = model.prepare({name: np.array(array) for name, array in arrays.items()})
            is_dict = isinstance(returned, Mapping)
            made = {name: np.array(array, order="C") for name, array in returned.items()} if is_dict else {}
    except (Exception, SystemExit) as error:
        hint = "it takes a dict of arrays by input name, and returns one"
        raise ModelError("prepare() raised", wanted=wanted, found=words(error), where=where, hint=hint) from error
    if not is_dict:
        hint, found = "end it with `return`, and the dict that it was given or another one", type(returned).__name__
        raise ModelError("prepare() returned no dict", wanted=wanted, found=found, where=where, hint=hint)
    wrong = [*_wrong_names(arrays, made), *(line for item in model.inputs for line in _wrong_array(item, arrays, made))]
    if wrong:
        what = "prepare() returned other inputs than it was given"
        hint = "return a dict with every input, of the shape and dtype that it had: …astype(x.dtype)"
        raise ModelError(what, wanted=wanted, found="; ".join(wrong), where=where, hint=hint)
    return {name: made[name] for name in arrays}


def _wrong_names(arrays: Mapping[str, Array], made: Mapping[str, Array]) -> list[str]:
    missing = [f"no {name}" for name in arrays if name not in made]
    return missing + [f"{name!r}, which is no input" for name in made if name not in arrays]


def _wrong_array(item: Input, arrays: Mapping[str, Array], made: Mapping[str, Array]) -> list[str]:
    """List what is wrong with one input: another shape (sizes stand beside every figure) or dtype, NaN, infinity."""
    if item.name not in arrays or item.name not in made:
        return []
    before, after = arrays[item.name], made[item.name]
    if (before.dtype, before.shape) != (after.dtype, after.shape):
        return [f"{item.name}: {after.dtype}{list(after.shape)} for {before.dtype}{list(before.shape)}"]
    if item.dtype not in FLOAT_TYPES:
        return []
    kinds = {
        "NaN": not item.allow_nan and bool(np.isnan(after).any()),
        "infinity": not item.allow_infinity and bool(np.isinf(after).any()),
    }
    return [f"{item.name}: {kind} in it, which the Input does not allow" for kind, there in kinds.items() if there]


def _check_same(first: Arrays, second: Arrays, when: str, arrays: Arrays, where: str) -> None:
    """Refuse results that differ in their bytes.

    Raises:
        ModelError: They do; the message names the inputs.
    """
    differing = [name for name, array in first.items() if array.tobytes() != second[name].tobytes()]
    if differing:
        raise ModelError(
            f"prepare() returns something else each time: {when}",
            wanted="the same bytes for the same inputs, so that what was tried can be tried again",
            found=f"{', '.join(differing)} differ, for {describe(arrays)}",
            where=where,
            hint="draw nothing there, and keep nothing: derive what is random from the inputs, which are",
        )
