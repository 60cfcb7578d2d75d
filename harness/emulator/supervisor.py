"""The process between us and QEMU. Where we go, however we go, QEMU goes too, and the board's folder with it.

    python supervisor.py LIFELINE LOCK FD,FD,… FOLDER COMMAND…

LIFELINE is the reading end of a pipe whose other end only we have: the kernel closes it when we end. LOCK is the
folder's, held until this process ends. The other descriptors are QEMU's. On stdout it says "pid N", and "exit N" once
QEMU has ended (negative: by a signal). Run as a file: standard library only.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1


def main(lifeline: int, descriptors: list[int], folder: str, command: list[str]) -> None:
    """Until both have ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # ours to end is when the lifeline ends
    own = os.getpid()
    libc = ctypes.CDLL(None)

    def die_with_supervisor() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != own:
            os._exit(1)

    with open(os.path.join(folder, "qemu.log"), "wb") as log:
        qemu = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=descriptors,
            preexec_fn=die_with_supervisor,  # noqa: PLW1509  # this process has one thread
        )
    for descriptor in descriptors:
        os.close(descriptor)  # else nobody would see that QEMU closed its own
    say(f"pid {qemu.pid}")
    ended = os.pidfd_open(qemu.pid)
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    poll.register(ended, select.POLLIN)
    if any(descriptor == lifeline for descriptor, _ in poll.poll()):
        qemu.kill()
    say(f"exit {qemu.wait()}")
    with contextlib.suppress(OSError):
        os.read(lifeline, 1)  # its console may still be of interest
    shutil.rmtree(folder, ignore_errors=True)


def say(line: str) -> None:
    """To whoever still listens."""
    with contextlib.suppress(OSError):
        os.write(1, line.encode() + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(word) for word in sys.argv[3].split(",")], sys.argv[4], sys.argv[5:])
