"""SHA256SUMS: the hash of each file of a release, as ``sha256sum --check`` reads it.

There is one way only to write it: each line a hash in lower case, two spaces and a name, sorted by the names' bytes. So
the file's own SHA-256 names a release, and two readers cannot understand it differently. sha256sum escapes names with a
backslash or a newline; no name in a release has either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import InputError
from .paths import SUMS, check_name

# Twice what 200,000 files, the most that a runtime may have, need with names of ordinary length.
MOST_BYTES = 64 << 20
LINE = re.compile(r"([0-9a-f]{64})  (.+)", re.DOTALL)
SHA256 = re.compile(r"[0-9a-f]{64}")


def write_sums(hashes: Mapping[str, str]) -> bytes:
    """Write the content of SHA256SUMS.

    Args:
        hashes: SHA-256 in hexadecimal, by path.

    Raises:
        InputError: a path cannot be in a release, or there is none at all.
    """
    for name, sha256 in hashes.items():
        if SHA256.fullmatch(sha256) is None:
            raise ValueError(f"no SHA-256 in hexadecimal: {sha256!r}")
        if (problem := _name_problem(name)) is not None:
            raise InputError(
                "a file cannot be in a release", wanted="a plain name", found=f"{problem}: {_shown(name)}", where=SUMS
            )
    if not hashes:
        raise InputError("a release without files cannot be", wanted="a file", found="none", where=SUMS)
    lines = (f"{hashes[name]}  {name}\n" for name in sorted(hashes, key=str.encode))
    return "".join(lines).encode()


def read_sums(content: bytes, where: str) -> dict[str, str]:
    """Read the content of SHA256SUMS.

    Args:
        content: the file's.
        where: its path, for errors.

    Returns:
        SHA-256 in hexadecimal, by path, in the order of the file.

    Raises:
        InputError: it is not what ``write_sums`` writes: a name is none that a file of a release has, or is there
            twice; a line is none of a hash and a name; the lines are not sorted; it is cut short, or has none.
    """
    if len(content) > MOST_BYTES:
        raise _refusal("are too large", f"at most {MOST_BYTES} bytes", f"{len(content)} bytes", where)
    if not content:
        raise _refusal("are empty", "a line for each file", "none", where)
    lines = content.split(b"\n")
    if lines.pop():
        raise _refusal("are cut short", "a newline at the end", "none", f"{where}: line {len(lines) + 1}")
    hashes: dict[str, str] = {}
    before = b""
    for number, line in enumerate(lines, start=1):
        sha256, name = _read_line(line, f"{where}: line {number}")
        if name in hashes:
            raise _refusal("name a file twice", "each once", _shown(name), f"{where}: line {number}")
        if name.encode() < before:
            wanted = "sorted by the names' bytes"
            raise _refusal("are not in order", wanted, f"{_shown(name)} later", f"{where}: line {number}")
        hashes[name], before = sha256, name.encode()
    return hashes


def _read_line(line: bytes, where: str) -> tuple[str, str]:
    """Read one line, without its newline."""
    found = LINE.fullmatch(line.decode("utf-8", "surrogateescape"))
    if found is None:
        wanted = "64 hexadecimal digits in lower case, two spaces, a name"
        raise _refusal("have a line that is none", wanted, _shown(line.decode("utf-8", "replace")), where)
    sha256, name = found.groups()
    if (problem := _name_problem(name)) is not None:
        raise _refusal("name what cannot be in a release", "a plain name", f"{problem}: {_shown(name)}", where)
    return sha256, name


def _name_problem(name: str) -> str | None:
    return "it is the list itself" if name == SUMS else check_name(name)


def _refusal(what: str, wanted: str, found: str, where: str) -> InputError:
    hint = "fetch the release again, from whom it was signed by"
    return InputError(f"the sums of the release {what}", wanted=wanted, found=found, where=where, hint=hint)


def _shown(name: str) -> str:
    """Return a name as Python writes it, in part where it is long."""
    return repr(name) if len(name) <= 200 else f"{name[:200]!r}…"
