"""hilgate key: asks twice on a terminal, shows no passphrase, and leaves nothing half-done."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness.signing.keys import load_public, load_signer
from tests.support.terminal import on_terminal

PASSPHRASE = "eine lange Passphrase mit ß"  # noqa: S105
FIRST, AGAIN = "Passphrase for the new key: ", "Once more: "
HILGATE = [sys.executable, "-c", "from harness.cli import main; main()", "key"]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HILGATE_SIGNING")}


def on_a_terminal(folder: Path, *arguments: str, answers: list[tuple[str, str]]) -> tuple[int, str]:
    return on_terminal([*HILGATE, *arguments], answers, folder=folder, environment=environment())


def without_a_terminal(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [*HILGATE, *arguments],
        cwd=folder,
        env=environment(),
        input=f"{PASSPHRASE}\n{PASSPHRASE}\n",
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is this clone's, wherever it is started."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def test_it_asks_twice_and_shows_no_passphrase(tmp_path: Path) -> None:
    status, seen = on_a_terminal(tmp_path, "team.key", answers=[(FIRST, PASSPHRASE), (AGAIN, PASSPHRASE)])
    assert (status, PASSPHRASE in seen) == (0, False)
    public = load_public(tmp_path / "team.key.pub")
    assert public.fingerprint in seen
    assert all(
        text in seen for text in ("[signers]", "out of git", "HILGATE_SIGNING_KEY", "HILGATE_SIGNING_PASSPHRASE")
    )
    assert load_signer(str(tmp_path / "team.key"), lambda: PASSPHRASE).public == public


def test_it_asks_again_where_the_two_differ_or_are_empty(tmp_path: Path) -> None:
    answers = [(FIRST, ""), (FIRST, "one"), (AGAIN, "another"), (FIRST, PASSPHRASE), (AGAIN, PASSPHRASE)]
    status, seen = on_a_terminal(tmp_path, "k", answers=answers)
    assert status == 0, seen
    assert "They differ." in seen
    assert "at least one character" in seen


def test_three_times_is_enough(tmp_path: Path) -> None:
    answers = [(FIRST, "one"), (AGAIN, "another")] * 3
    status, seen = on_a_terminal(tmp_path, "k", answers=answers)
    assert status == 1
    assert "no key was made" in seen
    assert not list(tmp_path.iterdir())


def test_the_end_of_file_is_no_passphrase(tmp_path: Path) -> None:
    status, seen = on_a_terminal(tmp_path, "k", answers=[(FIRST, "\x04")])
    assert status == 1
    assert "no passphrase was given" in seen
    assert not list(tmp_path.iterdir())


def test_without_a_terminal_it_says_what_to_do(tmp_path: Path) -> None:
    status, seen = without_a_terminal(tmp_path, "k")
    assert status == 1
    assert "--no-passphrase" in seen
    assert "Traceback" not in seen
    assert not list(tmp_path.iterdir())


def test_without_a_passphrase_it_needs_no_terminal_and_says_so(tmp_path: Path) -> None:
    status, seen = without_a_terminal(tmp_path, "k", "--no-passphrase")
    assert status == 0, seen
    assert "whoever has the file can sign" in seen
    assert "HILGATE_SIGNING_PASSPHRASE" not in seen
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600


def test_nobody_is_asked_where_a_file_is_there(tmp_path: Path) -> None:
    (tmp_path / "k.pub").write_text("mine")
    status, seen = on_a_terminal(tmp_path, "k", answers=[])
    assert status == 1
    assert "never replaced" in seen
    assert FIRST not in seen
    assert (tmp_path / "k.pub").read_text() == "mine"


@pytest.mark.parametrize("ignored", [False, True])
def test_in_a_repository_it_says_whether_git_would_add_the_key(tmp_path: Path, ignored: bool) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("/team.key\n" if ignored else "")
    status, seen = without_a_terminal(tmp_path, "team.key", "--no-passphrase")
    assert status == 0, seen
    assert ("git would add it" in seen) is not ignored
