"""The script ``run`` of a release: from where and with what it starts the release's own program, and its usage."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.release.sums import write_sums
from tests.support.release_script import SHELLS, Shell, change_byte, check_refused, find_shell, make_release, run
from tests.support.small_bundle import KINDS, SmallBundle

MODEL = "artifact/model.onnx"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return make_release(tmp_path)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Shell:
    return find_shell(request.param, tmp_path)


def test_a_whole_release_starts_its_program(release: Path, shell: Shell) -> None:
    done = run(release / "run", "--check", by=shell)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    sums = hashlib.sha256((release / "SHA256SUMS").read_bytes()).hexdigest()
    assert lines[0] == f"check: files: all 14 are those of SHA256SUMS, SHA-256 {sums}"
    engine, library = "./runtime/hilgate/engine.so", "runtime/onnxruntime/capi/libonnxruntime.so.1.2.3"
    assert lines[1:] == [
        f"runner 6 --check {release} --engine {engine} --runtime {library}",
        str(release),
        "check: PASS",
    ]


@pytest.mark.parametrize("tool", ["find", "sed", "sort", "uniq", "cut", "sha256sum", "grep", "tail", "wc", "tr"])
def test_a_program_that_is_missing_lets_nothing_pass(release: Path, tool: str, tmp_path: Path) -> None:
    tools = tmp_path / "few"
    tools.mkdir()
    needed = ["find", "sed", "sort", "uniq", "cut", "sha256sum", "grep", "tail", "wc", "tr", "cat", "readlink"]
    for name in needed:
        if name != tool and (path := shutil.which(name)):
            (tools / name).symlink_to(path)
    (release / "evil.so").write_text("")
    change_byte(release, MODEL)
    done = run(release / "run", "--check", by=([shutil.which("dash") or "sh"], {"PATH": str(tools)}))
    assert done.returncode == 1
    assert "PASS" not in done.stdout


def test_sums_made_anew_are_not_for_the_script_to_refuse(release: Path) -> None:
    """It is the signature that tells: the script is as changeable as the files."""
    change_byte(release, MODEL)
    hashes = {line[66:]: line[:64] for line in (release / "SHA256SUMS").read_text().splitlines()}
    hashes[MODEL] = hashlib.sha256((release / MODEL).read_bytes()).hexdigest()
    (release / "SHA256SUMS").write_bytes(write_sums(hashes))
    assert run(release / "run", "--check").returncode == 0


def test_a_folder_that_inherits_its_group_is_no_attack(release: Path) -> None:
    (release / "artifact").chmod(0o2755)
    assert run(release / "run", "--check").returncode == 0


def test_links_to_the_folder_and_to_the_script_are_resolved(release: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(release.name)
    (tmp_path / "check it").symlink_to("current/run")
    for script in ("current/run", "check it"):
        done = run(tmp_path / script, "--check")
        assert done.returncode == 0
        assert done.stdout.splitlines()[2] == str(release)


def test_the_script_may_be_started_by_itself_and_from_its_own_folder(release: Path) -> None:
    """In an empty environment, too."""
    for command in (["./run", "--check"], ["sh", "run", "--check"]):
        done = subprocess.run(command, cwd=release, env={}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["a b", "it's", "$HOME", "-x", "ü", "a\n", "new\nline", "a:b", "*"])
def test_the_folder_may_have_any_name(release: Path, name: str, shell: Shell) -> None:
    place = release.rename(release.parent / name)
    done = run(place / "run", "--check", by=shell)
    place.rename(release)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{place}\n" in done.stdout


def test_a_program_that_fails_fails_the_check(release: Path) -> None:
    hashes = {line[66:]: line[:64] for line in (release / "SHA256SUMS").read_text().splitlines()}
    runner = release / "runtime/hilgate/runner"
    runner.write_text("#!/bin/sh\necho 'check: FAIL: it differs'\nexit 1\n")
    hashes["runtime/hilgate/runner"] = hashlib.sha256(runner.read_bytes()).hexdigest()
    (release / "SHA256SUMS").write_bytes(write_sums(hashes))
    done = run(release / "run", "--check")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "check: FAIL: it differs")


@pytest.mark.parametrize("arguments", [[], ["check"], ["--check", "more"], ["--chekc"], [""]])
def test_anything_else_prints_the_usage(release: Path, arguments: list[str]) -> None:
    done = run(release / "run", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")


def test_help_is_no_error(release: Path) -> None:
    done = run(release / "run", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--check" in done.stdout


PYTHON = """#!/bin/sh
echo "python $*"
echo "path ${PYTHONPATH-none}, home ${PYTHONHOME-none}, startup ${PYTHONSTARTUP-none}, safe ${PYTHONSAFEPATH-none}"
echo "release $HILGATE_RELEASE, in $(pwd -P), locale ${LC_ALL-none}"
exit 3
"""
OWN = {"PYTHONPATH": "/evil", "PYTHONHOME": "/evil", "PYTHONSTARTUP": "/evil", "PYTHONSAFEPATH": "1", "LC_ALL": "x"}


def fake_python(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(PYTHON)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("kind", ["shipped", "installed"])
def test_python_is_started_as_on_the_board_that_was_tested(tmp_path: Path, kind: str) -> None:
    release = SmallBundle(tmp_path, kind).lay_out().folder
    python = fake_python(tmp_path / "a folder", "python")
    environment = {**OWN, "PATH": "/usr/bin:/bin", "HILGATE_PYTHON": str(python)}
    done = run(release / "run", "--check", by=(["dash"], environment))
    flags, path = ("-S -s -B", f"{release}:{release}/runtime") if kind == "shipped" else ("-B", str(release))
    assert done.returncode == 3
    assert done.stdout.splitlines()[1:] == [
        f"python {flags} -m agent.check {release}",
        f"path {path}, home none, startup none, safe none",
        f"release {release}, in {release}, locale x",
    ]


def test_the_python_of_the_evidence_is_taken_if_it_is_there(tmp_path: Path) -> None:
    python = fake_python(tmp_path / "it's a folder", "python3.11")
    other = fake_python(tmp_path / "bin", "python3")
    release = SmallBundle(tmp_path, "installed").lay_out(python=str(python)).folder
    shell = (["dash"], {"PATH": f"{other.parent}:/usr/bin:/bin"})
    assert "python -B" in run(release / "run", "--check", by=shell).stdout
    other.write_text("#!/bin/sh\necho another\n")
    assert "python -B" in run(release / "run", "--check", by=shell).stdout
    python.unlink()
    assert run(release / "run", "--check", by=shell).stdout.splitlines()[-1] == "another"


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    release = SmallBundle(tmp_path, "installed").lay_out().folder
    shell = (["dash"], {"PATH": "/usr/bin:/bin", "HILGATE_PYTHON": "/no/such python"})
    check_refused(run(release / "run", "--check", by=shell), "HILGATE_PYTHON=PROGRAM names a Python: /no/such python")


def test_python_cannot_import_from_a_folder_with_a_colon(tmp_path: Path) -> None:
    release = SmallBundle(tmp_path, "shipped").lay_out().folder
    place = release.rename(tmp_path / "a:b")
    check_refused(run(place / "run", "--check"), f"with a colon in its path: {place}")


def test_an_installed_library_is_named_by_its_own_path(tmp_path: Path) -> None:
    release = SmallBundle(tmp_path, "native-installed").lay_out().folder
    done = run(release / "run", "--check")
    assert "--runtime /opt/a $b/libonnxruntime.so.1.2.3" in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_scripts_pass_their_checkers(tmp_path: Path, kind: str) -> None:
    """Names that evidence may have are in them."""
    folder = SmallBundle(tmp_path, kind).lay_out(python="/opt/it's $(here)/python").folder
    for name in ("run", "env"):
        for program in ("dash", "bash"):
            subprocess.run([program, "-n", str(folder / name)], check=True)
    if (checker := shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")) is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(
        [checker, "--severity=warning", "run", "env"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
