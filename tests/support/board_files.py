"""What a server that stands for a board has on disk: its user, keys, commands, settings. See `sshd.py`."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

USER = "board"
HOST = "127.0.0.1"
ADMIN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SESSION_PATH = "/usr/local/bin:/usr/bin:/bin"
SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")


class BoardError(Exception):
    """The board's server cannot run here, or did not start."""


@dataclass(frozen=True)
class Board:
    """What the board is like.

    Args:
        config: lines of sshd_config. They come before ours, and sshd keeps the first value that it reads.
        bashrc: the user's .bashrc, which Debian's bash reads for `ssh HOST COMMAND` too.
        commands: scripts by name, such as `{"python3": "#!/bin/sh…"}`, found before any other of that name.
        without: patterns of commands that PATH shall not lead to, such as `("python*",)`.
        disks: folders below the home, each a file system of so many KiB of its own; seen from inside only.
        key_types: the types of the host's keys.
        login_shell: the user's; bash unless it is said.
        home: the user's home folder as the account has it, where it is another than the one that is made.
        mounts: further lines of the script that mounts what the board sees; "{home}" is the home folder.
        dropbear: whether Dropbear is the server, and not OpenSSH.
    """

    config: Sequence[str] = ()
    bashrc: str = ""
    commands: Mapping[str, str] = field(default_factory=dict)
    without: Sequence[str] = ()
    disks: Mapping[str, int] = field(default_factory=dict)
    key_types: Sequence[str] = ("ed25519",)
    login_shell: str = ""
    home: str = ""
    mounts: Sequence[str] = ()
    dropbear: bool = False


@dataclass(frozen=True)
class BoardFiles:
    """The files of one board in its folder."""

    folder: Path
    board: Board
    uid: int = field(default_factory=lambda: os.geteuid() or _free_id())

    @property
    def second(self) -> bool:
        """Whether the board's user is another one than we."""
        return self.uid != os.geteuid()

    @property
    def gid(self) -> int:
        """Its group: only its own one."""
        return self.uid if self.second else os.getegid()

    def write(self) -> None:
        """All that does not depend on the port."""
        self._refuse_impassable()
        self._write_home()
        self._write_commands()
        self._write_accounts()
        make_key(self.folder / "user_key", "ed25519")
        shutil.copyfile(self.folder / "user_key.pub", self.folder / "authorized_keys")
        self.write_host_keys()
        for name in ("authorized_keys", "bin", "group", "passwd", "shadow"):  # to be read, whatever our umask
            (self.folder / name).chmod(0o755)

    def write_host_keys(self) -> None:
        """Make the host's keys, anew where there are some."""
        for kind in self.board.key_types:
            make_key(self.folder / f"host_{kind}", kind)

    def write_settings(self, port: int) -> Path:
        """Write what depends on the port, and the script that starts the server in its namespaces."""
        lines = "".join(f"{line}\n" for line in self.host_key_lines(port))
        (self.folder / "known_hosts").write_text(lines)
        (self.folder / "sshd_config").write_text("\n".join([*self.board.config, *self._sshd_config(port), ""]))
        setup = self.folder / "setup"
        setup.write_text("\n".join(["set -e", *self._mounts(), self._start(), ""]))
        return setup

    def host_key_lines(self, port: int) -> list[str]:
        """Lines for a known_hosts file."""
        keys = [(self.folder / f"host_{kind}.pub").read_text().split() for kind in self.board.key_types]
        return [f"[{HOST}]:{port} {kind} {key}" for kind, key, *_ in keys]

    def remove(self) -> None:
        """Everything, also what stands in folders that a test made unwritable."""
        for path, names, _ in os.walk(self.folder):
            for inner in (Path(path, name) for name in names):
                if not inner.is_symlink():
                    inner.chmod(0o700)
        shutil.rmtree(self.folder)

    def _refuse_impassable(self) -> None:
        """Let a second user reach its home folder."""
        self.folder.chmod(0o755)
        for parent in self.folder.parents if self.second else ():
            if not parent.stat().st_mode & stat.S_IXOTH:
                raise BoardError(
                    f"the user {USER} cannot pass through {parent} to {self.folder}; "
                    "let TMPDIR name a folder that is open to all, as /tmp is"
                )

    def _write_home(self) -> None:
        home = self.folder / "home"
        for folder in (home, *(home / name for name in self.board.disks)):
            folder.mkdir(mode=0o755, parents=True)
        (home / ".bashrc").write_text(self.board.bashrc)
        for path in [home, *home.rglob("*")] if self.second else ():
            os.chown(path, self.uid, self.gid)

    def _write_commands(self) -> None:
        """Make the folder that comes first in PATH; or, where a program shall be missing, all of PATH."""
        commands = self.folder / "bin"
        commands.mkdir()
        for name, text in self.board.commands.items():
            (commands / name).write_text(text)
            (commands / name).chmod(0o755)
        for folder in SESSION_PATH.split(":") if self.board.without else ():
            for name in os.listdir(folder):  # noqa: PTH208  # names only: a thousand of them
                unwanted = any(fnmatch(name, pattern) for pattern in self.board.without)
                if not unwanted and not os.path.lexists(commands / name):
                    (commands / name).symlink_to(f"{folder}/{name}")

    def _write_accounts(self) -> None:
        """Write this machine's accounts without their passwords.

        The board's user is in the place of any with its name or id.
        """
        shell = self.board.login_shell or shutil.which("bash", path=ADMIN_PATH)
        home = self.board.home or str(self.folder / "home")
        users = [line.split(":") for line in _lines("passwd") if not line.startswith(f"{USER}:")]
        users = [user for user in users if len(user) == 7 and user[2] != str(self.uid)]
        users.append([USER, "x", str(self.uid), str(self.gid), "", home, str(shell)])
        groups = [line for line in _lines("group") if not line.startswith(f"{USER}:")]
        groups = [line for line in groups if line.split(":")[2:3] != [str(self.gid)]]
        if not self.second:  # sshd gives a terminal to this group where there is one, and only root can
            groups = [line for line in groups if not line.startswith("tty:")]
        self._write_lines("passwd", [":".join(user) for user in users])
        self._write_lines("group", [*groups, f"{USER}:x:{self.gid}:"])
        # `*`: no password fits. `!` would lock the account, and sshd without PAM then refuses keys too.
        self._write_lines("shadow", [f"{user[0]}:*:19000:0:99999:7:::" for user in users])

    def _write_lines(self, name: str, lines: list[str]) -> None:
        (self.folder / name).write_text("".join(f"{line}\n" for line in lines))

    def _sshd_config(self, port: int) -> list[str]:
        commands = self.folder / "bin"
        path = f"{commands}" if self.board.without else f"{commands}:{SESSION_PATH}"
        lines = {
            "Port": port,
            "ListenAddress": HOST,
            "PidFile": self.folder / "pid",
            "AuthorizedKeysFile": self.folder / "authorized_keys",
            "StrictModes": "no",  # the folder is below /tmp, which everybody may write to
            "UsePAM": "no",
            "UseDNS": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "AllowTcpForwarding": "yes",
            "MaxStartups": 100,
            "PrintMotd": "no",
            "LogLevel": "VERBOSE",
            "SetEnv": f"PATH={path}",
        }
        if _sshd_version() >= (9, 8):  # slows down whoever fails to log in, as tests do on purpose
            lines["PerSourcePenalties"] = "no"
        keys = [f"HostKey {self.folder}/host_{kind}" for kind in self.board.key_types]
        server = next((path for path in SFTP_SERVERS if Path(path).exists()), "internal-sftp")
        return [*(f"{name} {value}" for name, value in lines.items()), *keys, f"Subsystem sftp {server}"]

    def _mounts(self) -> list[str]:
        folder = shlex.quote(str(self.folder))
        lines = [f"mount --bind {folder}/{name} /etc/{name}" for name in ("passwd", "group", "shadow")]
        # Not the machine's /run, where a name service cache would answer for its own /etc/passwd, and not its logs.
        lines += ["mount -t tmpfs -o mode=755 board /run", "mkdir -m 1777 /run/lock", "mkdir /run/sshd"]
        lines += ["mount -t tmpfs board /var/log"]
        # Nor its terminals: sshd must own the one that it gives to the user.
        lines += ["mount -t devpts -o newinstance,ptmxmode=666,mode=620 board /dev/pts"]
        lines += ["mount --bind /dev/pts/ptmx /dev/ptmx"]
        owner = f"uid={self.uid},gid={self.gid}" if self.second else "uid=0,gid=0"
        for name, size in self.board.disks.items():
            target = shlex.quote(f"{self.folder}/home/{name}")
            lines.append(f"mount -t tmpfs -o size={size}k,mode=755,{owner} board {target}")
        home = shlex.quote(str(self.folder / "home"))
        return lines + [line.format(home=home) for line in self.board.mounts]

    def _start(self) -> str:
        server = self._dropbear() if self.board.dropbear else self._sshd()
        # To mount, one must be root of a user namespace; to be oneself again, there must be another inside.
        inner = ["unshare", "--user", f"--map-user={self.uid}", f"--map-group={self.gid}"]
        return shlex.join(["exec", *([] if self.second else inner), *server])

    def _sshd(self) -> list[str]:
        return [find_sshd(), "-D", "-e", "-f", str(self.folder / "sshd_config")]

    def _dropbear(self) -> list[str]:
        """Write keys for Dropbear, which reads the user's from the home folder only, the host's in its own format."""
        keys, key = self.folder / "home/.ssh", self.folder / "dropbear_key"
        keys.mkdir(mode=0o700, exist_ok=True)
        (keys / "authorized_keys").write_text((self.folder / "user_key.pub").read_text())
        for path in (keys, keys / "authorized_keys") if self.second else ():
            os.chown(path, self.uid, self.gid)
        convert = ["dropbearconvert", "openssh", "dropbear", f"{self.folder}/host_{self.board.key_types[0]}"]
        subprocess.run([*convert, key], check=True, capture_output=True)
        settings = (self.folder / "sshd_config").read_text().splitlines()
        port = next(line.split()[1] for line in settings if line.startswith("Port "))
        return [find_dropbear(), "-F", "-E", "-s", "-p", f"{HOST}:{port}", "-r", str(key)]


def find_sshd() -> str:
    """Where sshd is; it must be called by its whole path, for it starts itself again for each connection."""
    found = shutil.which("sshd", path=ADMIN_PATH)
    if found is None:
        raise BoardError(f"no sshd in {ADMIN_PATH}: install Debian's package openssh-server")
    return found


def find_dropbear() -> str:
    """Where Dropbear is."""
    found = shutil.which("dropbear", path=ADMIN_PATH)
    if found is None:
        raise BoardError(f"no dropbear in {ADMIN_PATH}: install Debian's package dropbear-bin")
    return found


def make_key(path: Path, kind: str) -> None:
    """Make a key pair without a passphrase, `path` and `path`.pub."""
    path.unlink(missing_ok=True)
    try:
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", USER, "-f", path], check=True)
    except FileNotFoundError as error:
        raise BoardError("no ssh-keygen: install Debian's package openssh-client") from error


def _sshd_version() -> tuple[int, int]:
    done = subprocess.run([find_sshd(), "-V"], check=False, capture_output=True, text=True)
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", done.stderr + done.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _lines(name: str) -> list[str]:
    return Path("/etc", name).read_text(errors="replace").splitlines()


def _free_id() -> int:
    """Find an id that no user and no group has."""
    taken = {line.split(":")[2] for name in ("passwd", "group") for line in _lines(name) if line.count(":") > 1}
    return next(number for number in itertools.count(4242) if str(number) not in taken)
