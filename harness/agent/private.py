"""Private folders and files on a machine that others use, too: made private, and refused where they are not.

A folder is as safe as the weakest of those above it: whoever may write to one of them can put another in its place. So
the whole path is checked, link by link, from "/" on: each part belongs to us or to root, and nobody else may write to
it, except for a folder with the sticky bit ("/tmp"), where the next part belongs to us or to root and nobody else can
rename or remove it. The files in a folder that passes need not be checked: nobody else gets to them.

Standard library only, Python ≥ 3.9; the host uses it for its cache, a device for its store (issue 17, points 5 and 6).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import pwd
import shlex
import stat
from typing import Optional

LINKS = 40  # as many as the kernel follows, path_resolution(7)
TRIES = 8
RECORD_BYTES = 1 << 16
ACL = "system.posix_acl_access"
WANTED = "a folder that belongs to its user, or to root, and that nobody else may write to; and so each above it"
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class NotOurs(PermissionError):
    """A path that another user owns or may write to; ``repair`` is a command that mends it, or advice."""

    def __init__(self, path: str, found: str, repair: str, wanted: str = WANTED) -> None:
        super().__init__(errno.EPERM, found, path)
        self.repair = repair
        self.wanted = wanted


def make_folder(path: str) -> list[str]:
    """Make a folder and those above it, readable by us only; return the ones that were missing, the innermost first.

    A folder that exists must be ours already, and no link; others lose their permissions on it.

    Raises:
        NotOurs: another user owns it or may write to it, or to one above it.
        OSError: it cannot be made.
    """
    path = os.path.abspath(path)
    missing = check_way(path)
    made: list[str] = []
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another run of ours; or somebody else, which is seen below
            os.mkdir(folder, 0o700)
            made.insert(0, folder)
        _make_ours(folder)
    _make_ours(path)
    return made


def check_folder(path: str) -> None:
    """Refuse a folder, if it exists, where another user owns it or may write to it, or to one above it.

    Where it is ours, others lose their permissions on it. It may also be root's.

    Raises:
        NotOurs: another user owns it or may write to it, or to one above it.
        OSError: it is a file, or below one.
    """
    if not check_way(path):
        status = os.stat(path)
        check_writers(path, status)  # also with the sticky bit: everybody could put in what is looked for there
        if status.st_uid == os.geteuid():
            _close_to_others(path, status)


def check_entry(path: str, status: os.stat_result) -> None:
    """Refuse an entry that another user owns or may write to, of a folder that is ours by now. Raises: NotOurs."""
    if not _is_trusted(status.st_uid):
        raise _owned_by_another(path, status)
    check_writers(path, status)


def check_way(path: str) -> list[str]:
    """Check the whole path to a folder, as far as it exists; return what is missing of it, the innermost first.

    Raises:
        NotOurs: another user owns a part of it or may write to it.
        OSError: it leads through a file, or in a circle.
    """
    place, links = "/", 0
    left = _parts(path if os.path.isabs(path) else os.path.join(os.getcwd(), path))
    _check(place, os.lstat(place))
    while left:
        name = left.pop()
        if name == "..":
            place = os.path.dirname(place)
            continue
        joined = os.path.join(place, name)
        try:
            status = os.lstat(joined)
        except FileNotFoundError:
            return _missing(joined, left)
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            _check_owner(joined, status, last=not left)
            target = os.readlink(joined)
            left += _parts(target)
            place = "/" if target.startswith("/") else place
            continue
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), joined)
        _check(joined, status, last=not left)
        place = joined
    return []


def _parts(path: str) -> list[str]:
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _missing(first: str, left: list[str]) -> list[str]:
    found = [first]
    for name in reversed(left):
        found.insert(0, os.path.normpath(os.path.join(found[0], name)))
    return found


def _check(path: str, status: os.stat_result, *, last: bool = False) -> None:
    _check_owner(path, status, last=last)
    if not status.st_mode & stat.S_ISVTX:  # there it is the owner of what is in it who counts
        check_writers(path, status)


def _check_owner(path: str, status: os.stat_result, *, last: bool) -> None:
    if _is_trusted(status.st_uid):
        return
    if last:
        raise _owned_by_another(path, status)
    repair = "name a folder outside of it, or run as its owner (with sudo: sudo -H)"
    raise NotOurs(path, f"it belongs to another user: {describe(status)}", repair)


def check_writers(path: str, status: os.stat_result) -> None:
    """Refuse a path that others than its owner may write to. Raises: NotOurs."""
    if others_may_write(path, status):
        who = "every user" if status.st_mode & stat.S_IWOTH else "other users of its group, or of its access list,"
        sudo = "" if status.st_uid == os.geteuid() else "sudo "
        raise NotOurs(path, f"{who} may write to it: {describe(status)}", f"{sudo}chmod go-w {shlex.quote(path)}")


def others_may_write(path: str, status: os.stat_result) -> bool:
    """Whether somebody other than its owner and root may write to a file or folder.

    A user's private group does not count: Debian and Ubuntu make folders that are writable by it. With an access list
    (acl(5)) the group's bits stand for everybody in the list.
    """
    if status.st_mode & stat.S_IWOTH:
        return True
    if not status.st_mode & stat.S_IWGRP:
        return False
    with contextlib.suppress(OSError):
        if os.getxattr(path, ACL, follow_symlinks=False):
            return True
    return not _is_private(status.st_gid)


def _make_ours(path: str) -> None:
    """Make sure that a folder is ours alone; the path to it has been checked."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        raise NotOurs(
            path, f"it is a link, to {os.readlink(path)}", f"name the folder itself; or rm {shlex.quote(path)}"
        )
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    if status.st_uid != os.geteuid() and _is_trusted(status.st_uid):  # safe, but of no use to us
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    if status.st_uid != os.geteuid():
        raise _owned_by_another(path, status)
    check_writers(path, status)
    _close_to_others(path, status)


def _owned_by_another(path: str, status: os.stat_result) -> NotOurs:
    # Not chown: what the other user has put there would then be ours, and be run.
    repair = f"sudo rm -r {shlex.quote(path)}; it is made anew"
    if os.path.ismount(path) or any(os.path.realpath(user.pw_dir) == path for user in pwd.getpwall()):
        repair = "name another folder, or run as its owner"  # a home, or a disk: it holds more than hilgate's files
    return NotOurs(path, f"it belongs to another user: {describe(status)}", repair)


def _close_to_others(path: str, status: os.stat_result) -> None:
    if status.st_mode & OTHERS:
        with contextlib.suppress(OSError):  # a file system without modes of its own
            os.chmod(path, stat.S_IMODE(status.st_mode) & ~OTHERS)


def describe(status: os.stat_result) -> str:
    """Name a file's mode and owner."""
    return f"{stat.filemode(status.st_mode)}, owner {user_name(status.st_uid)}"


def user_name(uid: int) -> str:
    """Name a user; by number where the uid has no name here."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except (KeyError, OverflowError):
        return f"uid {uid}"


def _is_trusted(uid: int) -> bool:
    """Whether a uid is our own, or root's, against whom nothing helps.

    Root trusts no other user either: what a user may write to would run as root. In a user namespace the files of users
    who have no number there all show as the overflow user's; they belong to whoever made the namespace, "/" first.
    """
    return uid in (0, os.geteuid()) or uid == _unmapped()


@functools.lru_cache(maxsize=1)
def _unmapped() -> int:
    """Return the overflow user's number where no user of this namespace has it; else -1."""
    try:
        with open("/proc/sys/kernel/overflowuid", encoding="ascii") as file:
            overflow = int(file.read())
        with open("/proc/self/uid_map", encoding="ascii") as file:
            ranges = [tuple(map(int, line.split())) for line in file]
    except (OSError, ValueError):
        return -1
    return -1 if any(first <= overflow < first + count for first, _, count in ranges) else overflow


def _is_private(gid: int) -> bool:
    """Whether a group has no member but us and root, as far as /etc/passwd and /etc/group tell.

    The members of a directory service's group cannot be listed here: such a group is private only where its number is
    our uid, as those services number private groups.
    """
    if gid == 0:
        return True
    us, accounts = os.geteuid(), _fields("/etc/passwd")
    ours = {"root", *(account[0] for account in accounts if account[2:3] == [str(us)])}
    groups = [group for group in _fields("/etc/group") if group[2:3] == [str(gid)]]
    if not groups:
        return gid == us
    named = {name for group in groups for name in "".join(group[3:4]).split(",") if name}
    return named | {account[0] for account in accounts if account[3:4] == [str(gid)]} <= ours


def _fields(path: str) -> list[list[str]]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n").split(":") for line in file]
    except OSError:
        return []


def open_new(path: str, mode: int = 0o600) -> int:
    """Create a file for writing, in place of whatever has its name; return its descriptor.

    It never follows a link, and never opens what another process made in between.
    """
    for _ in range(TRIES):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with contextlib.suppress(FileExistsError):
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)


def read_file_of(path: str, uid: Optional[int] = None) -> str:  # noqa: UP045  # Python 3.9
    """Read a small file that a user has written, by default ourselves; "" where it is anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        status = os.fstat(descriptor)
        wanted = os.geteuid() if uid is None else uid
        # A hard link to a file that this user has elsewhere was not written for this purpose.
        if not stat.S_ISREG(status.st_mode) or status.st_uid != wanted or status.st_nlink != 1:
            return ""
        # A user's private group counts as that user.
        if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and others_may_write(path, status)):
            return ""
        return os.read(descriptor, RECORD_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def tighten(folder: str) -> None:
    """Take all permissions of others from a folder, and from the files and folders in it."""
    _close_to_others(folder, os.stat(folder))
    for home, folders, files in os.walk(folder):
        for path in (os.path.join(home, name) for name in (*folders, *files)):
            status = os.lstat(path)
            if not stat.S_ISLNK(status.st_mode):
                _close_to_others(path, status)
