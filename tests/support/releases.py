"""Release folders for tests of the check: as much of one as `python -m agent.check` and `runner --check` look at."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness.agent
from harness.agent.frames import Array

Changed = Callable[[Path, dict[str, Any]], None]
CHECK = Path("check/check.json")


@dataclass
class Release:
    """A release folder, and what its check.json says."""

    folder: Path
    said: dict[str, Any]

    def write(self) -> None:
        """Write check.json."""
        (self.folder / CHECK).write_text(json.dumps(self.said), encoding="utf-8")


def make_release(
    folder: Path,
    artifact: str,
    cases: Sequence[tuple[dict[str, Array], dict[str, Array]]],
    *,
    atol: float = 1e-6,
    backend: Path | None = None,
    **load: Any,
) -> Release:
    """Make a release whose artifact is a file there, or put there by the test.

    Args:
        folder: where to, an empty folder.
        artifact: the artifact's path in it.
        cases: inputs and the model's right answers, by name; these are stored as float64 where they are floats.
        atol: what each answer may be off.
        backend: the file of a backend in Python; with it comes the agent.
        load: of the key of that name.
    """
    (folder / "check").mkdir()
    listed = []
    for number, (inputs, answers) in enumerate(cases):
        takes = [_stored(folder, f"{number}-in-{index}", array) for index, array in enumerate(inputs.values())]
        gives = []
        for index, array in enumerate(answers.values()):
            is_float = array.dtype.kind == "f"
            stored = _stored(folder, f"{number}-out-{index}", array.astype("float64") if is_float else array)
            allowed = atol if is_float else 0
            gives.append({**stored, "output_dtype": array.dtype.str, "atol": allowed, "rtol": 0})
        listed.append({"inputs": takes, "answers": gives})
    inputs, answers = cases[0]
    if backend is not None:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(harness.agent.__file__).parent, folder / "agent", ignore=ignored)
        shutil.copyfile(backend, folder / "agent" / "backend.py")
    said = {
        "schema": 1,
        "backend": "some",
        "load": {"artifact": artifact, "inputs": [*inputs], "outputs": [*answers], **load},
        "wanted": {"packages": {}, "python": None},
        "same": {"arch": os.uname().machine},
        "p50_ms": None,
        "p50_ratio_max": None,
        "inferences": 20,
        "most_s": 5,
        "cases": listed,
    }
    release = Release(folder, said)
    release.write()
    return release


def _stored(folder: Path, name: str, array: Array) -> dict[str, Any]:
    (folder / "check" / f"{name}.bin").write_bytes(array.tobytes())
    return {"file": f"check/{name}.bin", "dtype": array.dtype.str, "shape": list(array.shape)}


def put(value: Any, *place: str | int) -> Changed:
    """Change a value of check.json."""

    def change(folder: Path, said: dict[str, Any]) -> None:
        found: Any = said
        for key in place[:-1]:
            found = found[key]
        found[place[-1]] = value

    return change


def without(*place: str | int) -> Changed:
    """Take a key out of check.json."""

    def change(folder: Path, said: dict[str, Any]) -> None:
        found: Any = said
        for key in place[:-1]:
            found = found[key]
        del found[place[-1]]

    return change


def file_with(content: bytes | None, path: str = "check/0-out-0.bin") -> Changed:
    """Replace a file; None removes it."""

    def change(folder: Path, said: dict[str, Any]) -> None:
        (folder / path).unlink()
        if content is not None:
            (folder / path).write_bytes(content)

    return change


def made_by(make: Callable[[Path], None], path: str = "check/0-out-0.bin") -> Changed:
    """Put something else in a file's place."""

    def change(folder: Path, said: dict[str, Any]) -> None:
        (folder / path).unlink()
        make(folder / path)

    return change


def _all_empty(folder: Path, said: dict[str, Any]) -> None:
    for case in said["cases"]:
        for answer in case["answers"]:
            answer["shape"] = [0]
            (folder / answer["file"]).write_bytes(b"")


INPUT, ANSWER = ("cases", 0, "inputs", 0), ("cases", 0, "answers", 0)
REQUIRED = [
    *[(key,) for key in ("schema", "backend", "load", "wanted", "same", "p50_ms", "p50_ratio_max", "inferences")],
    *[("most_s",), ("cases",), ("load", "artifact"), ("load", "inputs"), ("load", "outputs"), ("wanted", "packages")],
    *[("wanted", "python"), ("cases", 0, "inputs"), ("cases", 0, "answers")],
    *[(*place, key) for place in (INPUT, ANSWER) for key in ("file", "dtype", "shape")],
    *[(*ANSWER, key) for key in ("output_dtype", "atol", "rtol")],
]
# What is changed of a release that passes, and words of the reason for which it must not: of a check.json whose model
# has one input of floats, and one answer of four.
WRONG: dict[str, tuple[Changed, str]] = {
    **{f"no-{'-'.join(map(str, place))}": (without(*place), f"has no {place[0]}") for place in REQUIRED},
    "another-schema": (put(2, "schema"), "wanted schema to be a whole number 1"),
    "schema-true": (put(True, "schema"), "wanted schema to be a whole number 1"),
    "unknown-key": (put(1, "policy"), "a key that is not known"),
    "unknown-key-inside": (put(1, *ANSWER, "ulp"), "a key that is not known"),
    "no-cases": (put([], "cases"), "no value to compare"),
    "cases-an-object": (put({}, "cases"), "wanted cases to be a list"),
    "case-without-inputs": (put([], "cases", 0, "inputs"), "cases[0] has 0 inputs, and load names 1"),
    "case-without-answers": (put([], "cases", 0, "answers"), "cases[0] has 0 answers, and load names 1"),
    "empty-answers": (_all_empty, "no value to compare"),
    "unknown-dtype": (put("<c8", *ANSWER, "dtype"), "the type of an array's elements"),
    "big-endian": (put(">f4", *INPUT, "dtype"), "the type of an array's elements"),
    "dtype-a-number": (put(4, *INPUT, "dtype"), "the type of an array's elements"),
    "dtype-of-code": (put("O", *INPUT, "dtype"), "the type of an array's elements"),
    "answer-that-no-output-is-like": (put("<i8", *ANSWER, "dtype"), "cannot be compared"),
    "whole-numbers-off": (put("<i8", *ANSWER, "output_dtype"), "is right or wrong"),
    "negative-atol": (put(-1e-6, *ANSWER, "atol"), "wanted cases[0].answers[0].atol to be a number"),
    "atol-nan": (put(float("nan"), *ANSWER, "atol"), "not the JSON that it must be"),
    "rtol-infinite": (put(float("inf"), *ANSWER, "rtol"), "not the JSON that it must be"),
    "atol-a-text": (put("1e-6", *ANSWER, "atol"), "to be a number"),
    "atol-true": (put(True, *ANSWER, "atol"), "to be a number"),
    "negative-shape": (put([-4], *ANSWER, "shape"), "to be a whole number 0"),
    "shape-a-number": (put(4, *ANSWER, "shape"), "shape to be a list"),
    "shape-of-floats": (put([4.0], *ANSWER, "shape"), "to be a whole number 0"),
    "another-shape": (put([5], *ANSWER, "shape"), "of shape [4]; wanted [5]"),
    "another-rank": (put([2, 2], *ANSWER, "shape"), "of shape [4]; wanted [2, 2]"),
    "another-input-shape": (put([5], *INPUT, "shape"), "check/0-in-0.bin has 16 bytes"),
    "huge-shape": (put([1 << 40, 1 << 20], *INPUT, "shape"), "check/0-in-0.bin has 16 bytes"),
    "shape-that-wraps-round": (put([1 << 32, 1 << 32, 4], *INPUT, "shape"), "check/"),
    "many-dimensions": (put([1] * 65, *ANSWER, "shape"), "dimensions"),
    "file-outside": (put("check/../manifest.json", *INPUT, "file"), "to be a file in check/"),
    "file-absolute": (put("/dev/zero", *INPUT, "file"), "to be a file in check/"),
    "file-with-a-newline": (put("check/0-in\n0.bin", *INPUT, "file"), "to be a file in check/"),
    "file-a-number": (put(7, *INPUT, "file"), "to be a file in check/"),
    "file-twice": (put("check/0-out-0.bin", *INPUT, "file"), "names a file twice"),
    "artifact-outside": (put("../model.onnx", "load", "artifact"), "a path in the release"),
    "artifact-absolute": (put("/model.onnx", "load", "artifact"), "a path in the release"),
    "artifact-none": (put("", "load", "artifact"), "a path in the release"),
    "inputs-none": (put([], "load", "inputs"), "wanted names in load.inputs that differ"),
    "outputs-twice": (put(["y", "y"], "load", "outputs"), "wanted names in load.outputs that differ"),
    "threads-none": (put(0, "load", "threads"), "load.threads to be a whole number 1"),
    "flush-a-number": (put(0, "load", "flush_denormals"), "to be true or false"),
    "options-a-list": (put([], "load", "options"), "load.options to be an object"),
    "p50-zero": (put(0, "p50_ms"), "p50_ms to be a number, more than 0"),
    "ratio-negative": (put(-1, "p50_ratio_max"), "p50_ratio_max to be a number, more than 0"),
    "inferences-none": (put(0, "inferences"), "inferences to be a whole number 1"),
    "inferences-many": (put(10**9, "inferences"), "inferences to be a whole number 1"),
    "most-s-long": (put(1e6, "most_s"), "most_s to be a number"),
    "same-unknown": (put("x", "same", "colour"), "a key that is not known"),
    "same-memory-a-text": (put("4 GiB", "same", "memory_mib"), "memory_mib to be a whole number"),
    "same-a-list": (put([], "same"), "same to be an object"),
    "another-arch": (put("vax", "same", "arch"), "tested with vax"),
    "less-memory": (put(1 << 30, "same", "memory_mib"), "another board than was tested: memory_mib"),
    "another-board": (put("Raspberry Pi 9", "same", "board"), "tested with Raspberry Pi 9"),
    "another-cpu": (put("z80", "same", "cpu"), "tested with z80"),
    "another-libc": (put("glibc-9.9", "same", "libc"), "tested with glibc-9.9"),
    "another-kernel": (put("9.9.9", "same", "kernel"), "tested with 9.9.9"),
    "another-serial": (put("10000000deadbeef", "same", "serial"), "tested with 10000000deadbeef"),
    "no-serial": (put("", "same", "serial"), "told no serial number"),
    "another-output": (put(["z"], "load", "outputs"), "outputs are y; tested: z"),
    "array-missing": (file_with(None), "check/0-out-0.bin cannot be read"),
    "array-cut": (file_with(b"1234"), "check/0-out-0.bin has 4 bytes"),
    "array-of-nan": (file_with(b"\xff" * 32), "a NaN or an infinity"),
    "array-a-link": (made_by(lambda path: path.symlink_to("0-in-0.bin")), "cannot be read"),
    "array-a-fifo": (made_by(os.mkfifo), "is no regular file"),
    "array-a-folder": (made_by(Path.mkdir), "is no regular file"),
}


def _of_text(content: bytes) -> Changed:
    return file_with(content, str(CHECK))


# The same of a check.json that is replaced.
WRONG_FILES: dict[str, tuple[Changed, str]] = {
    "missing": (file_with(None, str(CHECK)), "check/check.json cannot be read"),
    "empty": (_of_text(b""), "not the JSON that it must be"),
    "no-json": (_of_text(b"\x7fELF"), "not the JSON that it must be"),
    "no-utf-8": (_of_text(b'{"schema": "\xff"}'), "not the JSON that it must be"),
    "a-list": (_of_text(b"[]"), "to be an object"),
    "deep": (_of_text(b"[" * 500_000), "not the JSON that it must be"),
    "deep-and-whole": (_of_text(b'{"schema":' + b"[" * 10_000 + b"]" * 10_000 + b"}"), "check/check.json"),
    "doubled-key": (_of_text(b'{"schema": 1, "schema": 1}'), "a key that is there twice"),
    "number-beyond-all": (_of_text(b'{"schema": 1e999}'), "check/check.json"),
    "number-of-many-digits": (_of_text(b'{"schema": ' + b"9" * 900_000 + b"}"), "check/check.json"),
    "too-large": (_of_text(b" " * (1 << 21)), "check/check.json has 2097152 bytes"),
    "a-fifo": (made_by(os.mkfifo, str(CHECK)), "check/check.json is no regular file"),
    "a-folder": (made_by(Path.mkdir, str(CHECK)), "check/check.json is no regular file"),
    "endless": (made_by(lambda path: path.symlink_to("/dev/zero"), str(CHECK)), "check/check.json cannot be read"),
}
