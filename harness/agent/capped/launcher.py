"""Starts a shell script in a memory cgroup of its own, and reports how it went.

Its one argument is JSON: "limit_bytes"; "script", or null, where the group is only made and removed again, to see
whether it can be; "scoped", of a process that systemd has started in a scope.

Without a script it answers with a frame (see wire) on stdout. With one, stdin and stdout are the script's, and the
report is a line on stderr, the last: MARK and JSON. Both have "unavailable" and "found" where no group can be made;
else "limit_bytes", "peak_bytes" and "events". It ends as the script ends.

The launcher is never inside the group: nothing of it counts there, and the kernel does not choose it when memory runs
out.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from typing import Any, Optional

from ..wire import pack_head
from .group import Group, Unavailable, make_group

MARK = "hilgate cap: "
NO_GROUP, NOT_STARTED = 72, 73
IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Do what the argument asks for; see above."""
    asked = json.loads(arguments[0])
    script = asked["script"]
    try:
        group = make_group(asked["limit_bytes"], scoped=bool(asked.get("scoped")))
    except Unavailable as refused:
        found = refused.found
        if refused.reason == "no_place" and not asked.get("scoped"):
            found += f"; {_try_scope(asked)}"
        _tell({"unavailable": refused.reason, "found": found}, on_stderr=script is not None)
        sys.exit(NO_GROUP)
    if script is None:
        report = group.report()
        group.remove()
        _tell(report, on_stderr=False)
        return
    _run(group, script)


def _try_scope(asked: dict[str, Any]) -> str:
    """Go on as another process, in a scope of the user's systemd; return why that cannot be."""
    program, folder = shutil.which("systemd-run"), runtime_folder(os.environ, os.geteuid())
    if program is None:
        return "there is no systemd-run"
    if folder is None:
        return "there is no user manager (no XDG_RUNTIME_DIR with systemd/private)"
    with open("/proc/self/cmdline", "rb") as file:
        words = [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
    command = [sys.executable, *words[1:-1], json.dumps({**asked, "scoped": True})]
    os.environ["XDG_RUNTIME_DIR"] = folder
    # Delegated, so that it may be divided: the launcher in one group of it, the agent in another.
    limits = ["-p", "Delegate=yes", "-p", f"MemoryMax={asked['limit_bytes'] + ROOM_BYTES}", "-p", "MemorySwapMax=0"]
    try:
        os.execv(program, [program, "--user", "--scope", "--quiet", "--collect", *limits, "--", *command])  # noqa: S606
    except OSError as error:
        return f"{program} cannot be run: {error.strerror}"


# Room for the launcher itself in a scope, whose limit would else be reached before the group's.
ROOM_BYTES = 256 << 20


def runtime_folder(environment: Mapping[str, str], uid: int) -> Optional[str]:  # noqa: UP045  # Python 3.9
    """Return the folder in which a user's systemd listens; None where there is none. ``su`` does not name it."""
    for folder in (environment.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}"):
        with contextlib.suppress(OSError):
            if folder and os.stat(f"{folder}/systemd/private").st_uid == uid:
                return folder
    return None


def _run(group: Group, script: str) -> None:
    for number in IGNORED:  # the report comes, and the group is removed, also where the connection drops
        signal.signal(number, signal.SIG_IGN)
    launcher = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(group, script, launcher)
    os.closerange(0, 2)  # the script has them now: their reader must see when it ends
    status = os.waitpid(pid, 0)[1]
    report = group.report()
    group.remove()
    _tell(report, on_stderr=True)
    if os.WIFSIGNALED(status):
        ended_by = os.WTERMSIG(status)
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(ended_by, signal.SIG_DFL)
        os.kill(os.getpid(), ended_by)
    os._exit(os.waitstatus_to_exitcode(status))


def _become(group: Group, script: str, launcher: int) -> None:
    """Become the script, inside the group; it is killed if the launcher is."""
    try:
        for number in IGNORED:
            signal.signal(number, signal.SIG_DFL)
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes  # a Python may lack it

            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == launcher:
            group.enter()
            os.execv("/bin/sh", ["/bin/sh", "-c", script])  # noqa: S606
    except OSError as error:
        os.write(2, f"hilgate: the group cannot be entered: {error}\n".encode())
    finally:
        os._exit(NOT_STARTED)


def _tell(report: dict[str, Any], *, on_stderr: bool) -> None:
    line = f"\n{MARK}{json.dumps(report)}\n".encode()
    view = memoryview(line if on_stderr else pack_head(report))
    with contextlib.suppress(OSError):  # nobody listens any more
        while view:
            view = view[os.write(2 if on_stderr else 1, view) :]


if __name__ == "__main__":
    main(sys.argv[1:])
