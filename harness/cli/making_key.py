"""Making a key pair: asking for its passphrase, and what to do with the two files."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ..errors import InputError
from ..signing.keys import KEY_VARIABLE, check_new, make_key, public_path
from ..signing.passphrase import PASSPHRASE_VARIABLE, leaving_no_frames, terminal_prompt
from .text import say

GIT_S = 10


def make(path: Path, *, ask: bool) -> None:
    """Make a pair, and say what to do with it.

    Args:
        path: the private key's file.
        ask: for a passphrase, twice; otherwise it has none.

    Raises:
        InputError: a file is there already; the two passphrases differ; there is no terminal to ask on.
    """
    check_new(path)
    public = make_key(path, _new_passphrase() if ask else None)
    say(f"{path}: the private key" + ("" if ask else ", without a passphrase: whoever has the file can sign"))
    say(f"{public_path(path)}: the public key, SHA-256 {public.fingerprint}")
    say()
    say(f"Commit {public_path(path).name}, and name it in the policy: [signers] keys = [...]")
    say(f"Keep {path.name} out of git, and a copy of it where it is not lost: nobody can make it again.")
    if _would_be_added(path):
        say(f"git would add it: write /{path.name} into the .gitignore beside it.", fg="yellow")
    secrets = f"its content as the secret {KEY_VARIABLE}" + (
        f", its passphrase as {PASSPHRASE_VARIABLE}" if ask else ""
    )
    say(f"To sign: --key {path}; in CI: {secrets}.")


@leaving_no_frames
def _new_passphrase() -> bytes:
    """Ask for a passphrase, until both are the same and not empty; three times at most."""
    first, again = terminal_prompt("Passphrase for the new key: "), terminal_prompt("Once more: ")
    if first is None or again is None:
        hint = "run it on a terminal; or --no-passphrase, and keep the file where nobody else gets to"
        raise InputError(
            "there is no terminal to ask for a passphrase on", wanted="a terminal", found="none", hint=hint
        )
    for _ in range(3):
        passphrase = first()
        if not passphrase:
            say("A passphrase has at least one character; --no-passphrase makes a key without.", err=True)
        elif again() != passphrase:
            say("They differ.", err=True)
        else:
            return passphrase.encode("utf-8", "surrogateescape")
    raise InputError("no passphrase was chosen, and no key was made", wanted="the same one twice", hint="try again")


def _would_be_added(path: Path) -> bool:
    """Whether the file is in a git repository that does not ignore it; False where git cannot say."""
    command = ["git", "-C", str(path.absolute().parent), "check-ignore", "--quiet", "--", path.name]
    try:
        return subprocess.run(command, capture_output=True, timeout=GIT_S, check=False).returncode == 1
    except (OSError, subprocess.SubprocessError):
        return False
