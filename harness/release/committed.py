"""The files that decided a run, as they were committed: model, device and lock files, baselines.

The evidence names each with its hash, and the commit that was checked out. Here each is taken from that commit, by the
repository's own objects; what lies in the working tree is not looked at. Its bytes must have the evidence's hash, or
have it with CRLF for LF, as ``eol=crlf`` of .gitattributes has them checked out: no other filter counts, and a file
that Git LFS keeps is refused, for the commit has only its pointer. ``hilgate:NAME`` is a device file that comes with
hilgate; it is compared with that of the hilgate that judges.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from ..device.device import DEVICE_NAME
from ..evidence.schema import FileEntry, RunEntry
from ..host.shipped import DEVICES, ENDPOINTS, NETWORKS
from .committed_file import SHIPPED, CommittedFile, as_checked_out, path_in, refusal_of
from .committed_limits import CellLimits, limits_of
from .policy import Policy
from .refusal import AGAIN, Refusal, each_once
from .repository import OBJECT, NotThere, Repository, Unusable, find

__all__ = ["CellLimits", "CommittedFile", "committed_files", "limits_of"]

# Where hilgate's own files of a kind are.
OWN = {"device": DEVICES, "endpoint": ENDPOINTS, "network": NETWORKS}
LFS = b"version https://git-lfs.github.com/spec/v1\n"
# How many files are named of a tree that is not clean.
NAMED = 5


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
    models = [entry.path for entry in run.files if (entry.kind, entry.name) == wanted[0]]
    if len(models) > 1:  # no run has two of a name: which of them was it?
        yield Refusal(f"the evidence names several files of the model {wanted[0][1]}: {', '.join(models)}", AGAIN)


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
    try:
        head = repository.head()
    except Unusable:
        yield Refusal("the repository has no commit yet", f"commit the project, and {AGAIN}")
        return
    if OBJECT.fullmatch(commit) and head != commit:
        reason = f"the evidence is of commit {commit[:12]}, and {head[:12]} is checked out"
        yield Refusal(reason, f"{AGAIN} on what is checked out, or check out {commit[:12]}")
    try:
        changed = repository.changes()
    except NotThere as error:
        yield refusal_of(error, "the state of the working tree", commit)
        return
    if changed:
        more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        reason = f"the working tree is not clean: {', '.join(changed[:NAMED])}{more}"
        yield Refusal(reason, f"take these back; or commit them, and {AGAIN}")


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


def _shipped(entry: FileEntry) -> CommittedFile:
    """Compare a file of a device, endpoint or network that comes with hilgate."""
    name = entry.path.removeprefix(SHIPPED)
    if entry.kind not in OWN or name != entry.name or not DEVICE_NAME.fullmatch(name):
        raise NotThere("is none of hilgate's own", AGAIN)
    try:
        content = (OWN[entry.kind] / f"{name}.toml").read_bytes()
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


def _made(entry: FileEntry, content: bytes) -> CommittedFile:
    return CommittedFile(kind=entry.kind, name=entry.name, path=entry.path, sha256=entry.sha256, content=content)


def _short(sha256: str) -> str:
    return f"{sha256[:12]}…"
