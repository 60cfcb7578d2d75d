"""Private keys in PEM: from a file, which must be the user's alone, or from the environment.

Nothing here puts any part of a key or a passphrase into a message.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError
from .bounded_file import read_bounded
from .passphrase import PASSPHRASE_VARIABLE, take_variable
from .public_key import KEY_BYTES, MAKE, label_of

KEY_VARIABLE = "HILGATE_SIGNING_KEY"
OTHERS = stat.S_IRWXG | stat.S_IRWXO
PLAIN, ENCRYPTED = "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"
# Those of PKCS#1, SEC 1 and OpenSSH, which `openssl pkcs8` and `ssh-keygen -p -m PKCS8` turn into PKCS#8.
WANTED = f"PKCS#8 in PEM: -----BEGIN {PLAIN}----- or -----BEGIN {ENCRYPTED}-----"
GIT_S = 10


def key_of_file(path: Path, ask: Callable[[], str] | None) -> Any:
    """Load a private key from a file that is the user's alone.

    Raises:
        InputError: it cannot be read, others may read it, git tracks it, or it is no private key that can be opened.
    """
    content, status = read_bounded(path, KEY_BYTES, "the signing key")
    refuse_public(content, str(path))
    if status.st_mode & OTHERS:
        hint = f"chmod 600 {shlex.quote(str(path))}; if others use this machine, make a new key instead"
        found = f"mode {stat.S_IMODE(status.st_mode):04o}"
        raise InputError("others may read the signing key", wanted="mode 0600", found=found, where=str(path), hint=hint)
    refuse_tracked(path)
    return opened(content, str(path), ask)


def key_of_environment(ask: Callable[[], str] | None) -> Any:
    """Load the private key whose PEM is the value of ``HILGATE_SIGNING_KEY``, and take it out of the environment.

    Raises:
        InputError: it is not set, or no private key that can be opened.
    """
    content, where = take_variable(KEY_VARIABLE), f"${KEY_VARIABLE}"
    if content is None:
        wanted = f"a key's file, the URI of one in hardware, or the key itself in {where}"
        raise InputError("no signing key is given", wanted=wanted, found="none", where=where, hint=MAKE)
    if b"-----BEGIN" not in content and b"\n" not in content.strip():
        hint = f"put the file's content there, not its path: {KEY_VARIABLE}=$(cat FILE); or name the file"
        found = f"a line of {len(content.strip())} bytes"
        raise InputError(f"{where} holds no key", wanted="the key itself, in PEM", found=found, where=where, hint=hint)
    if b"\n" not in content.strip():
        hint = "give CI the file's content as it is, as a variable of several lines"
        found = "all on one line"
        raise InputError(f"the key in {where} has lost its lines", wanted=WANTED, found=found, where=where, hint=hint)
    return opened(content, where, ask)


def opened(content: bytes, where: str, ask: Callable[[], str] | None) -> Any:
    """Parse a private key, with its passphrase where it has one; returns one of cryptography's keys.

    Raises:
        InputError: it is no private key, or the passphrase is missing or wrong.
    """
    label = refuse_public(content, where)
    if label not in (PLAIN, ENCRYPTED):
        hint = "openssl pkcs8 -topk8 -in FILE -out NEW turns it into that; or make a new one: hilgate key FILE"
        raise InputError("the signing key has another format", wanted=WANTED, found=label, where=where, hint=hint)
    passphrase, source = _passphrase(where, ask) if label == ENCRYPTED else (None, "")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(content, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: the passphrase is empty
        pass
    if label == PLAIN:
        hint = "get it again from where it was kept, or make a new one: hilgate key FILE"
        raise InputError("the signing key is damaged", wanted=WANTED, where=where, hint=hint)
    hint = (
        "try again; without its passphrase a key is lost: make a new one (hilgate key FILE), and add it to the policy"
    )
    what, found = "the passphrase is wrong, or the signing key damaged", f"the one from {source} does not open it"
    raise InputError(what, wanted="the passphrase that was given when it was made", found=found, where=where, hint=hint)


def refuse_public(content: bytes, where: str) -> str:
    """Refuse a public key in the private one's place, before its mode is looked at: others may read that one.

    Returns:
        The label of the key's PEM.

    Raises:
        InputError: it is a public key, or no PEM.
    """
    label = label_of(content, "the signing key", where)
    if label in ("PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"):
        what, hint = "this is a public key, and signing takes the private one", "name the file without .pub"
        raise InputError(what, wanted=PLAIN, found=label, where=where, hint=hint)
    return label


def _passphrase(where: str, ask: Callable[[], str] | None) -> tuple[bytes, str]:
    """Return the passphrase, and where it is from."""
    given = take_variable(PASSPHRASE_VARIABLE)
    if given is not None:
        return given, f"${PASSPHRASE_VARIABLE}"
    if ask is None:
        hint = f"set {PASSPHRASE_VARIABLE} as a secret of CI's, or run it on a terminal"
        what, found = "the signing key has a passphrase, and none is given", "no terminal to ask on"
        raise InputError(what, wanted=f"its passphrase in ${PASSPHRASE_VARIABLE}", found=found, where=where, hint=hint)
    return ask().encode("utf-8", "surrogateescape"), "the terminal"


def refuse_tracked(path: Path) -> None:
    """Refuse a key that git tracks, under the path that was given or the one that it leads to.

    Raises:
        InputError: git tracks it; or it is in a repository and git cannot say.
    """
    # By its name where it lies, be that a link, and by where that leads. Its folder is resolved: repository/../key lies
    # in no repository.
    for place in dict.fromkeys((path.parent.resolve() / path.name, path.resolve())):
        if any((folder / ".git").exists() for folder in place.parents) and _is_tracked(place):
            hint = (
                f"git rm --cached {shlex.quote(path.name)}, and make a new key: whoever has the repository has this one"
            )
            raise InputError("git tracks the signing key", wanted="a key outside of git", where=str(path), hint=hint)


def _is_tracked(path: Path) -> bool:
    command = ["git", "-C", str(path.parent), "--literal-pathspecs", "ls-files", "--error-unmatch", "--", path.name]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {"LC_ALL": "C"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=GIT_S, check=False, env=environment)
        status, found = done.returncode, done.stderr.decode("utf-8", "replace").partition("\n")[0]
    except (OSError, subprocess.SubprocessError) as error:
        status, found = -1, str(error)
    if status in (0, 1):
        return status == 0
    what, hint = "git cannot say whether it tracks the signing key", "keep the key outside of the repository"
    raise InputError(what, wanted="an answer of git ls-files", found=found, where=str(path), hint=hint)
