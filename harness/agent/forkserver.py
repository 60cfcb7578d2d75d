"""A process that has imported what takes long to import, and forks a copy of itself for whoever connects.

Importing torch takes an emulated board half a minute; a saved state of the board includes forkservers, so that each
program there begins where that half minute ends. On a Unix socket a forkserver takes one message per connection:

    CWD NUL RUN NUL WORD NUL WORD …     with stdin, stdout and stderr of the process that asks (SCM_RIGHTS)

where the words are the command that would start the program without it. It forks, lets the child be the program, and
answers with the child's wait status, a 32-bit integer, when that has ended. See attach for the other end.

It prints "ready" when it is, and goes on in the background. When memory runs out the kernel kills it first, as long as
it has no child: it is no part of what is measured, and programs then start without it. With a child it shares nearly
all of its memory, so that killing it would free little; and nobody could tell how the child ended.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import traceback
from collections.abc import Callable
from typing import NoReturn

from .orphans import MARK
from .private import make_folder

MESSAGE_BYTES = 1 << 17
DESCRIPTORS = 3
PATIENCE_S = 5.0
FIRST_KILLED, AS_USUAL = 1000, 0

Program = Callable[[list[str]], None]


def run_forkserver(socket_path: str, program: Program) -> NoReturn:
    """Daemonize, print "ready", and fork a child per connection; never returns.

    Args:
        socket_path: where the socket goes; its folder is made.
        program: what a child runs, with the words of the request.
    """
    os.umask(0o077)  # for the socket, and for whatever a child makes
    make_folder(os.path.dirname(socket_path))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(socket_path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(socket_path)
    listener.listen(8)
    if os.fork():
        os.write(1, b"ready\n")
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(DESCRIPTORS):
        os.dup2(nothing, number)
    os.close(nothing)
    os.chdir("/")
    _serve(listener, program)


def _serve(listener: socket.socket, program: Program) -> NoReturn:
    children: dict[int, tuple[int, socket.socket]] = {}
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        _set_oom_score(AS_USUAL if children else FIRST_KILLED)
        for ready, _ in poll.poll():
            if ready in children:
                poll.unregister(ready)
                os.close(ready)
                _tell_end(*children.pop(ready))
                continue
            connection, _ = listener.accept()
            if peer_uid(connection) != os.geteuid():  # a child does what it is told, with our permissions
                connection.close()
                continue
            connection.settimeout(PATIENCE_S)  # the others wait behind it
            try:
                message, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, DESCRIPTORS)
            except OSError:
                connection.close()
                continue
            _set_oom_score(AS_USUAL)
            try:
                pid = os.fork()
            except OSError:  # memory ran out: this program does not start, the next one may
                connection.close()
                continue
            if pid == 0:
                for other, (_, theirs) in children.items():
                    os.close(other)
                    theirs.close()
                listener.close()
                connection.close()
                _be(program, os.fsdecode(message).split("\0"), descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            ended = os.pidfd_open(pid)
            children[ended] = pid, connection
            poll.register(ended, select.POLLIN)


def peer_uid(connection: socket.socket) -> int:
    """Return the uid of the process at the other end, as the kernel reports it: SO_PEERCRED, unix(7)."""
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def _tell_end(pid: int, connection: socket.socket) -> None:
    status = os.waitpid(pid, 0)[1]
    with contextlib.suppress(OSError):  # nobody waits for it any more
        connection.sendall(struct.pack("<i", status))
    connection.close()


def _be(program: Program, request: list[str], descriptors: list[int]) -> None:
    """Run the program in a child, and exit: the parent's loop must never go on in it."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        folder, os.environ[MARK], *words = request
        os.chdir(folder)
        program(words)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001  # reported as the interpreter would
        traceback.print_exc()
    finally:
        os._exit(status)


def _set_oom_score(score: int) -> None:
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(score))
