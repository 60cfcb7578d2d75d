"""The files that decided a run, as they were committed: model, device and lock files, baselines.

The evidence names each with its hash, and the commit that was checked out. Here each is taken from that commit, by the
repository's own objects; what lies in the working tree is not looked at. Its bytes must have the evidence's hash, or
have it with CRLF for LF, as ``eol=crlf`` of .gitattributes has them checked out: no other filter counts, and a file
that Git LFS keeps is refused, for the commit has only its pointer. ``hilgate:NAME`` is a device file that comes with
hilgate; it is compared with that of the hilgate that judges.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..device.device import DEVICE_NAME
from ..evidence.schema import FileEntry, RunEntry
from ..host.shipped import DEVICES
from .policy import Policy
from .refusal import Refusal, each_once
from .repository import OBJECT, NotThere, Repository, Unusable, find

__all__ = ["SHIPPED", "CommittedFile", "committed_files"]

# What the path of one of hilgate's own device files begins with; harness.run.files writes it.
SHIPPED = "hilgate:"
AGAIN = "run the tests again"
LFS = b"version https://git-lfs.github.com/spec/v1\n"
# How many files are named of a tree that is not clean.
NAMED = 5


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


def committed_files(root: Path, run: RunEntry, policy: Policy) -> tuple[list[CommittedFile], list[Refusal]]:
    """Take the files that decided a run from its commit, and compare them with the evidence.

    With ``commit = "HEAD"`` the evidence's commit must be the one that is checked out, and the working tree be as it
    says. With "any" neither is asked of today's tree; the evidence must still be of a commit, and of a clean tree.

    Args:
        root: the project's folder, where pytest.ini is.
        run: the evidence.
        policy: the policy.

    Returns:
        The files that are the evidence's, and all reasons not to release.
    """
    refusals = [*_not_named(run, policy), *_commit_refusals(run)]
    commit = (run.commit or "").partition("+")[0]
    files, of_files = list[CommittedFile](), list[Refusal]()
    try:
        with Repository.of(root) as repository:
            if policy.evidence.commit == "HEAD":
                refusals += _head_refusals(repository, commit)
            if OBJECT.fullmatch(commit):
                files, of_files = _compare(repository, root, commit, run)
    except NotThere as error:
        refusals.append(refusal_of(error, "the committed files", commit))
    return files, each_once([*refusals, *of_files])


def _not_named(run: RunEntry, policy: Policy) -> Iterator[Refusal]:
    """Refuse evidence that does not say which files decided it."""
    named = {(entry.kind, entry.name) for entry in run.files}
    wanted = [("model", policy.release.model), *(("device", name) for name in policy.evidence.devices)]
    for kind, name in wanted:
        if (kind, name) not in named:
            yield Refusal(f"the evidence does not name the file of the {kind} {name}", AGAIN)


def _commit_refusals(run: RunEntry) -> Iterator[Refusal]:
    commit, plus, _ = (run.commit or "").partition("+")
    if run.commit is None:
        remedy = "put the project under git, commit it, and run the tests again"
        yield Refusal("the evidence is of no commit", remedy)
    elif not OBJECT.fullmatch(commit):
        yield Refusal(f"the evidence's commit is none: {run.commit!r:.80}", AGAIN)
    elif plus:
        remedy = "commit what was changed, or take it back, and run the tests again"
        yield Refusal(f"the evidence is of a tree with changes that are not in commit {commit[:12]}", remedy)


def _head_refusals(repository: Repository, commit: str) -> Iterator[Refusal]:
    """Refuse another commit than the evidence's, and a tree that is not as committed, under ``commit = "HEAD"``."""
    other = 'or write evidence.commit = "any" into the policy'
    try:
        head = repository.head()
    except Unusable:
        yield Refusal("the repository has no commit yet", f"commit the project, and {AGAIN}")
        return
    if commit and head != commit:
        reason = f"the evidence is of commit {commit[:12]}, and {head[:12]} is checked out"
        yield Refusal(reason, f"{AGAIN} on what is checked out, check out {commit[:12]}, {other}")
    try:
        changed = repository.changes()
    except NotThere as error:
        yield refusal_of(error, "the state of the working tree", commit)
        return
    if changed:
        more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        reason = f"the working tree is not clean: {', '.join(changed[:NAMED])}{more}"
        yield Refusal(reason, f"commit these, or take them back; {other[3:]}")


def _compare(
    repository: Repository, root: Path, commit: str, run: RunEntry
) -> tuple[list[CommittedFile], list[Refusal]]:
    files, refusals = list[CommittedFile](), list[Refusal]()
    repository.root(commit)  # where it is not there, that is one reason, and not one a file
    for entry in run.files:
        shown = f"the {entry.kind} file {entry.path}"
        try:
            files.append(_shipped(entry) if entry.path.startswith(SHIPPED) else _file(repository, root, commit, entry))
        except NotThere as error:
            refusals.append(refusal_of(error, shown, commit))
    return files, refusals


def refusal_of(error: NotThere, shown: str, commit: str) -> Refusal:
    """Make a refusal of what a commit does not have, under a name for it."""
    joined = " cannot be had: " if isinstance(error, Unusable) else " "
    return Refusal(f"{shown}{joined}{error.reason}".replace("{commit}", f"commit {commit[:12]}"), error.remedy)


def _shipped(entry: FileEntry) -> CommittedFile:
    """Compare a device file that comes with hilgate."""
    name = entry.path.removeprefix(SHIPPED)
    if entry.kind != "device" or name != entry.name or not DEVICE_NAME.fullmatch(name):
        raise NotThere("is none of hilgate's own", AGAIN)
    try:
        content = (DEVICES / f"{name}.toml").read_bytes()
    except OSError:
        raise NotThere("does not come with this hilgate", f"{AGAIN} with this hilgate") from None
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        remedy = f"{AGAIN} with this hilgate, or judge with the one that ran them"
        raise NotThere(f"is not this hilgate's: the evidence has {_short(entry.sha256)}", remedy)
    return _made(entry, content)


def _file(repository: Repository, root: Path, commit: str, entry: FileEntry) -> CommittedFile:
    """Take a file from a commit, and compare it."""
    node = find(repository.root(commit), path_in(repository.top, root, entry.path))
    if not node.is_file:
        kind = {0o120000: "a link", 0o040000: "a folder"}.get(node.mode & 0o170000, "a submodule")
        raise NotThere(f"is {kind} in {{commit}}", f"commit the file itself, and {AGAIN}")
    content = node.read()
    if (same := as_checked_out(content, entry.sha256)) is not None:
        return _made(entry, same)
    if content.startswith(LFS):
        raise NotThere("is kept by Git LFS: {commit} has a pointer", f"keep it in git itself, and {AGAIN}")
    raise NotThere(
        f"is another one in {{commit}}: the evidence has {_short(entry.sha256)}, "
        f"the commit {_short(hashlib.sha256(content).hexdigest())}",
        f"commit it as it was measured, and {AGAIN}, on a clean tree",
    )


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


def _made(entry: FileEntry, content: bytes) -> CommittedFile:
    return CommittedFile(kind=entry.kind, name=entry.name, path=entry.path, sha256=entry.sha256, content=content)


def _short(sha256: str) -> str:
    return f"{sha256[:12]}…"
