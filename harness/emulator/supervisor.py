"""The process between us and QEMU: when we end, however that comes, it ends QEMU and removes the board's folder.

    python supervisor.py PID LIFELINE FD,FD,… FOLDER COMMAND…

PID is ours. LIFELINE is the reading end of a pipe that we write to, or close, when we no longer need QEMU. The
supervisor inherits the folder's lock, and holds it until it ends. The other descriptors are QEMU's. It prints "pid N",
and "exit N" once QEMU has ended (negative: by a signal). It is run as a file: standard library only.
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


def main(parent: int, lifeline: int, descriptors: list[int], folder: str, command: list[str]) -> None:
    """Run QEMU until it ends or nobody needs it any more, then remove its folder."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # we end when the run no longer needs us, not on a signal
    needed = select.poll()
    needed.register(lifeline, select.POLLIN)
    # Not the lifeline alone: what was forked from the run, and outlives it, has the other end too.
    needed.register(os.pidfd_open(parent), select.POLLIN)
    if os.getppid() != parent:
        return
    qemu = launch(descriptors, folder, command)
    say(f"pid {qemu.pid}")
    ended = os.pidfd_open(qemu.pid)
    needed.register(ended, select.POLLIN)
    if any(descriptor != ended for descriptor, _ in needed.poll()):
        qemu.kill()
    say(f"exit {qemu.wait()}")
    needed.unregister(ended)
    needed.poll()  # its console may still be of interest
    shutil.rmtree(folder, ignore_errors=True)


def launch(descriptors: list[int], folder: str, command: list[str]) -> "subprocess.Popen[bytes]":
    """Start QEMU so that it ends when this process does."""
    own, libc = os.getpid(), ctypes.CDLL(None)

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
    return qemu


def say(line: str) -> None:
    """Write a line to stdout, if anybody still reads it."""
    with contextlib.suppress(OSError):
        os.write(1, line.encode() + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), [int(word) for word in sys.argv[3].split(",")], sys.argv[4], sys.argv[5:])
