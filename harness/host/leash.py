"""The process between us and a program that starts others (a build, pip): where we go, however we go, all of them go.

    python leash.py PID COMMAND…

PID is ours. It leads a session of its own, so that one signal to its group ends all (issue 17). Run as a file: standard
library only.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence


def leashed(command: Sequence[str]) -> list[str]:
    """A command that runs another, to be started in a session of its own: ``start_new_session=True``."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def end_session(process: "subprocess.Popen[str]") -> None:
    """End a leashed program that may still run, with all that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main(parent: int, command: list[str]) -> None:
    """Run it to its end, or to ours; ends as it has ended."""
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
