"""A second user of this machine, with a uid of its own: what another user could do to us, done by one.

Only root can become another user. For anybody else these tests are skipped with that reason, and counted (issue 17,
points 5 and 6; tests/conftest.py).
"""

from __future__ import annotations

import contextlib
import os
import pickle
import pwd
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.namespaces import NamespacesRefused


def second_uid() -> int:
    """Find a uid that nobody has here.

    Raises:
        NamespacesRefused: we may not become another user.
    """
    if os.geteuid() != 0:
        raise NamespacesRefused("no second user here: only root can become one, run these tests as root")
    taken = {account.pw_uid for account in pwd.getpwall()}
    return next(uid for uid in range(47_110, 60_000) if uid not in taken)


def as_user(uid: int, action: Callable[[], Any], umask: int = 0o022) -> Any:
    """Do something in a process of a user's; return what it returned, or raise what it raised."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        _be(uid, umask, theirs, action)
    os.close(theirs)
    with os.fdopen(ours, "rb") as file:
        content = file.read()
    os.waitpid(pid, 0)
    kind, result = pickle.loads(content)  # noqa: S301  # our own code wrote it
    if kind == "raised":
        raise result
    return result


def _be(uid: int, umask: int, descriptor: int, action: Callable[[], Any]) -> None:
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        os.umask(umask)
        answer = "returned", action()
    except BaseException as error:  # noqa: BLE001  # raised again by our own process
        answer = "raised", error
    with contextlib.suppress(BaseException):
        os.write(descriptor, pickle.dumps(answer))
    os._exit(0)


@contextmanager
def process_of(uid: int, prepare: Callable[[], Any] = lambda: None, seconds: int = 60) -> Iterator[int]:
    """Start a process of a user's that prepares something and then waits; hand out its pid."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(seconds)
        os.close(ours)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        with contextlib.suppress(BaseException):
            kept = prepare()
            os.write(theirs, b"ready")
            while kept is not os:
                signal.pause()
        os._exit(1)
    os.close(theirs)
    try:
        assert os.read(ours, 5) == b"ready"
        yield pid
    finally:
        os.close(ours)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Make a folder such as /tmp and /run/lock: everybody may write there, and remove only their own files."""
    folder = Path(tempfile.mkdtemp(prefix="shared-"))
    folder.chmod(0o1777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
