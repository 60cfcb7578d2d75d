"""A parent for a program that starts others (a build, pip): when our process ends, however it ends, all of them do.

    python leash.py PID COMMAND…

PID is that of our process. The parent leads a session of its own, so that one signal to its group ends all (issue 17).
It is run as a file, and imports the standard library only.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence


def leashed(command: Sequence[str]) -> list[str]:
    """Return a command that runs another on a leash; start it with ``start_new_session=True``."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def end_session(process: "subprocess.Popen[str]") -> None:
    """End a leashed program, if it still runs, with all that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main(parent: int, command: list[str]) -> None:
    """Run a command until it ends, or until the parent process does; end with its exit status or signal."""
    run = os.pidfd_open(parent)
    if os.getppid() != parent:
        return
    try:
        program = subprocess.Popen(command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")
    ended = os.pidfd_open(program.pid)
    if ended not in select.select([run, ended], [], [])[0]:
        os.killpg(0, signal.SIGKILL)
    status = program.wait()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
