"""What a commit has, read from git's own objects: nothing of the working tree, and no setting of a repository, counts.

Each object is hashed again after it was read, from the commit down to the file, so that a file is the commit's or
refused, whatever was done to the objects, by ``git replace``, or to the index. No filter of a repository is run: what
is compared are the bytes that are stored.

A repository under a submodule's folder is followed at the commit that the outer one names.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

OBJECT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
LINK, SUBMODULE, FOLDER = 0o120000, 0o160000, 0o040000
MOST_LINKS = 40  # in a row, as for the kernel: more are a circle
SECONDS = 60
# What would have git look elsewhere than in the repository of the folder that it is asked about.
_REDIRECTING = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"),
    *("GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_PREFIX"),
)


# What a repository's own settings may not change: a program that they name would run, or a change would not be seen.
_SETTINGS = (
    *("core.fsmonitor=false", "core.hooksPath=/dev/null", "core.untrackedCache=false"),
    *("core.trustctime=true", "core.checkStat=default", "core.ignoreStat=false"),
)


class NotThere(Exception):
    """A commit, or a file of one, cannot be had.

    Attributes:
        reason: why, to follow the file's name: "is not in {commit}", where whoever knows the commit names it.
        remedy: what to do.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


class Unusable(NotThere):
    """The repository itself cannot be used, or lacks an object; ``reason`` is a clause of its own."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """An entry of a folder of a commit.

    Attributes:
        mode: git's.
        oid: the object's name.
        repository: which has it.
    """

    mode: int
    oid: str
    repository: Repository

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.mode & 0o170000 == 0o100000

    def read(self) -> bytes:
        """Return a file's bytes, or what a link leads to."""
        return self.repository.read(self.oid, "blob")


def environment() -> dict[str, str]:
    """Return our environment without what leads git elsewhere, and with messages that do not depend on a language."""
    kept = {name: value for name, value in os.environ.items() if name not in _REDIRECTING}
    return kept | {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}


def ask_git(folder: Path, *words: str) -> bytes:
    """Ask git something about the repository of a folder.

    Raises:
        Unusable: there is no git, or it refuses; the reason is what it says.
    """
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    command = ["git", "-C", str(folder), *settings, *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, env=environment(), check=False)
    except FileNotFoundError:
        raise Unusable("there is no git on this machine", "install git") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise Unusable(f"git cannot be run: {error}", "have `git status` work there") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip() or f"exit status {done.returncode}"
        raise Unusable(f"git says: {said.splitlines()[0][:300]}", f"have `git -C {folder} {words[0]}` work")
    return done.stdout


@dataclass(kw_only=True)
class Repository:
    """A git repository, of which objects are read by their names; use it as a context manager.

    Attributes:
        top: the folder of its working tree, resolved.
    """

    top: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _inner: dict[Path, Repository] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, folder: Path) -> Repository:
        """Find the repository that a folder is in.

        Raises:
            Unusable: there is no git, or no repository.
        """
        try:
            top = ask_git(folder, "rev-parse", "--show-toplevel").removesuffix(b"\n")
        except Unusable as error:
            if "not a git repository" not in error.reason:
                raise
            remedy = "put the project under git (git init, git add, git commit), and run the tests again"
            raise Unusable("the project is in no git repository", remedy) from None
        return cls(top=Path(os.fsdecode(top)).resolve())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for inner in self._inner.values():
            inner.__exit__(kind, error, at)
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def head(self) -> str:
        """Return the commit that is checked out.

        Raises:
            Unusable: there is none yet.
        """
        return ask_git(self.top, "rev-parse", "--verify", "HEAD^{commit}").decode().strip()

    def changes(self) -> list[str]:
        """List what of the working tree is not as committed: changed, added or missing files, by git's own account.

        Files that git was told to look away from count, too: such a bit in the index would hide a change.
        """
        words = ("--porcelain", "-z", "--untracked-files=normal", "--ignore-submodules=none", "--no-renames")
        fields = ask_git(self.top, "status", *words).split(b"\0")
        names = [os.fsdecode(each[3:]) for each in fields if each]
        for line in ask_git(self.top, "ls-files", "-v", "-z").split(b"\0"):
            tag, name = line[:1], os.fsdecode(line[2:])
            if tag.islower() or (tag == b"S" and os.path.lexists(self.top / name)):  # S: also what is not checked out
                names.append(name)
        return list(dict.fromkeys(names))

    def read(self, oid: str, kind: str) -> bytes:
        """Read an object, and hash it.

        Args:
            oid: its name.
            kind: "commit", "tree" or "blob".

        Raises:
            Unusable: the repository does not have it, or what it has is none of that name.
        """
        if not OBJECT.fullmatch(oid):
            raise Unusable(f"{oid!r:.80} names no object of git's", "run the tests again")
        pipe_in, pipe_out = self._pipes()
        pipe_in.write(f"{oid}\n".encode())
        pipe_in.flush()
        head = pipe_out.readline().split()
        if len(head) != 3:
            raise Unusable(
                f"{kind} {oid[:12]} is not in this clone",
                "fetch it: git fetch --all, with --unshallow in a shallow clone",
            )
        content = pipe_out.read(int(head[2]))
        pipe_out.read(1)
        make = hashlib.sha1 if len(oid) == 40 else hashlib.sha256
        found = head[1].decode()
        if found != kind or make(f"{kind} {len(content)}\0".encode() + content).hexdigest() != oid:
            raise Unusable(f"{kind} {oid[:12]} is damaged in this clone", "look at it with git fsck, and clone anew")
        return content

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process is None:
            self._process = subprocess.Popen(
                ["git", "-C", str(self.top), "cat-file", "--batch"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(),
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def root(self, commit: str) -> Node:
        """Return the folder of a commit.

        Raises:
            Unusable: the repository does not have the commit.
        """
        tree = re.match(rb"tree ([0-9a-f]+)\n", self.read(commit, "commit"))
        if tree is None:
            raise Unusable(f"commit {commit[:12]} has no tree", "look at it with git fsck")
        return Node(mode=FOLDER, oid=tree[1].decode(), repository=self)

    def submodule(self, parts: tuple[bytes, ...], commit: str) -> Node:
        """Return the folder of a submodule's commit.

        Raises:
            NotThere: the submodule was not fetched.
        """
        place = self.top.joinpath(*map(os.fsdecode, parts))
        if place not in self._inner:
            found = Repository.of(place) if place.is_dir() else self
            if found.top != place.resolve():
                where = "/".join(map(os.fsdecode, parts))
                raise NotThere(f"lies in the submodule {where}, which is not here", "git submodule update --init")
            self._inner[place] = found
        return self._inner[place].root(commit)


def children(node: Node) -> Iterator[tuple[bytes, Node]]:
    """Yield what a folder has: names, and entries.

    Raises:
        NotThere: the repository does not have it, or it is damaged.
    """
    content, size, at = node.repository.read(node.oid, "tree"), len(node.oid) // 2, 0
    while at < len(content):
        end = content.index(b"\0", at)
        mode, _, name = content[at:end].partition(b" ")
        at = end + 1 + size
        yield name, Node(mode=int(mode, 8), oid=content[end + 1 : at].hex(), repository=node.repository)


def find(root: Node, parts: tuple[bytes, ...], *, follow: bool = False) -> Node:
    """Find a file or folder of a commit by its path from the commit's folder.

    Args:
        root: the commit's folder.
        parts: the names on the way.
        follow: whether links are followed, inside of the commit.

    Raises:
        NotThere: it has nothing of that name, or a link is in its way.
    """
    node, way, left, links = root, tuple[bytes, ...](), list(parts), 0
    base, prefix = root, 0  # of the repository that the way is in, and how much of the way leads to it
    while left:
        name, *left = left
        child = dict(children(node)).get(name) if node.mode == FOLDER else None
        if child is None:
            raise NotThere("is not in {commit}", "commit it, and run the tests again")
        way = (*way, name)
        if child.mode == SUBMODULE:
            node = base = child.repository.submodule(way[prefix:], child.oid)
            prefix = len(way)
        elif child.mode == LINK and (follow or left):
            links += 1
            target = child.read()
            if not follow or links > MOST_LINKS:
                raise NotThere(
                    "is a link, or behind one, in {commit}", "commit the file itself, and run the tests again"
                )
            left = [*_resolved(way[prefix:-1], target), *left]
            node, way = base, way[:prefix]
        else:
            node = child
    return node


def _resolved(folder: tuple[bytes, ...], target: bytes) -> list[bytes]:
    parts = list(folder)
    for part in target.split(b"/"):
        if part == b"..":
            if not parts:
                raise NotThere(
                    "is a link that leads out of {commit}", "commit the file itself, and run the tests again"
                )
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    if target.startswith(b"/"):
        raise NotThere("is a link that leads out of {commit}", "commit the file itself, and run the tests again")
    return parts
