"""A program that lets a forkserver run a command in its place (see forkserver), and ends as that ends.

    python attach.py SOCKET RUN COMMAND…

Without a forkserver it runs the command itself. It is run as a file, and imports next to nothing: an emulated board
takes a tenth of a second for each module.
"""

import _socket
import os
import sys
from array import array

# The exit status where the forkserver ended first: then nobody can tell how the program ended.
GONE = 70


def main(path: str, run: str, command: list[str]) -> None:
    """Ask the forkserver at a socket to run a command, wait, and end with the command's exit status or signal."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(path)
        peer = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)  # pid, uid, gid; unix(7)
        if int.from_bytes(peer[4:8], sys.byteorder) != os.geteuid():
            raise OSError("another user's")
    except OSError:  # as above; or the kernel killed the forkserver when memory ran out, or the board was restarted
        os.execvp(command[0], command)  # noqa: S606
    message = "\0".join([os.getcwd(), run, *command])
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", [0, 1, 2]).tobytes())
    connection.sendmsg([os.fsencode(message)], [rights])
    os.closerange(0, 3)  # the program has them now: their reader must see when it ends
    answer = connection.recv(4)
    if len(answer) < 4:
        os._exit(GONE)
    status = int.from_bytes(answer, "little", signed=True)
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
