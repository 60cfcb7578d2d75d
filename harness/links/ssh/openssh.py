"""OpenSSH's own program, asked what it would do: ``ssh -G HOST`` prints all that ssh_config says of a host.

It is not waited for without end (a Match exec may hang), reads nobody's input, and is told a name, a user and a port:
nothing else stands on its command line.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ...host.work import work_folder

SYSTEM = Path("/etc/ssh/ssh_config")
# How long all of a file's Match exec together may take: a run must not hang in one.
SETTINGS_S = 15.0

Lines = Mapping[str, Sequence[str]]  # a key in small letters -> each of its lines' values


def home() -> Path:
    """Return the folder that ``~`` stands for: $HOME, where it has ssh's files, or else the account's, which is ssh's.

    ssh does not look at $HOME. Containers of CI set it to another folder, and people set it for a project of theirs.
    """
    told, account = os.environ.get("HOME"), user_account()
    if account is not None and not (told and Path(told, ".ssh").is_dir()):
        return Path(account.pw_dir)
    return Path(told or "/")


def user_account() -> pwd.struct_passwd | None:
    """Return this user's account; None in a container whose user is a number only."""
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:
        return None


def find_ssh() -> str | None:
    """Return OpenSSH's program, where it is installed and of use: it refuses a user who has no account."""
    path = shutil.which("ssh") if user_account() is not None else None
    return path if path is not None and _is_openssh(path) else None


@functools.cache
def _is_openssh(path: str) -> bool:
    """Check whether a program is OpenSSH's: Dropbear's has the same name on some systems, and takes -G as a host."""
    try:
        done = subprocess.run(
            [path, "-V"], check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=SETTINGS_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"OpenSSH" in done.stderr + done.stdout


def ask(ssh: str, arguments: Sequence[str], config: Path | None) -> Lines:
    """Ask ssh.

    Raises:
        ValueError: it refuses, in its own words; or takes too long.
    """
    with _config_option(config) as option, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as output:
        # Files and no pipes: what a Match exec leaves in the background would hold a pipe open. In a session of its
        # own it has no terminal to ask at, and is ended with all that it started.
        process = subprocess.Popen(
            [ssh, "-G", *option, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=said,
            start_new_session=True,
        )
        try:
            status = process.wait(SETTINGS_S)
        except subprocess.TimeoutExpired:
            _end(process)
            why = f"ssh -G took longer than {SETTINGS_S:g} s and was ended: does a command of Match exec hang?"
            raise ValueError(why) from None
        except BaseException:
            _end(process)
            raise
        said.seek(0)
        output.seek(0)
        if status:
            words = said.read().decode(errors="replace").strip()
            raise ValueError(words[-2000:] or f"ssh -G ended with exit status {status}")
        return parse_output(output.read().decode(errors="surrogateescape"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process group; the leader is not yet reaped, so its PID cannot have been reused."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _config_option(config: Path | None) -> Iterator[list[str]]:
    """Name a file to ssh, where it would not find the right one by itself: see home."""
    if config is not None:
        yield ["-F", str(config)]
    elif (account := user_account()) is None or home() == Path(account.pw_dir):
        yield []
    else:
        # With -F ssh does not read the system's file.
        files = [path for path in (home() / ".ssh/config", SYSTEM) if path.exists()]
        text = "".join(f'Include "{glob.escape(str(path))}"\n' for path in files)
        with work_folder() as folder:
            file = folder / "config"
            file.write_text(text, encoding="utf-8", errors="surrogateescape")
            yield ["-F", str(file)]


def parse_output(text: str) -> dict[str, list[str]]:
    """Parse what ``ssh -G`` prints: a key and its value on each line; a key may come again."""
    lines: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        lines.setdefault(key.lower(), []).append(value.strip())
    return lines
