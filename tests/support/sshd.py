"""A real OpenSSH server on this machine that stands for a board.

It runs in namespaces of its own. Files bound over /etc/passwd and its like give it a user `board` that this machine
does not have; the first process of a pid namespace takes all others with it, so that nothing outlives the server,
whatever a session left behind; and what is mounted or logged is gone with it.

    as root          `board` is a second user with an id of its own
    as anyone else   `board` is that same user by another name, with another home and a clean shell: an ordinary user
                     can have no second one, but may make user namespaces where the kernel allows it

A process has one id inside and another outside; `outside_pid` translates what a program there says of itself.
"""

from __future__ import annotations

import base64
import hashlib
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from tests.support.board_files import ADMIN_PATH, HOST, USER, Board, BoardError, BoardFiles
from tests.support.namespaces import require_namespaces
from tests.support.processes import Process, descendants

__all__ = ["Board", "BoardError", "BoardServer"]

SECONDS = 20.0
LISTENING = ("Server listening on", "Not backgrounding")  # of OpenSSH, of Dropbear


class BoardServer:
    """A context manager: the server runs inside the `with`, and can be stopped and started there.

    Enter it in a thread that lives as long as it: the kernel ends the server with the thread that started it.
    """

    host = HOST
    user = USER

    def __init__(self, board: Board | None = None) -> None:
        self.port = 0
        self._board = board or Board()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> BoardServer:
        require_namespaces()
        # Not pytest's tmp_path: nobody but the one who runs the tests may pass through it.
        self.folder = Path(tempfile.mkdtemp(prefix="board-"))
        self._files = BoardFiles(self.folder, self._board)
        try:
            self._files.write()
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self.stop()
        self._files.remove()

    # What one needs to log in

    @property
    def uid(self) -> int:
        """The user's id, the same inside and outside."""
        return self._files.uid

    @property
    def home(self) -> Path:
        """The user's home, the same path inside and outside."""
        return self.folder / "home"

    @property
    def key(self) -> Path:
        """The user's private key, without a passphrase."""
        return self.folder / "user_key"

    @property
    def host_key_line(self) -> str:
        """A line for a known_hosts file: the first of the host's keys."""
        return self._files.host_key_lines(self.port)[0]

    @property
    def fingerprint(self) -> str:
        """That key's, as OpenSSH shows it."""
        digest = hashlib.sha256(base64.b64decode(self.host_key_line.split()[2])).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def ssh_config(self, name: str = USER) -> str:
        """Return a Host block, as in `folder/ssh_config`; its known_hosts file always has the present keys."""
        lines = {
            "HostName": self.host,
            "Port": self.port,
            "User": self.user,
            "IdentityFile": self.key,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.folder / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
        }
        return "".join([f"Host {name}\n", *(f"    {key} {value}\n" for key, value in lines.items())])

    def run(self, command: str, *options: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a command there by the system's own ssh, with further options of ssh's."""
        return subprocess.run(
            ["ssh", "-F", self.folder / "ssh_config", "-o", "BatchMode=yes", *options, USER, command],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def log(self) -> str:
        """Return what sshd has written since its first start."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    # What runs there

    def processes(self) -> list[int]:
        """Return the outside pids of all that was started there and still runs: orphans too, sshd's own not."""
        return [process.pid for process in self._inside() if not _is_sshd(process)]

    def outside_pid(self, inside: int) -> int | None:
        """Return the outside pid of a process by the pid that it has inside."""
        return next((process.pid for process in self._inside() if process.innermost_pid() == inside), None)

    def kill_sessions(self) -> None:
        """Kill sshd's part of each session: connections drop, what ran in them is orphaned, the server goes on."""

        def gone() -> bool:
            sessions = [process for process in self._inside() if _is_sshd(process)]
            for process in sessions:
                process.kill(signal.SIGKILL)
            return not sessions

        _wait(gone, lambda: "the sessions' sshd processes do not end")

    def _inside(self) -> list[Process]:
        """All but the namespace's first process, which is the listening sshd and inherits every orphan."""
        return descendants(self._process.pid)[1:] if self._process else []

    # Start and stop

    def start(self) -> None:
        """Start; on the port of the last start, if there was one."""
        wanted = self.port
        for _ in range(10):  # anyone may take a free port between our choice and sshd's use of it
            self.port = wanted or _free_port()
            if self._started():
                return
        raise BoardError(f"port {self.port} of {self.host} stays in use:\n{self.log()}")

    def stop(self) -> None:
        """End the server and all that runs there at once, as by pulling a board's plug. The home stays."""
        if self._process is None:
            return
        inside = descendants(self._process.pid)
        if inside:  # unshare ends after its child, and that one's end is over when its whole namespace is empty
            inside[0].kill(signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()
        self._process = None

    def replace_host_keys(self) -> None:
        """Start anew with other keys: another host at the same address."""
        self.stop()
        self._files.write_host_keys()
        self.start()

    def _started(self) -> bool:
        """Whether sshd could have the port."""
        command = self._command(self._files.write_settings(self.port))
        (self.folder / "ssh_config").write_text(self.ssh_config())
        earlier = len(self.log())
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": ADMIN_PATH}, cwd="/"
            )
        self._process = process

        def said() -> str:
            return self.log()[earlier:]

        def is_up() -> bool:
            return any(sign in said() for sign in LISTENING) or process.poll() is not None

        _wait(is_up, lambda: f"no sshd:\n{said()}")
        if process.poll() is None:
            return True
        self._process = None
        if "Address already in use" in said():
            return False
        raise BoardError(f"sshd did not start, by {' '.join(command)}:\n{said()}")

    def _command(self, setup: Path) -> list[str]:
        as_root = [] if self._files.second else ["--user", "--map-root-user"]
        namespaces = ["unshare", *as_root, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        return ["setpriv", "--pdeathsig", "KILL", *namespaces, "sh", str(setup)]


def _is_sshd(process: Process) -> bool:
    return process.name in ("sshd", "sshd-session", "sshd-auth", "dropbear")  # OpenSSH 9.8 has three programs


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(done: Callable[[], bool], failure: Callable[[], str]) -> None:
    end = time.monotonic() + SECONDS
    while not done():
        if time.monotonic() > end:
            raise BoardError(f"{failure()}\nafter {SECONDS:.0f} s")
        time.sleep(0.002)
