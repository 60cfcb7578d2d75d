"""Reading a release's check.json as if anybody had written it: its bytes, its JSON, and the values in it.

harness/runners/src/check_json.cpp reads the same. Standard library only, Python ≥ 3.9.
"""

from __future__ import annotations

import json
import math
import os
import stat
from typing import Any, Optional

FILE = "check/check.json"
# Three cases of a thousand inputs each take half of it. JSON takes some twenty times its size in memory.
MOST_BYTES = 1 << 20
MOST_DIGITS = 20
_REQUIRED = object()


class CheckFailed(Exception):  # a verdict, with its reason
    """The release did not pass; the message is the reason."""


class Object:
    """An object of the file, whose keys are taken one by one; any that is left over is refused."""

    def __init__(self, found: Any, where: str) -> None:
        if not isinstance(found, dict):
            raise refused(where, "an object", found)
        self.left = dict(found)
        self.where = where

    def take(self, key: str, otherwise: Any = _REQUIRED) -> tuple[Any, str]:
        """Return a member and its place, for messages."""
        where = f"{self.where}.{key}" if self.where else key
        found = self.left.pop(key, otherwise)
        if found is _REQUIRED:
            raise CheckFailed(f"{FILE} has no {where}")
        return found, where

    def end(self) -> None:
        """Refuse keys that nobody took: they could be meant to change what is compared."""
        if self.left:
            raise CheckFailed(f"{FILE} has a key that is not known: {shown(min(self.left))} in {self.where or 'it'}")


def shown(found: Any) -> str:
    """Return what was found, short and in ASCII."""
    if isinstance(found, (dict, list)):
        return "a list" if isinstance(found, list) else "an object"
    spelt = ascii(found)
    return spelt if len(spelt) <= 80 else spelt[:77] + "..."


def refused(where: str, wanted: str, found: Any) -> CheckFailed:
    """Build the error of a value that is not what it must be."""
    return CheckFailed(f"{FILE}: wanted {where} to be {wanted}; found {shown(found)}")


def text(found: Any, where: str, *, empty: bool = True) -> str:
    """Take a text; ``empty``: whether it may be empty."""
    if not isinstance(found, str) or not (found or empty) or "\0" in found:
        raise refused(where, "a text", found)
    return found


def texts(found: Any, where: str) -> list[str]:
    """Take a list of texts."""
    return [text(each, where) for each in listed(found, where)]


def listed(found: Any, where: str) -> list[Any]:
    """Take a list of anything."""
    if not isinstance(found, list):
        raise refused(where, "a list", found)
    return found


def whole(found: Any, where: str, low: int, high: int) -> int:
    """Take a whole number, low … high."""
    if type(found) is not int or not low <= found <= high:
        raise refused(where, f"a whole number {low} … {high}", found)
    return found


def number(found: Any, where: str, *, zero: bool = False, most: float = math.inf) -> float:
    """Take a finite number above 0, or from 0 on, up to ``most``."""
    is_number = type(found) in (int, float) and math.isfinite(found)
    if not is_number or found < 0 or found > most or not (found or zero):
        bounds = "0 or more" if zero else "more than 0"
        raise refused(where, f"a number, {bounds}" + (f", {most:g} at most" if most < math.inf else ""), found)
    return float(found)


def read_file(release: str, path: str, size: Optional[int]) -> bytearray:  # noqa: UP045
    """Read a regular file of a release; no byte of another, and not one byte more than it has.

    Args:
        release: the folder.
        path: the file's path in it.
        size: what it must have; None for any up to MOST_BYTES.

    Raises:
        CheckFailed: it is not there, is no regular file, or is of another size.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO's open would wait for its writer
    try:
        descriptor = os.open(os.path.join(release, path), flags)
    except OSError as error:
        raise CheckFailed(f"{path} cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CheckFailed(f"{path} is no regular file")
        if status.st_size > MOST_BYTES if size is None else status.st_size != size:
            wanted = f"at most {MOST_BYTES}" if size is None else f"the {size} of its type and shape"
            raise CheckFailed(f"{path} has {status.st_size} bytes; wanted {wanted}")
        content = bytearray(status.st_size)
        view = memoryview(content)
        while view:
            count = os.readv(descriptor, [view])
            if not count:
                raise CheckFailed(f"{path} was cut short while it was read")
            view = view[count:]
    except OSError as error:
        raise CheckFailed(f"{path} cannot be read: {error.strerror}") from error
    else:
        return content
    finally:
        os.close(descriptor)


def parse_json(content: bytes) -> Any:
    """Parse JSON, strictly: no doubled keys, no numbers that are none or take long to read.

    Raises:
        CheckFailed: it is no JSON, or not such.
    """

    def integer(digits: str) -> int:
        if len(digits) > MOST_DIGITS:  # a number of millions of digits takes minutes
            raise ValueError(f"a number of {len(digits)} digits")
        return int(digits)

    def constant(name: str) -> Any:
        raise ValueError(f"{name}, which is no number")

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) != len(pairs):
            raise ValueError("an object with a key that is there twice")
        return found

    try:
        return json.loads(
            content.decode("utf-8"), parse_int=integer, parse_constant=constant, object_pairs_hook=members
        )
    except (ValueError, RecursionError) as error:
        raise CheckFailed(f"{FILE} is not the JSON that it must be: {str(error)[:200]}") from error
