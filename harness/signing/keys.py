"""Key pairs: made in files, and loaded from a file, the environment, or hardware by its URI.

A key made here is ECDSA's on P-256, for every foreign verifier takes that; Ed25519 is accepted. The private half is
PKCS#8 in PEM, which openssl reads, too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, StorageError
from .hardware import hardware_signer, scheme_of, store_failure
from .passphrase import leaving_no_frames
from .pkcs8 import encrypted_pem
from .private_key import KEY_VARIABLE, OTHERS, key_of_environment, key_of_file
from .public_key import PublicKey, load_public, public_key

if TYPE_CHECKING:
    from securesystemslib.signer import Signer as AnySigner

__all__ = ["KEY_VARIABLE", "PublicKey", "Signer", "check_new", "load_public", "load_signer", "make_key", "public_path"]

# Never taken for an attestation: what is signed of those begins with "DSSEv1".
TRIAL = b"hilgate: may this key sign?"


class Signer:
    """A private key that can sign, wherever it is. It shows nothing of itself but its public half."""

    __slots__ = ("_signer", "public", "where")

    def __init__(self, signer: AnySigner, public: PublicKey, where: str) -> None:
        self._signer = signer
        self.public = public
        self.where = where

    def __repr__(self) -> str:
        return f"<the signing key {self.public.fingerprint[:16]}…>"

    def __reduce__(self) -> Any:
        raise TypeError("a signing key is never pickled")

    @leaving_no_frames
    def sign(self, data: bytes) -> bytes:
        """Sign data: ECDSA over its SHA-256, in DER; or Ed25519.

        Raises:
            InputError: the key's store did not sign.
        """
        try:
            return bytes.fromhex(self._signer.sign(data).signature)
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001  # each store raises what its own library has
            raise store_failure(error, self.where) from None


@leaving_no_frames
def load_signer(key: str | None, ask: Callable[[], str] | None = None) -> Signer:
    """Load a private key to sign with.

    Args:
        key: a file in PEM; or a URI (``hardware.STORES``); None: the PEM itself is the value of HILGATE_SIGNING_KEY,
            which is taken out of the environment, so that no program started later has it.
        ask: asks the user for the key's passphrase, or its PIN; see ``passphrase.terminal_prompt``. It is not called
            where HILGATE_SIGNING_PASSPHRASE is set, which is taken out of the environment, too.

    Raises:
        InputError: there is no key; others may read it, git tracks it, it is a public one, its passphrase is wrong, or
            it is of a kind that is not accepted.
    """
    if key is None:
        return _signer(key_of_environment(ask), f"${KEY_VARIABLE}")
    if "-----BEGIN" in key or "\n" in key:
        hint = "every user of the machine can read a program's arguments: make a new key, and name its file"
        raise InputError(
            "the signing key itself is an argument", wanted="its file", where="the option's value", hint=hint
        )
    if not key.strip():
        raise InputError(
            "the signing key has no name", wanted="a file, or a URI", found=repr(key), hint="name its file"
        )
    if scheme_of(key):
        return _tried(hardware_signer(key, ask), key)
    return _signer(key_of_file(Path(key), ask), key)


def _signer(private: Any, where: str) -> Signer:
    from securesystemslib.signer import CryptoSigner

    public = public_key(private.public_key(), where)
    return Signer(CryptoSigner(private, public.as_securesystemslib), public, where)


def _tried(hardware: Any, uri: str) -> Signer:
    """Sign something once: a wrong PIN, or a permission that is missing, shows now and not after an hour's run."""
    signer = Signer(hardware, public_key(hardware.public_key._crypto_key(), uri), uri)
    if not signer.public.verify(signer.sign(TRIAL), TRIAL):
        what, wanted = "the key's store signs with another key than it shows", signer.public.fingerprint
        raise InputError(what, wanted=wanted, found="a signature of another key", where=uri, hint="name its version")
    return signer


def public_path(path: Path) -> Path:
    """Return where a key's public half is."""
    return path.with_name(f"{path.name}.pub")


def check_new(path: Path) -> None:
    """Refuse a path where no new pair can be made, before anybody is asked for a passphrase.

    Raises:
        InputError: one of the two files is there already, or their folder is not.
    """
    hint = "name another file; what was signed with that key is worth nothing without its public half"
    for place in (path, public_path(path)):
        if os.path.lexists(place):
            what = "there is a file already, and a key is never replaced"
            raise InputError(what, wanted="a new file", found=place.name, where=str(place), hint=hint)
    if path.suffix == ".pub":
        hint = f"hilgate key {path.stem} writes {path.name} beside it"
        raise InputError("a private key is no .pub", wanted="the private key's file", where=str(path), hint=hint)
    if not path.parent.is_dir():
        what, hint = "the folder for the key is not there", f"mkdir -p {path.parent}"
        raise InputError(what, wanted="a folder", where=str(path.parent), hint=hint)


@leaving_no_frames
def make_key(path: Path, passphrase: bytes | None) -> PublicKey:
    """Make a pair for ECDSA on P-256: the private key in a file (mode 0600), the public one beside it, with ".pub".

    Neither ever replaces a file; if one cannot be written, none is left.

    Args:
        path: the private key's file.
        passphrase: what it is encrypted with; None: it is not.

    Raises:
        InputError: a file is there already, the folder is not, or the passphrase is empty.
        StorageError: the files cannot be written, or their file system would let others read them.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    check_new(path)
    if passphrase == b"":
        hint = "give one, or say that there is none: --no-passphrase"
        raise InputError("the passphrase is empty", wanted="a passphrase", where=str(path), hint=hint)
    private = ec.generate_private_key(ec.SECP256R1())
    encoding = serialization.Encoding.PEM if passphrase is None else serialization.Encoding.DER
    content = private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    if passphrase is not None:
        content = encrypted_pem(content, passphrase)
    public = public_key(private.public_key(), str(path))
    made: list[Path] = []
    try:
        _write_new(path, content, 0o600, made)
        _write_new(public_path(path), public.pem.encode(), 0o644, made)
    except BaseException as error:
        for place in made:
            place.unlink(missing_ok=True)
        if isinstance(error, OSError):
            found = error.strerror or str(error)
            raise StorageError("the key cannot be written", found=found, where=str(path)) from None
        raise
    return public


def _write_new(path: Path, content: bytes, mode: int, made: list[Path]) -> None:
    """Write a file that is not there yet, to the disk; it is noted in made as soon as it is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    made.append(path)
    with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor, not a path
        os.fchmod(descriptor, mode)
        if os.fstat(descriptor).st_mode & OTHERS & ~mode:
            hint = "put it into your home; this file system keeps no permissions"
            found = stat.filemode(os.fstat(descriptor).st_mode)
            raise StorageError(
                "others could read the key there", wanted="mode 0600", found=found, where=str(path), hint=hint
            )
        file.write(content)
        file.flush()
        os.fsync(descriptor)
