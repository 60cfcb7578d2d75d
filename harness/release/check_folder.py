"""The folder ``check`` of a release: a few inputs, the reference's answers, and how far an answer may be off.

``agent/check.py`` and the runner read it, see there. Arrays are files of their elements alone, in C order and
little-endian: a program in C++ can read those, too.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..evidence.schema import Allowed, AnswersEntry, LoadEntry
from .facts import ReleaseFacts
from .parts import Parts
from .paths import CHECK, CHECK_FILE
from .texts import inferences

SCHEMA = 1
MOST_S = 10
# What an agent and a runner know; see ``agent/check_file.py``.
DTYPES = frozenset({"bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"})
# A run keeps one case of at most 64 MiB, or several of 16 together.
MOST_BYTES = 256 << 20
HINT = "run the tests again: a run writes the answers beside its evidence"


def make_check(
    facts: ReleaseFacts, parts: Parts, load: LoadEntry, entry: AnswersEntry, content: bytes
) -> dict[str, bytes]:
    """Make the files of the folder, without the list of executables, by their paths in the release.

    Args:
        facts: the release's.
        parts: its bundle's.
        load: how the artifact is loaded.
        entry: how far the answers may be off.
        content: the file of answers that the entry names.

    Raises:
        InputError: the file is damaged or too large, or is not what the entry and ``load`` say.
    """
    files, cases = make_cases(load, entry, content)
    described = {
        "schema": SCHEMA,
        "backend": facts.backend,
        "load": load.model_dump(mode="json"),
        "wanted": {"packages": dict(parts.packages), "python": "" if parts.is_native else parts.python},
        "same": dict(facts.same),
        "p50_ms": facts.p50_ms,
        "p50_ratio_max": facts.p50_ratio_max,
        "inferences": inferences(facts.p50_ms),
        "most_s": MOST_S,
        "cases": cases,
    }
    files[CHECK_FILE] = (json.dumps(described, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()
    return files


def make_cases(load: LoadEntry, entry: AnswersEntry, content: bytes) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Make the files of the cases, by their paths in the release, and what check.json says of them.

    Raises:
        InputError: the file is damaged or too large, or is not what the entry and ``load`` say.
    """
    arrays = read_arrays(content, entry.path)
    files: dict[str, bytes] = {}
    cases = []
    for index, allowed in enumerate(entry.allowed):
        inputs = [_put(files, arrays, index, "in", number, entry.path) for number in range(len(load.inputs))]
        if len(allowed) != len(load.outputs):
            wanted, found = f"{len(load.outputs)} outputs", f"{len(allowed)} in case {index}"
            raise _refusal("are of another number of outputs", wanted, found, entry.path)
        answers = [
            _answer(_put(files, arrays, index, "out", number, entry.path), one, entry.path)
            for number, one in enumerate(allowed)
        ]
        cases.append({"inputs": inputs, "answers": answers})
    if not cases or arrays:
        found = f"{', '.join(list(arrays)[:5])} beside them" if cases else "none"
        raise _refusal("are not those of the evidence", f"the arrays of {len(cases) or 1} cases", found, entry.path)
    return files, cases


def read_arrays(content: bytes, where: str) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Read all arrays of a file without pickles; by name.

    Raises:
        InputError: the file is damaged, or too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > MOST_BYTES:
            raise _refusal("are too large", f"at most {MOST_BYTES >> 20} MiB", f"{size >> 20} MiB", where)
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: np.asarray(stored[name]) for name in stored.files}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        found = f"{type(error).__name__}: {error}"[:300]
        raise _refusal("cannot be read", "an .npz file without pickles", found, where) from None


def _put(
    files: dict[str, bytes],
    arrays: dict[str, np.ndarray[Any, np.dtype[Any]]],
    index: int,
    side: str,
    number: int,
    where: str,
) -> dict[str, Any]:
    """Move an array to the release's files; return how check.json names it."""
    name = f"{index}.{side}.{number}"
    array = arrays.pop(name, None)
    if array is None:
        raise _refusal("lack an array", name, "none of that name", where)
    if array.dtype.name not in DTYPES:
        raise _refusal("have an array of a type that no check compares", "numbers", f"{name}: {array.dtype}", where)
    portable = array.astype(array.dtype.newbyteorder("<"), copy=False)
    path = f"{CHECK}/{index}-{side}-{number}.bin"
    files[path] = portable.tobytes()
    return {"file": path, "dtype": portable.dtype.str, "shape": list(array.shape)}


def _answer(stored: Mapping[str, Any], allowed: Allowed, where: str) -> dict[str, Any]:
    """Describe an answer; refuse one that every check would refuse: see ``agent/check_file.py``."""
    if allowed.dtype not in DTYPES:
        raise _refusal("are of a type that no check compares", "numbers", repr(allowed.dtype)[:100], where)
    dtype = np.dtype(allowed.dtype).newbyteorder("<")
    is_float = dtype.kind == "f"
    if (np.dtype(stored["dtype"]).kind != "f") if is_float else (stored["dtype"] != dtype.str):
        found = f"{stored['dtype']} for an output of {allowed.dtype}"
        raise _refusal("are of another type than the outputs", "floats for floats, else the same", found, where)
    if not is_float and (allowed.atol or allowed.rtol):
        found = f"atol {allowed.atol:g} and rtol {allowed.rtol:g} of {allowed.dtype}"
        raise _refusal("may be off where they are right or wrong", "0 and 0", found, where)
    return {**stored, "output_dtype": dtype.str, "atol": allowed.atol, "rtol": allowed.rtol}


def _refusal(what: str, wanted: str, found: str, where: str) -> InputError:
    return InputError(f"the reference's answers {what}", wanted=wanted, found=found, where=where, hint=HINT)


def executables(paths: Sequence[str]) -> bytes:
    """Write ``check/executable``: the paths of the executable files, sorted by their bytes, one a line."""
    return "".join(f"{path}\n" for path in sorted(paths, key=str.encode)).encode()
