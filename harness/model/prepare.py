"""``Model(prepare=…)``: the model file's own function of drawn inputs, which makes them valid.

It runs where the file's code does: asking for it is a question (see ModelFile.ask). It is applied to whatever hilgate
draws itself (for parity, timing, memory, loading, counting, the example of an export), and never to the file's samples
as they come. What a recipe stands for is drawn first, then prepared: it can be made again as long as prepare gives the
same for the same, which is seen each time.
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
    """Give drawn sets of inputs as the model file's prepare makes them; as they are where it has none.

    Raises: as prepared_here.
    """
    return list(sets) if file.model.prepare is None or not sets else file.ask(run_prepare, list(sets))


def prepared_measured_sets(file: ModelFile, count: int) -> list[Arrays]:
    """Give inputs for the closed loop, at the measured sizes, prepared.

    Raises: as prepared_here.
    """
    return prepared(file, measured_sets(file.model, count))


def prepare_sha256(file: ModelFile) -> str:
    """Name a file's prepare by its code; by the whole file, where that cannot be hashed: a question about a file.

    Returns:
        "" where there is none.
    """
    if file.model.prepare is None:
        return ""
    try:
        return code_sha256(file.model.prepare)
    except Exception:  # noqa: BLE001  # whatever pickling raises
        return file_sha256(file.path)


def run_prepare(file: ModelFile, sets: Sequence[Arrays]) -> list[Arrays]:
    """Prepare sets of inputs: a question about a file.

    Raises: as prepared_here.
    """
    return prepared_here(file.model, sets, str(file.path))


def prepared_here(model: Model, sets: Sequence[Arrays], where: str = "") -> list[Arrays]:
    """The same in the process of the model's code.

    Each set is prepared twice, and the first once more after the others: neither chance nor what was there before may
    decide what is tried.

    Args:
        where: the model file.

    Raises:
        ModelError: prepare raises; or returns something else than the same inputs with other elements; or others at the
            second call.
    """
    if model.prepare is None:
        return list(sets)
    found = []
    for arrays in sets:
        made = _called(model, arrays, where)
        _check_same(made, _called(model, arrays, where), "called twice on the same inputs", arrays, where)
        found.append(made)
    if len(sets) > 1:
        what = "called on the same inputs before and after others"
        _check_same(found[0], _called(model, sets[0], where), what, sets[0], where)
    return found


def _called(model: Model, arrays: Arrays, where: str) -> Arrays:
    """One call. It gets copies, and may write to them; what it returns is copied, for it may keep it."""
    assert model.prepare is not None
    wanted = f"the same inputs, valid: {describe(arrays)}"
    try:
        with users_code():
            said = model.prepare({name: np.array(array) for name, array in arrays.items()})
            is_dict = isinstance(said, Mapping)
            made = {name: np.array(array, order="C") for name, array in said.items()} if is_dict else {}
    except (Exception, SystemExit) as error:
        hint = "it takes a dict of arrays by input name, and returns one"
        raise ModelError("prepare() raised", wanted=wanted, found=words(error), where=where, hint=hint) from error
    if not is_dict:
        hint, found = "end it with `return`, and the dict that it was given or another one", type(said).__name__
        raise ModelError("prepare() returned no dict", wanted=wanted, found=found, where=where, hint=hint)
    wrong = [*_names(arrays, made), *(line for item in model.inputs for line in _wrong(item, arrays, made))]
    if wrong:
        what = "prepare() returned other inputs than it was given"
        hint = "return a dict with every input, of the shape and dtype that it had: …astype(x.dtype)"
        raise ModelError(what, wanted=wanted, found="; ".join(wrong), where=where, hint=hint)
    return {name: made[name] for name in arrays}


def _names(arrays: Mapping[str, Array], made: Mapping[str, Array]) -> list[str]:
    missing = [f"no {name}" for name in arrays if name not in made]
    return missing + [f"{name!r}, which is no input" for name in made if name not in arrays]


def _wrong(item: Input, arrays: Mapping[str, Array], made: Mapping[str, Array]) -> list[str]:
    """What of an input is not as it has to be: a shape, for sizes are said beside every figure; or a dtype, or NaN."""
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
    """Refuse another answer, by its bytes.

    Raises:
        ModelError: naming the inputs that differ.
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
