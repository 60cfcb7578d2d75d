"""A file of a commit: what the evidence calls it, where it is in the repository, and when it is the evidence's."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from .refusal import AGAIN, Refusal
from .repository import NotThere, Unusable

# What the path of one of hilgate's own device files begins with; harness.run.files writes it.
SHIPPED = "hilgate:"


@dataclass(frozen=True, kw_only=True)
class CommittedFile:
    """A file of a run's, as it was committed, with the evidence's hash.

    Attributes:
        kind: "model", "device", "lock" or "baseline".
        name: the model's or the device's; of a lock its file's.
        path: as the evidence has it: relative to the project's folder, or ``hilgate:NAME``.
        content: its bytes, whose SHA-256 is ``sha256``.
    """

    kind: str
    name: str
    path: str
    sha256: str
    content: bytes


def refusal_of(error: NotThere, shown: str, commit: str) -> Refusal:
    """Make a refusal of what a commit does not have, under a name for it."""
    joined = " cannot be had: " if isinstance(error, Unusable) else " "
    return Refusal(f"{shown}{joined}{error.reason}".replace("{commit}", f"commit {commit[:12]}"), error.remedy)


def as_checked_out(content: bytes, sha256: str) -> bytes | None:
    """Return a stored file as git may have checked it out, with this hash; None where it is another file."""
    forms = (content, re.sub(rb"(?<!\r)\n", b"\r\n", content))
    return next((form for form in forms if hashlib.sha256(form).hexdigest() == sha256), None)


def path_in(top: Path, root: Path, path: str) -> tuple[bytes, ...]:
    """Return a path of the evidence's as names from the repository's folder.

    Args:
        top: the folder of the repository's working tree, resolved.
        root: the project's folder.
        path: relative to that.

    Raises:
        NotThere: it leads out of the repository, or is not as hilgate writes one.
    """
    parts = path.split("/")
    climbs = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
    base = root.resolve().relative_to(top).parts if root.resolve().is_relative_to(top) else ()
    names = parts[climbs:]
    if not names or any(name in ("", ".", "..") or "\0" in name for name in names):
        raise NotThere("has a path that hilgate does not write", AGAIN)
    if climbs > len(base) or not root.resolve().is_relative_to(top):
        raise NotThere("lies outside of the repository", f"put it into the repository, commit it, and {AGAIN}")
    try:
        return tuple(os.fsencode(name) for name in (*base[: len(base) - climbs], *names))
    except UnicodeEncodeError:
        raise NotThere("has a path that no file can have", AGAIN) from None
