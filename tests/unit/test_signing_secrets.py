"""Neither a key nor a passphrase is in any message, repr or traceback, whatever goes wrong; variables included."""

from __future__ import annotations

import errno
import logging
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HilgateError
from harness.signing import keys as keys_module
from harness.signing.envelope import open_sealed, seal
from harness.signing.keys import KEY_VARIABLE, load_public, load_signer, make_key
from harness.signing.passphrase import PASSPHRASE_VARIABLE
from harness.signing.statement import EVIDENCE_PREDICATE, make_statement
from tests.support.keys import private_pem, public_pem, write

# What is looked for.
PASSPHRASE = "Tiramisu-4711"  # noqa: S105
WRONG = "Spaghetti-0815"
PLAIN, ENCRYPTED = private_pem("P-256"), private_pem("P-256", PASSPHRASE.encode())
RSA, P384 = private_pem("RSA"), private_pem("P-384", PASSPHRASE.encode())
DAMAGED = {
    "cut": PLAIN[:90] + b"\n",
    "hole": ENCRYPTED[:90] + ENCRYPTED[99:],
    "two": PLAIN + ENCRYPTED,
    "one line": PLAIN.replace(b"\n", b" "),
}


class Given:
    """What is handed to a case; its variables would be in the test's own frame."""

    folder: Path

    def file(self, content: bytes, mode: int = 0o600) -> str:
        return str(write(self.folder / "k", content, mode))


GIVEN = Given()


@pytest.fixture(autouse=True)
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    GIVEN.folder = tmp_path
    for name in (KEY_VARIABLE, PASSPHRASE_VARIABLE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    with caplog.at_level(logging.DEBUG):
        yield lambda: caplog.text


def fragments() -> list[str]:
    """What must be nowhere: the passphrases, and a piece of each line of each private key."""
    lines = [line for pem in (PLAIN, ENCRYPTED, RSA, P384) for line in pem.decode().splitlines() if "-" not in line]
    return [PASSPHRASE, WRONG, *(line[:16] for line in lines)]


def shown(error: BaseException) -> str:
    """All that an error can show: itself, those that it came from, their frames and all variables in them."""
    texts = [str(error), repr(error), repr(vars(error))]
    formatted = traceback.TracebackException.from_exception(error, capture_locals=True, limit=None)
    # The frame of the test itself is pytest's to show; it holds names of constants only.
    texts += formatted.format(chain=True)
    seen, waiting = set[int](), [error.__context__, error.__cause__]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            texts += [shown(one)]
            waiting += [one.__context__, one.__cause__]
    return "\n".join(texts)


def environment(key: str, passphrase: str | None = None) -> None:
    """Set the variables; by the names of the constants, for arguments would be in a traceback's variables."""
    os.environ[KEY_VARIABLE] = DAMAGED.get(key, globals().get(key, b"")).decode()
    if passphrase:
        os.environ[PASSPHRASE_VARIABLE] = globals()[passphrase]


def load_environment(key: str, passphrase: str | None = None) -> Any:
    environment(key, passphrase)
    return load_signer(None)


def raising() -> str:
    raise KeyError("the terminal is gone")


def on_a_full_disk() -> Any:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        return make_key(GIVEN.folder / "full", PASSPHRASE.encode())


def broken_store() -> Any:
    """A key's store that fails while it holds the PIN."""
    signer = load_signer(GIVEN.file(PLAIN))

    class Store:
        def sign(self, data: bytes) -> Any:
            pin = PASSPHRASE
            raise RuntimeError(f"the token was pulled {len(pin)}")

    signer._signer = Store()  # type: ignore[assignment]
    return signer.sign(b"data")


CASES: dict[str, Callable[[], Any]] = {
    "wrong passphrase": lambda: load_signer(GIVEN.file(ENCRYPTED), lambda: WRONG),
    "wrong passphrase, environment": lambda: load_environment("ENCRYPTED", "WRONG"),
    "no passphrase": lambda: load_environment("ENCRYPTED"),
    "nobody answers": lambda: load_signer(GIVEN.file(ENCRYPTED), raising),
    "another curve, with the right passphrase": lambda: load_signer(GIVEN.file(P384), lambda: PASSPHRASE),
    "RSA": lambda: load_environment("RSA"),
    "readable": lambda: load_signer(GIVEN.file(PLAIN, 0o644)),
    "damaged": lambda: load_environment("cut"),
    "damaged, encrypted": lambda: load_environment("hole", "PASSPHRASE"),
    "two keys": lambda: load_environment("two"),
    "lines lost": lambda: load_environment("one line"),
    "private in place of public": lambda: load_public(Path(GIVEN.file(PLAIN))),
    "an argument": lambda: load_signer(PLAIN.decode()),
    "exists": lambda: make_key(Path(GIVEN.file(b"x")), PASSPHRASE.encode()),
    "full disk": on_a_full_disk,
    "store": broken_store,
    "not sealed": lambda: seal({"predicateType": "x"}, load_signer(GIVEN.file(PLAIN))),
}


@pytest.mark.parametrize("case", CASES)
def test_no_secret_is_in_anything_that_an_error_shows(
    case: str, logged: Callable[[], str], capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        CASES[case]()
    except (HilgateError, KeyError) as error:
        text = shown(error)
    else:
        pytest.fail("it was to be refused")
    text += logged() + "".join(capfd.readouterr())
    assert "Traceback" in text
    assert [fragment for fragment in fragments() if fragment in text and case != "an argument"] == []
    if case == "an argument":  # it is the caller's variable; the message has nothing of it
        assert not any(fragment in str(error_of(case)) for fragment in fragments())


def error_of(case: str) -> HilgateError:
    with pytest.raises(HilgateError) as failure:
        CASES[case]()
    return failure.value


def test_the_search_would_find_one() -> None:
    """A search that finds nothing proves nothing, unless it finds what is there."""

    def careless(passphrase: str) -> None:
        raise ValueError("it failed")

    with pytest.raises(ValueError, match="it failed") as failure:
        careless(WRONG)
    assert WRONG in shown(failure.value)


def test_no_secret_is_in_any_object(logged: Callable[[], str], capfd: pytest.CaptureFixture[str]) -> None:
    environment("ENCRYPTED", "PASSPHRASE")
    signer = load_signer(None)
    public = load_public(write(GIVEN.folder / "k.pub", public_pem("P-256")))
    text = seal(make_statement({"x": "ab" * 32}, EVIDENCE_PREDICATE, {}), signer)
    opened = open_sealed(text.encode(), [public], EVIDENCE_PREDICATE, "here")
    made = make_key(GIVEN.folder / "new", PASSPHRASE.encode())
    things = [signer, signer.public, public, opened, made, opened.statement, opened.payload, keys_module]
    shown_things = "".join(f"{thing!r}{thing}" for thing in things) + text + logged() + "".join(capfd.readouterr())
    assert [fragment for fragment in fragments() if fragment in shown_things] == []
    assert {PASSPHRASE_VARIABLE, KEY_VARIABLE}.isdisjoint(os.environ)
