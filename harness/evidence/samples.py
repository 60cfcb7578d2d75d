"""Reading a check's raw samples: the bytes whose hash the evidence has, and nothing else that its path may lead to.

Anybody may have written evidence and samples, so a path is followed only to a regular file in the folder of samples,
never through a link; the file's size is bounded before it is read; and its header is compared with the one that
``ResultsFolder.save_samples`` writes, because numpy's own parser evaluates it and trusts the shape in it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..model.model import Array
from .folder import SAMPLES, name_in
from .schema import CheckEntry

# 64 million inferences, 22 million releases of a sensor's clock.
LARGEST_BYTES = 512 << 20
# What numpy.save writes before an int64[n] or int64[n, 3] in C's order: magic, version, the header's length, the header
# (numpy.lib.format). 18 digits hold every count that a file can have.
MAGIC = b"\x93NUMPY\x01\x00"
HEADER = re.compile(rb"\{'descr': '<i8', 'fortran_order': False, 'shape': \((\d{1,18}),( 3)?\), \} *\n")
ITEM_BYTES = 8
# A count above it is none.
MOST_COUNTED = 1 << 53


@dataclass(frozen=True, kw_only=True)
class ReadSamples:
    """A check's raw samples, or why there are none.

    Attributes:
        values: int64[n], or int64[n, 3] on a sensor's clock; what they are: docs/evidence.md. Read-only. None where
            they cannot be read or are not those of the check.
        problem: why there are no values, in a sentence; "" if there are some. It may quote what the evidence says.
        is_verified: whether the file's bytes have the SHA-256 that the evidence has.
    """

    values: Array | None = None
    problem: str = ""
    is_verified: bool = False

    @property
    def remark(self) -> str:
        """What a reader of the values should know, in a sentence; "" if nothing."""
        if self.values is None or self.is_verified:
            return ""
        return "The raw samples are not verified: the evidence has no SHA-256 of their file."


def read_samples(folder: Path, check: CheckEntry) -> ReadSamples:
    """Read the raw samples that a check names. Never raises: whatever is wrong is the result's ``problem``.

    Args:
        folder: where the evidence.json lies.
        check: the check.
    """
    result = _read_array(folder, check.raw, check.raw_sha256, "raw samples")
    if result.values is not None and (misfit := _misfit_of_length(check, len(result.values))):
        return ReadSamples(problem=f"The raw samples {_quoted(check.raw or '')} {misfit}.")
    return result


def read_raw_inputs(folder: Path, check: CheckEntry) -> ReadSamples:
    """Read which input each of a check's raw samples had, int64[n]; see read_samples."""
    return _read_array(folder, check.raw_inputs, check.raw_inputs_sha256, "raw samples' inputs")


def read_raw_failures(folder: Path, check: CheckEntry) -> ReadSamples:
    """Read how the call of each of a check's raw samples failed, int64[n], 0 if it did not; see read_samples."""
    return _read_array(folder, check.raw_failures, check.raw_failures_sha256, "raw samples' failures")


def read_raw_first_parts(folder: Path, check: CheckEntry) -> ReadSamples:
    """Read when the first part of each answer came, int64[n], in ns from the call's start; see read_samples."""
    return _read_array(folder, check.raw_first_parts, check.raw_first_parts_sha256, "raw samples' first parts")


def read_raw_sides(folder: Path, check: CheckEntry) -> ReadSamples:
    """Read which side answered each of a check's raw samples, int64[n]; see read_samples and harness.deploy.sides."""
    return _read_array(folder, check.raw_sides, check.raw_sides_sha256, "raw samples' sides")


def _read_array(folder: Path, path: str | None, sha256: str | None, what: str) -> ReadSamples:
    if path is None:
        return ReadSamples(problem=f"The check has no {what}.")
    name = name_in(SAMPLES, path)
    if name is None:
        return ReadSamples(problem=f"The path of the {what} leads out of their folder: {_quoted(path)}.")
    try:
        content = read_beside(folder, SAMPLES, name)
    except Refused as refusal:
        return ReadSamples(problem=f"The {what} {_quoted(path)} {refusal}.")
    is_verified = sha256 is not None
    if is_verified and hashlib.sha256(content).hexdigest() != sha256:
        problem = f"The {what} {_quoted(path)} are not those of the evidence: their SHA-256 is another."
        return ReadSamples(problem=problem)
    values = _parse(content)
    if values is None:
        return ReadSamples(problem=f"The {what} {_quoted(path)} are not a whole .npy file of int64[n] or int64[n, 3].")
    return ReadSamples(values=values, is_verified=is_verified)


class Refused(Exception):
    """Why a file is not read, as the end of a sentence."""


def _quoted(path: str) -> str:
    return repr(path if len(path) <= 200 else path[:200] + "…")


def read_beside(folder: Path, home: str, name: str) -> bytes:
    """Read a regular file in one of the evidence's folders, not through a link; the evidence's own folder may be one.

    Args:
        folder: where the evidence.json lies.
        home: the folder in it, such as "samples".
        name: the file's name there.

    Raises:
        Refused: it is not read; the text says why, as the end of a sentence about several files.
    """
    with (
        _opened(folder, os.O_DIRECTORY) as outer,
        _opened(home, os.O_DIRECTORY | os.O_NOFOLLOW, outer) as inner,
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
        _opened(name, os.O_NOFOLLOW | os.O_NONBLOCK, inner) as descriptor,
    ):
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("are no regular file")
        if status.st_size > LARGEST_BYTES:
            raise Refused(f"are larger than {LARGEST_BYTES >> 20} MiB, and are not read")
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read(LARGEST_BYTES)


@contextmanager
def _opened(path: str | Path, flags: int, folder: int | None = None) -> Iterator[int]:
    """Open a path for reading, below an open folder where one is given."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags, dir_fd=folder)
    except OSError as error:
        said = {
            errno.ENOENT: "are not there",
            errno.ELOOP: "lie behind a link, which is not followed",
            errno.ENOTDIR: "lie behind a link, which is not followed, or in no folder",
        }
        raise Refused(said.get(error.errno or 0, f"cannot be read ({error.strerror})")) from error
    except ValueError as error:  # half of a surrogate pair, which no file's name can have
        raise Refused("are not there") from error
    try:
        yield descriptor
    except OSError as error:
        raise Refused(f"cannot be read ({error.strerror})") from error
    finally:
        os.close(descriptor)


def _parse(content: bytes) -> Array | None:
    """Return the array that a .npy file holds; None where it is not what numpy.save writes of an int64[n(, 3)]."""
    begin = len(MAGIC) + 2
    if not content.startswith(MAGIC) or len(content) < begin:
        return None
    end = begin + int.from_bytes(content[len(MAGIC) : begin], "little")
    header = HEADER.fullmatch(content, begin, end) if end <= len(content) else None
    if header is None:
        return None
    shape = (int(header[1]), 3) if header[2] else (int(header[1]),)
    if len(content) - end != shape[0] * (3 if header[2] else 1) * ITEM_BYTES:
        return None
    return np.frombuffer(content, "<i8", offset=end).reshape(shape)


def _misfit_of_length(check: CheckEntry, length: int) -> str:
    """Say how a number of samples contradicts the check; "" if it does not.

    The samples of several contents stand in one file, and a check counts those of the content that was judged; of the
    start's jitter those that were not dropped; of a comparison with another build its pairs. So there are at least as
    many as the check counts, and exactly as many where it says of how many each content, or each process, has.
    """
    counted = _counted_by_content(check)
    if counted is not None and counted != length:
        return f"are {length}, and the check's contents have {counted}"
    if counted is None and check.processes is not None and check.samples != length:
        return f"are {length}, and the check counts {check.samples}"
    if check.samples > length:
        return f"are {length}, fewer than the check counts"
    return ""


def _counted_by_content(check: CheckEntry) -> int | None:
    """Return how many samples all contents of a check have; None where it does not say."""
    by_content = (check.model_extra or {}).get("by_content")
    if not isinstance(by_content, dict) or not by_content:
        return None
    counts = [each.get("samples") if isinstance(each, dict) else None for each in by_content.values()]
    whole = [count for count in counts if type(count) is int and 0 <= count <= MOST_COUNTED]
    return sum(whole) if len(whole) == len(counts) else None
