"""Keys that stay where they are: on a YubiKey, in a cloud's key store. Named by securesystemslib's URIs.

Each store says what its public key is; the signature is made there. What it takes to speak to one is not installed with
hilgate: securesystemslib says which packages, and the message passes it on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlparse

from ..errors import InputError
from .passphrase import PASSPHRASE_VARIABLE, take_variable

if TYPE_CHECKING:
    from securesystemslib.signer import Signer, SSlibKey

# What each is, and how its URI looks.
STORES = {
    "hsm": ("a PKCS#11 token (a YubiKey, for one)", "hsm:2, with PYKCS11LIB set to its module"),
    "awskms": ("AWS's key store", "awskms:alias/NAME"),
    "gcpkms": ("Google's key store", "gcpkms:projects/…/cryptoKeyVersions/1"),
    "azurekms": ("Azure's key vault", "azurekms://VAULT.vault.azure.net/keys/NAME/VERSION"),
    "hv": ("HashiCorp's Vault", "hv:NAME/1"),
}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?=:)")
Ask = Callable[[], str]


def scheme_of(key: str) -> str | None:
    """Return the scheme of a key's URI, "hsm"; None where it is a path."""
    found = _SCHEME.match(key)
    return found[0] if found else None


def hardware_signer(uri: str, ask: Ask | None) -> Signer:
    """Open a key by its URI.

    Raises:
        InputError: the URI is of no store that there is, the packages for it are missing, or it could not be reached.
    """
    from securesystemslib.exceptions import UnsupportedLibraryError
    from securesystemslib.signer import Signer

    scheme = scheme_of(uri)
    if scheme not in STORES:
        wanted = ", ".join(f"{example.partition(',')[0]} ({what})" for what, example in STORES.values())
        what, hint = "there is no such kind of key", "a file whose name has a colon: ./NAME"
        raise InputError(what, wanted=f"a file, or {wanted}", found=f"{scheme}:", where=uri, hint=hint)
    secret = _Pin(ask)
    try:
        found, public = _import(scheme, uri, secret)
        return Signer.from_priv_key_uri(found, public, secret)
    except UnsupportedLibraryError as error:
        what, hint = f"what it takes to sign with {STORES[scheme][0]} is not installed", f"install it: {error}"
        raise InputError(what, wanted=STORES[scheme][1], found=str(error), where=uri, hint=hint) from None
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  # each store raises what its own library has
        raise store_failure(error, uri) from None


def store_failure(error: Exception, uri: str) -> InputError:
    """Say that a store did not do what it was asked for."""
    store, example = STORES.get(scheme_of(uri) or "", ("its store", ""))
    found = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    what, hint = f"the key in {store} cannot be used", "see whether it is there, and whether you may use it"
    if "pin" in type(error).__name__.lower():  # PKCS#11's CKR_PIN_INCORRECT, CKR_PIN_LOCKED, …
        what, hint = "the PIN is wrong", "find the right one before you try again: a token locks itself after a few"
    return InputError(what, wanted=example, found=found[:500], where=uri, hint=hint)


class _Pin:
    """Answer securesystemslib's question for a PIN: once asked for, it is kept for the next signature.

    An object and not a closure, so that no frame's variable is the PIN itself.
    """

    def __init__(self, ask: Ask | None) -> None:
        self._ask = ask
        self._known: str | None = None

    def __repr__(self) -> str:
        return "<a PIN>"

    def __call__(self, name: str) -> str:
        if self._known is None:
            self._known = self._new()
        return self._known

    def _new(self) -> str:
        given = take_variable(PASSPHRASE_VARIABLE)
        if given is not None:
            return given.decode("utf-8", "surrogateescape")
        if self._ask is not None:
            return self._ask()
        what, wanted = "the key has a PIN, and none is given", f"its PIN in ${PASSPHRASE_VARIABLE}"
        hint = f"set {PASSPHRASE_VARIABLE} as a secret of CI's, or run it on a terminal"
        raise InputError(what, wanted=wanted, found="no terminal to ask on", hint=hint)


def _import(scheme: str, uri: str, secret: Callable[[str], str]) -> tuple[str, SSlibKey]:
    """Ask a store for its public key; returns the whole URI with it."""
    from securesystemslib import signer

    parts = urlparse(uri)
    if scheme == "hsm":
        number = int(parts.path) if parts.path else None
        return signer.HSMSigner.import_(number, dict(parse_qsl(parts.query)).get("label"), secret)
    if scheme == "awskms":
        return signer.AWSSigner.import_(parts.path, signer.ECDSA_SHA2_NISTP256)
    if scheme == "gcpkms":
        return signer.GCPSigner.import_(parts.path)
    if scheme == "azurekms":
        vault, (_, _, name, *_) = parts.netloc.partition(".")[0], f"{parts.path}//".split("/")
        return _of_version(uri, *signer.AzureSigner.import_(vault, name))
    return _of_version(uri, *signer.VaultSigner.import_(parts.path.partition("/")[0]))


def _of_version(uri: str, newest: str, public: SSlibKey) -> tuple[str, SSlibKey]:
    """Refuse a version that is not the newest: these stores say the newest one's public key only."""
    if uri.rstrip("/") != newest and not newest.startswith(uri.rstrip("/") + "/"):
        what, hint = "the key's store has a newer version of this key", "name that one"
        raise InputError(what, wanted=newest, found=uri, where=uri, hint=hint)
    return newest, public
