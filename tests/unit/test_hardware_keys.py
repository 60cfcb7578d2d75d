"""Keys in hardware and in clouds, by URI: what each store is asked for, and what becomes of its refusals.

The stores are stand-ins. The same was tried with SoftHSM's PKCS#11 module and python-pkcs11, which are not installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from securesystemslib import signer as stores
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from harness.errors import InputError
from harness.signing.envelope import open_sealed, seal
from harness.signing.keys import load_signer
from harness.signing.passphrase import PASSPHRASE_VARIABLE
from harness.signing.statement import EVIDENCE_PREDICATE, make_statement
from tests.support.keys import key_of

PIN = "123456"


class PinIncorrect(Exception):
    """As python-pkcs11 calls it."""


class Store:
    """A store: what it was asked for, and what it does."""

    def __init__(self) -> None:
        self.kind = "P-256"
        self.asked: list[tuple[Any, ...]] = []
        self.opened: list[str] = []
        self.newest = "hsm:2"
        self.failure: Exception | None = None
        self.needs_pin = False
        self.signs_with: str | None = None

    def import_(self, *words: Any) -> tuple[str, SSlibKey]:
        self.asked.append(tuple(word for word in words if not callable(word)))
        if self.failure:
            raise self.failure
        return self.newest, SSlibKey.from_crypto(key_of(self.kind).public_key())

    def from_priv_key_uri(self, uri: str, public: SSlibKey, secret: Callable[[str], str]) -> Any:
        self.opened.append(uri)
        store = self

        class Opened:
            public_key = public

            def sign(self, data: bytes) -> Signature:
                if store.needs_pin and secret("pin") != PIN:
                    raise PinIncorrect
                key: Any = key_of(store.signs_with or store.kind)
                public = SSlibKey.from_crypto(key.public_key())
                return CryptoSigner(key, public).sign(data)

        return Opened()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store behind every URI."""
    made = Store()
    classes = {
        "hsm": "HSMSigner",
        "awskms": "AWSSigner",
        "gcpkms": "GCPSigner",
        "azurekms": "AzureSigner",
        "hv": "VaultSigner",
    }
    for scheme, name in classes.items():
        monkeypatch.setitem(stores.SIGNER_FOR_URI_SCHEME, scheme, made)
        monkeypatch.setattr(getattr(stores, name), "import_", made.import_)
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "")
    monkeypatch.delenv(PASSPHRASE_VARIABLE)
    return made


def never() -> str:
    raise AssertionError("nobody should have been asked")


@pytest.mark.parametrize(
    ("uri", "asked", "newest"),
    [
        pytest.param("hsm:", (None, None), "hsm:2?label=t", id="token"),
        pytest.param("hsm:3?label=team+token", (3, "team token"), "hsm:3?label=team+token", id="token by label"),
        pytest.param("awskms:alias/team", ("alias/team", "ecdsa-sha2-nistp256"), "awskms:alias/team", id="AWS"),
        pytest.param(
            "awskms:arn:aws:kms:eu-1:1:key/a-b",
            ("arn:aws:kms:eu-1:1:key/a-b", "ecdsa-sha2-nistp256"),
            "awskms:arn:aws:kms:eu-1:1:key/a-b",
            id="AWS, by ARN",
        ),
        pytest.param("gcpkms:projects/p/k/1", ("projects/p/k/1",), "gcpkms:projects/p/k/1", id="Google"),
        pytest.param(
            "azurekms://team.vault.azure.net/keys/robot",
            ("team", "robot"),
            "azurekms://team.vault.azure.net/keys/robot/77",
            id="Azure",
        ),
        pytest.param("hv:robot/3", ("robot",), "hv:robot/3", id="Vault, version"),
        pytest.param("hv:robot", ("robot",), "hv:robot/3", id="Vault"),
    ],
)
def test_each_store_is_asked_for_its_key_and_signs(store: Store, uri: str, asked: tuple[Any, ...], newest: str) -> None:
    store.newest = newest
    signer = load_signer(uri, never)
    assert (store.asked, store.opened) == ([asked], [newest])
    text = seal(make_statement({"x": "ab" * 32}, EVIDENCE_PREDICATE, {}), signer)
    assert open_sealed(text.encode(), [signer.public], EVIDENCE_PREDICATE, "here").key == signer.public


@pytest.mark.parametrize("uri", ["hv:robot/2", "azurekms://team.vault.azure.net/keys/robot/76"])
def test_a_version_that_is_not_the_newest_is_refused(store: Store, uri: str) -> None:
    store.newest = uri[:-1] + "9"
    with pytest.raises(InputError, match="newer version") as failure:
        load_signer(uri)
    assert failure.value.wanted == store.newest


@pytest.mark.parametrize("kind", ["P-384", "RSA"])
def test_a_key_of_another_kind_is_refused(store: Store, kind: str) -> None:
    store.kind = kind
    with pytest.raises(InputError, match=r"another curve|RSA keys are not accepted"):
        load_signer("hsm:")


def test_a_store_that_signs_with_another_key_is_refused(store: Store) -> None:
    store.signs_with = "P-256 of another"
    with pytest.raises(InputError, match="another key than it shows"):
        load_signer("hsm:")


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        pytest.param(
            UnsupportedLibraryError("'python-pkcs11' required"), "'python-pkcs11' required", id="package missing"
        ),
        pytest.param(ValueError("No PKCS#11 token found"), "No PKCS#11 token found", id="not plugged in"),
        pytest.param(ConnectionError(), "ConnectionError", id="out of reach"),
    ],
)
def test_what_a_store_says_is_passed_on(store: Store, failure: Exception, message: str) -> None:
    store.failure = failure
    with pytest.raises(InputError, match=message) as refusal:
        load_signer("hsm:2")
    assert all((refusal.value.wanted, refusal.value.hint, refusal.value.where == "hsm:2"))


def test_the_pin_is_asked_for_once(store: Store) -> None:
    store.needs_pin = True
    asked: list[str] = []

    def ask() -> str:
        asked.append("once")
        return PIN

    signer = load_signer("hsm:", ask)
    signer.sign(b"one")
    signer.sign(b"two")
    assert asked == ["once"]
    assert PIN not in repr(signer)


def test_the_pin_may_be_in_the_environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.needs_pin = True
    monkeypatch.setenv(PASSPHRASE_VARIABLE, PIN)
    load_signer("hsm:", never).sign(b"data")
    assert PASSPHRASE_VARIABLE not in os.environ


def test_a_wrong_pin_shows_at_once_and_is_not_tried_again(store: Store) -> None:
    store.needs_pin = True
    with pytest.raises(InputError, match="the PIN is wrong"):
        load_signer("hsm:", lambda: "999999")


def test_without_a_pin_it_says_where_to_put_it(store: Store) -> None:
    store.needs_pin = True
    with pytest.raises(InputError, match=PASSPHRASE_VARIABLE):
        load_signer("hsm:")
