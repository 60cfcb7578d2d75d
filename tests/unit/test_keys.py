"""Key pairs: made, loaded, and refused; each with a message of its own."""

from __future__ import annotations

import errno
import os
import pickle
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import PrivateFormat

from harness.errors import InputError, StorageError
from harness.signing.keys import KEY_VARIABLE, PublicKey, load_public, load_signer, make_key
from harness.signing.passphrase import PASSPHRASE_VARIABLE
from tests.support.keys import private_pem, public_pem, write

PASSPHRASE = "correct horse — Batterie"  # noqa: S105


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is given by the environment of whoever runs the tests."""
    for name in (KEY_VARIABLE, PASSPHRASE_VARIABLE):
        monkeypatch.setenv(name, "")  # so that whatever a test does to it is undone
        monkeypatch.delenv(name)


def never() -> str:
    raise AssertionError("nobody should have been asked")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


@pytest.mark.parametrize("umask", [0, 0o777])
def test_a_pair_is_made(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        public = make_key(tmp_path / "team.key", PASSPHRASE.encode())
    finally:
        os.umask(before)
    assert (mode(tmp_path / "team.key"), mode(tmp_path / "team.key.pub")) == (0o600, 0o644)
    assert (tmp_path / "team.key").read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert load_public(tmp_path / "team.key.pub") == public
    assert public.scheme == "ecdsa-sha2-nistp256"
    signer = load_signer(str(tmp_path / "team.key"), lambda: PASSPHRASE)
    assert signer.public == public
    signature = signer.sign(b"data")
    assert public.verify(signature, b"data")
    assert not public.verify(signature, b"date")
    assert not public.verify(b"", b"data")


def test_a_pair_without_a_passphrase_asks_for_none(tmp_path: Path) -> None:
    make_key(tmp_path / "k", None)
    assert (tmp_path / "k").read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    load_signer(str(tmp_path / "k"), never)


@pytest.mark.parametrize("taken", ["k", "k.pub"])
@pytest.mark.parametrize("kind", [Path.touch, lambda path: path.symlink_to("nowhere")], ids=["file", "link"])
def test_no_file_is_ever_replaced(tmp_path: Path, taken: str, kind: Callable[[Path], None]) -> None:
    kind(tmp_path / taken)
    with pytest.raises(InputError, match="never replaced"):
        make_key(tmp_path / "k", None)
    assert [path.name for path in tmp_path.iterdir()] == [taken]


@pytest.mark.parametrize(
    ("name", "passphrase", "message"),
    [
        pytest.param("missing/k", None, "folder for the key is not there", id="no folder"),
        pytest.param("k.pub", None, "no .pub", id="named as a public key"),
        pytest.param("k", b"", "passphrase is empty", id="empty passphrase"),
    ],
)
def test_a_pair_that_cannot_be_made(tmp_path: Path, name: str, passphrase: bytes | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_key(tmp_path / name, passphrase)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("which", [0, 1])
def test_on_a_full_disk_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    seen: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append(descriptor)
        if len(seen) > which:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="No space left"):
        make_key(tmp_path / "k", None)
    assert not list(tmp_path.iterdir())


def test_a_file_system_that_keeps_no_modes_gets_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fchmod", lambda descriptor, _: os.chmod(descriptor, 0o777))  # noqa: PTH101, S103
    with pytest.raises(StorageError, match="others could read"):
        make_key(tmp_path / "k", None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(public_pem("RSA"), "RSA keys are not accepted", id="RSA"),
        pytest.param(public_pem("P-384"), "on another curve", id="P-384"),
        pytest.param(public_pem("secp256k1"), "on another curve", id="secp256k1"),
        pytest.param(public_pem("DSA"), "of this kind", id="DSA"),
        pytest.param(public_pem("Ed448"), "of this kind", id="Ed448"),
        pytest.param(public_pem("X25519"), "of this kind", id="X25519"),
        pytest.param(private_pem("P-256"), "a private key, and a public one", id="private"),
        pytest.param(private_pem("P-256", b"x"), "a private key, and a public one", id="private, encrypted"),
        pytest.param(b"", "is no key", id="empty"),
        pytest.param(b"ssh-ed25519 AAAAC3Nz me@here\n", "is no key", id="OpenSSH's"),
        pytest.param(public_pem("P-256") + public_pem("Ed25519"), "more than one", id="two"),
        pytest.param(
            b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", "another format", id="certificate"
        ),
        pytest.param(public_pem("P-256").replace(b"MFkw", b"MFkx"), "damaged", id="damaged"),
        pytest.param(public_pem("P-256")[:80], "damaged", id="cut"),
        pytest.param(bytes(70_000), "too large", id="large"),
        pytest.param(b"\xff\xfe" * 20, "is no key", id="bytes"),
    ],
)
def test_a_public_key_that_is_not_accepted(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "team.pub", content)
    with pytest.raises(InputError, match=message) as failure:
        load_public(path)
    assert failure.value.wanted
    assert failure.value.where == str(path)
    assert "MII" not in str(failure.value)  # no private key's beginning


@pytest.mark.parametrize("kind", ["P-256", "Ed25519"])
def test_the_kinds_that_are_accepted(tmp_path: Path, kind: str) -> None:
    public = load_public(write(tmp_path / "k.pub", b"# the team's\n" + public_pem(kind), 0o644))
    signer = load_signer(str(write(tmp_path / "k", private_pem(kind))))
    assert signer.public == public
    assert public.verify(signer.sign(b"data"), b"data")
    assert len(public.fingerprint) == len(public.hint) == 64


def readable(path: Path) -> Path:
    return write(path, private_pem("P-256"), 0o640)


def tracked(path: Path) -> Path:
    git(path.parent, "init", "-q")
    write(path, private_pem("P-256"))
    git(path.parent, "add", path.name)
    return path


def link_to_tracked(path: Path) -> Path:
    (path.parent / "repository").mkdir()
    path.symlink_to(tracked(path.parent / "repository" / "k"))
    return path


def content(text: bytes) -> Callable[[Path], Path]:
    return lambda path: write(path, text)


def fifo(path: Path) -> Path:
    os.mkfifo(path, 0o600)
    return path


ENCRYPTED = private_pem("P-256", PASSPHRASE.encode())
SEC1, OPENSSH = (private_pem("P-256", form=form) for form in (PrivateFormat.TraditionalOpenSSL, PrivateFormat.OpenSSH))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda path: path, "is not there", id="none"),
        pytest.param(readable, "others may read the signing key", id="readable by its group"),
        pytest.param(lambda path: write(path, private_pem("P-256"), 0o604), "others may read", id="by everybody"),
        pytest.param(
            lambda path: write(path, private_pem("P-256"), 0o602), "others may read", id="written by everybody"
        ),
        pytest.param(tracked, "git tracks the signing key", id="tracked by git"),
        pytest.param(link_to_tracked, "git tracks the signing key", id="a link to one that git tracks"),
        pytest.param(content(public_pem("P-256")), "this is a public key", id="public"),
        pytest.param(content(ENCRYPTED), "the passphrase is wrong", id="wrong passphrase"),
        pytest.param(content(ENCRYPTED[:150] + ENCRYPTED[160:]), "or the signing key damaged", id="encrypted, damaged"),
        pytest.param(content(private_pem("P-256")[:90]), "the signing key is damaged", id="damaged"),
        pytest.param(content(private_pem("RSA")), "RSA keys are not accepted", id="RSA"),
        pytest.param(content(private_pem("P-384")), "on another curve", id="P-384"),
        pytest.param(content(private_pem("Ed448")), "of this kind", id="Ed448"),
        pytest.param(content(SEC1), "another format", id="SEC 1"),
        pytest.param(content(OPENSSH), "another format", id="OpenSSH's"),
        pytest.param(content(b""), "is no key", id="empty"),
        pytest.param(content(private_pem("P-256") * 2), "more than one key", id="two"),
        pytest.param(content(bytes(70_000)), "too large", id="large"),
        pytest.param(lambda path: path.parent, "no regular file", id="folder"),
        pytest.param(fifo, "no regular file", id="FIFO"),
    ],
)
def test_a_private_key_that_is_refused(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    path = make(tmp_path / "team.key")
    with pytest.raises(InputError, match=message) as failure:
        load_signer(str(path), lambda: "another passphrase")
    assert failure.value.wanted
    assert str(path) in failure.value.where
    assert failure.value.hint or message in ("no regular file", "too large")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        pytest.param("", "has no name", id="empty"),
        pytest.param("ftp:key", "no such kind of key", id="unknown scheme"),
        pytest.param("file2:/etc/passwd", "no such kind of key", id="a scheme that would not look at modes"),
        pytest.param("gnupg:abc", "no such kind of key", id="GnuPG"),
        pytest.param("awskms:alias/x", "is not installed|cannot be used", id="AWS's"),
        pytest.param("gcpkms:projects/x", "is not installed", id="Google's"),
        pytest.param("azurekms://v.vault.azure.net/keys/n", "is not installed", id="Azure's"),
        pytest.param("azurekms:", r"is not installed|cannot be used", id="Azure's, cut"),
        pytest.param("hv:name", "is not installed", id="Vault's"),
        pytest.param("hsm:", "is not installed", id="token"),
        pytest.param("hsm:nine", "cannot be used", id="token's key of no number"),
        pytest.param("bad\0name", "cannot be read", id="NUL"),
    ],
)
def test_a_key_by_a_name_that_is_none(key: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as failure:
        load_signer(key, never)
    assert failure.value.wanted or message == "cannot be read"


def test_a_key_as_an_argument_is_refused_and_not_shown() -> None:
    key = private_pem("P-256").decode()
    with pytest.raises(InputError, match="itself is an argument") as failure:
        load_signer(key)
    assert key.splitlines()[1][:20] not in str(failure.value)


def test_the_key_itself_may_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, ENCRYPTED.decode())
    monkeypatch.setenv(PASSPHRASE_VARIABLE, PASSPHRASE)
    signer = load_signer(None, never)
    assert signer.public.pem == public_pem("P-256").decode()
    assert not {KEY_VARIABLE, PASSPHRASE_VARIABLE} & set(os.environ)  # what is started later does not have it


def test_windows_line_ends_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, private_pem("P-256").decode().replace("\n", "\r\n"))
    load_signer(None)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param("", "no signing key is given", id="empty"),
        pytest.param("/home/me/team.key", "holds no key", id="a path"),
        pytest.param(private_pem("P-256").decode().replace("\n", " "), "has lost its lines", id="one line"),
        pytest.param(private_pem("P-256").decode().replace("\n", r"\n"), "has lost its lines", id="escaped lines"),
        pytest.param(ENCRYPTED.decode(), "has a passphrase, and none is given", id="no passphrase"),
        pytest.param(public_pem("P-256").decode(), "this is a public key", id="public"),
        pytest.param("some\nother secret", "is no key", id="something else"),
    ],
)
def test_a_key_in_the_environment_that_is_refused(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    monkeypatch.setenv(KEY_VARIABLE, value)
    with pytest.raises(InputError, match=message) as failure:
        load_signer(None)
    assert failure.value.where == f"${KEY_VARIABLE}"
    assert value not in str(failure.value) or not value


def test_without_any_key_it_says_how_to_make_one() -> None:
    with pytest.raises(InputError, match="hilgate key FILE"):
        load_signer(None)


def test_a_wrong_passphrase_says_where_it_is_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = str(write(tmp_path / "k", ENCRYPTED))
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "wrong")
    with pytest.raises(InputError, match=rf"\${PASSPHRASE_VARIABLE} does not open it"):
        load_signer(key, never)
    with pytest.raises(InputError, match="the terminal does not open it"):
        load_signer(key, lambda: "")


def test_beside_a_repository_that_does_not_track_it_a_key_is_loaded(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    load_signer(str(write(tmp_path / "k", private_pem("P-256"))))


def test_a_key_beside_the_repository_is_named_from_inside_of_it(tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    git(tmp_path / "repository", "init", "-q")
    write(tmp_path / "k", private_pem("P-256"))
    assert load_signer(str(tmp_path / "repository/../k")).public.scheme == "ecdsa-sha2-nistp256"


def test_git_settings_of_a_hook_do_not_hide_that_it_tracks_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    git(tmp_path / "other", "init", "-q")
    path = tracked(tmp_path / "k")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    with pytest.raises(InputError, match="git tracks"):
        load_signer(str(path))


@pytest.mark.parametrize("name", [":k", "*", "-k", "k[a]"])
def test_names_that_mean_something_to_git_are_looked_for_as_they_are(tmp_path: Path, name: str) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path / "other", b"x")
    git(tmp_path, "add", "other")
    path = write(tmp_path / name, private_pem("P-256"))
    load_signer(str(path))
    git(tmp_path, "--literal-pathspecs", "add", "--", name)
    with pytest.raises(InputError, match="git tracks"):
        load_signer(str(path))


def test_where_git_cannot_say_a_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()  # damaged
    path = write(tmp_path / "k", private_pem("P-256"))
    with pytest.raises(InputError, match="git cannot say"):
        load_signer(str(path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="git cannot say"):
        load_signer(str(path))


def test_a_signer_shows_nothing_and_is_not_pickled(tmp_path: Path) -> None:
    signer = load_signer(str(write(tmp_path / "k", private_pem("P-256"))))
    assert signer.public.fingerprint[:16] in repr(signer)
    with pytest.raises(TypeError):
        pickle.dumps(signer)


def test_a_public_key_can_be_compared_and_counted() -> None:
    first, second = (PublicKey("x", "y", "ed25519") for _ in range(2))
    assert len({first, second}) == 1
