"""Has a resident be this process's program (see resident), and ends as that does; without one, runs the command itself.

    python join.py SOCKET RUN COMMAND…

Run as a file, and importing next to nothing: an emulated board takes a tenth of a second for each module.
"""

import _socket
import os
import sys
from array import array

# The resident ended, and the program's end is nobody's to tell.
GONE = 70


def main(path: str, run: str, command: list[str]) -> None:
    """Ask, wait, end as it did."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(path)
        peer = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)  # pid, uid, gid; unix(7)
        if int.from_bytes(peer[4:8], sys.byteorder) != os.geteuid():
            raise OSError("another user's")
    except OSError:  # that; or the kernel took it when memory ran out, or the board was restarted
        os.execvp(command[0], command)  # noqa: S606
    message = "\0".join([os.getcwd(), run, *command])
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", [0, 1, 2]).tobytes())
    connection.sendmsg([os.fsencode(message)], [rights])
    os.closerange(0, 3)  # the program has them now: who reads them must see its end
    answer = connection.recv(4)
    if len(answer) < 4:
        os._exit(GONE)
    status = int.from_bytes(answer, "little", signed=True)
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
