"""The script ``run`` of a release: what it refuses before anything of the release is started, in several shells."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from harness.release.sums import write_sums
from tests.support.small_bundle import KINDS, SmallBundle

SHELLS = ["dash", "bash", "busybox"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Path]:
    """A release whose program passes; it can be removed whatever was done to it."""
    folder = SmallBundle(tmp_path).lay_out().folder
    yield folder
    for home, _, _ in os.walk(folder):
        Path(home).chmod(0o755)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """A shell's command line, and its environment: busybox's has busybox's programs and no others."""
    name = request.param
    if (program := shutil.which(name)) is None:
        pytest.skip(f"{name} is not installed")
    environment = {"PATH": "/usr/bin:/bin"}
    if name == "busybox":
        tools = tmp_path / "tools"
        tools.mkdir()
        for tool in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
            (tools / tool).symlink_to(program)
        return [str(tools / "sh")], {"PATH": str(tools)}
    return [program], environment


def run(
    script: Path, *arguments: str, by: tuple[list[str], dict[str, str]] = (["dash"], {"PATH": "/usr/bin:/bin"})
) -> subprocess.CompletedProcess[str]:
    """Run the script in a shell, from another folder."""
    return subprocess.run(
        [*by[0], str(script), *arguments],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        timeout=60,
        cwd="/",
        env=by[1],
    )


def test_a_whole_release_starts_its_program(release: Path, shell: tuple[list[str], dict[str, str]]) -> None:
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


def append(release: Path, name: str, content: bytes = b"") -> None:
    path = release / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def append_two(release: Path) -> None:
    append(release, "b")
    append(release, "a")


def change_byte(release: Path, name: str) -> None:
    content = bytearray((release / name).read_bytes())
    content[len(content) // 2] ^= 1
    (release / name).write_bytes(content)


def remove(release: Path, name: str) -> None:
    (release / name).unlink()


def replace(release: Path, name: str, make: Callable[[Path, Path], object]) -> None:
    """Put something else in a file's place, which is kept outside."""
    aside = (release / name).rename(release.parent / "aside")
    make(release / name, aside)


def listen(path: Path, _: Path) -> None:
    """Make a socket; its path is too long for one, so from its folder."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(before)


MODEL = "artifact/model.onnx"
FILES = [MODEL, "runtime/hilgate/runner", "runtime/hilgate/engine.so", "manifest.json", "evidence.json", "env"]
FILES += ["check/check.json", "check/0-in-0.bin", "check/0-out-0.bin", "README.md", "net-v2.1.service"]
Attack = tuple[Callable[[Path], object], str]
MORE, LESS, SUMS = (
    "a file that SHA256SUMS does not list: ",
    "that SHA256SUMS lists is not there: ",
    "SHA256SUMS lists: ",
)
KIND = "neither a regular file nor a folder: ./"
ATTACKS: dict[str, Attack] = {
    **{f"changed-{name}": (partial(change_byte, name=name), SUMS + name) for name in FILES},
    **{f"removed-{name}": (partial(remove, name=name), LESS + name) for name in [*FILES, "check/executable"]},
    "more-at-the-top": (lambda r: append(r, "sitecustomize.py"), MORE + "sitecustomize.py"),
    "more-byte-code": (lambda r: append(r, "agent/__pycache__/x.pyc"), MORE + "agent/__pycache__/x.pyc"),
    "more-library": (lambda r: append(r, "runtime/a b.so"), MORE + "runtime/a b.so"),
    "more-hidden": (lambda r: append(r, ".pythonrc"), MORE + ".pythonrc"),
    "more-with-a-dash": (lambda r: append(r, "-n"), MORE + "-n"),
    "more-with-spaces": (lambda r: append(r, "  a  "), MORE + "  a  "),
    "more-with-signs": (lambda r: append(r, "$(id) `id` * ?'\"%s"), MORE + "$(id) `id` * ?'\"%s"),
    "more-with-a-backslash": (lambda r: append(r, "a\\nb"), MORE + "a\\nb"),
    "more-not-utf8": (lambda r: append(r, "a\udcff"), MORE + "a\udcff"),
    "more-with-a-newline": (lambda r: append(r, "a\nb"), "a name with a newline: ./a?b"),
    "more-in-a-folder-with-a-newline": (lambda r: append(r, "x\n./run"), "a name with a newline: ./x"),
    "more-with-an-escape": (lambda r: append(r, "a\x1b[2Jb"), "cannot be seen: ./a?[2Jb"),
    "a-folder-with-a-newline": (lambda r: (r / "a\nb").mkdir(), "a name with a newline: ./a?b"),
    "a-newline-hides-two": (lambda r: append(r, "env\nrun"), "a name with a newline: ./env?run"),
    "two-more": (append_two, MORE + "a (and 1 more)"),
    "renamed": (lambda r: (r / MODEL).rename(r / "artifact/Model.onnx"), MORE + "artifact/Model.onnx"),
    "link": (lambda r: replace(r, MODEL, lambda path, aside: path.symlink_to(aside)), KIND + MODEL),
    "link-inside": (lambda r: replace(r, "env", lambda path, _: path.symlink_to("README.md")), KIND + "env"),
    "link-to-a-folder": (lambda r: replace(r, "check", lambda path, aside: path.symlink_to(aside)), KIND + "check"),
    "link-of-the-sums": (lambda r: replace(r, "SHA256SUMS", lambda path, aside: path.symlink_to(aside)), KIND),
    "dangling-link": (lambda r: (r / "x").symlink_to("nowhere"), KIND + "x"),
    "fifo": (lambda r: replace(r, MODEL, lambda path, _: os.mkfifo(path)), KIND + MODEL),
    "socket": (lambda r: replace(r, MODEL, listen), KIND + MODEL),
    "folder": (lambda r: replace(r, MODEL, lambda path, _: path.mkdir()), LESS + MODEL),
    "executable": (lambda r: (r / MODEL).chmod(0o755), "does not list it (chmod a-x): " + MODEL),
    "executable-for-others": (lambda r: (r / MODEL).chmod(0o645), "does not list it (chmod a-x): " + MODEL),
    "not-executable": (
        lambda r: (r / "runtime/hilgate/runner").chmod(0o644),
        "lists it (chmod a+x): runtime/hilgate/runner",
    ),
    "setuid": (lambda r: (r / "runtime/hilgate/runner").chmod(0o4755), "sticky bit: ./runtime/hilgate/runner"),
    "setgid": (lambda r: (r / MODEL).chmod(0o2644), "sticky bit: ./" + MODEL),
    "sticky": (lambda r: (r / MODEL).chmod(0o1644), "sticky bit: ./" + MODEL),
    "setuid-folder": (lambda r: (r / "artifact").chmod(0o4755), "sticky bit: ./artifact"),
    "empty-folder": (lambda r: (r / "runtime/a b/c").mkdir(parents=True), "lists: runtime/a b (and 1 more)"),
    "empty-folder-at-the-top": (lambda r: (r / "numpy").mkdir(), "a folder without files that SHA256SUMS lists: numpy"),
    "writable-by-all": (lambda r: (r / MODEL).chmod(0o666), "may write to it (chmod go-w): ./" + MODEL),
    "writable-by-the-group": (lambda r: (r / "env").chmod(0o664), "may write to it (chmod go-w): ./env"),
    "writable-folder": (lambda r: (r / "check").chmod(0o777), "may write to it (chmod go-w): ./check"),
    "writable-itself": (lambda r: r.chmod(0o775), "may write to it (chmod go-w): ."),
    "no-sums": (lambda r: (r / "SHA256SUMS").unlink(), "SHA256SUMS is not there"),
    "empty-sums": (lambda r: (r / "SHA256SUMS").write_bytes(b""), "SHA256SUMS is not there, or empty"),
}


@pytest.mark.parametrize(("attack", "message"), ATTACKS.values(), ids=ATTACKS)
def test_whatever_differs_is_refused_and_named(release: Path, attack: Callable[[Path], object], message: str) -> None:
    attack(release)
    done = run(release / "run", "--check")
    check_refused(done, message)
    assert not done.stdout.rstrip("\n").endswith("?")


@pytest.mark.parametrize(
    "name",
    [
        "changed-" + MODEL,
        "more-with-a-newline",
        "more-library",
        "link",
        "fifo",
        "setuid",
        "executable",
        "no-sums",
        "empty-folder",
    ],
)
def test_all_shells_and_their_programs_refuse_the_same(
    release: Path, name: str, shell: tuple[list[str], dict[str, str]]
) -> None:
    attack, message = ATTACKS[name]
    attack(release)
    check_refused(run(release / "run", "--check", by=shell), message)


def check_refused(done: subprocess.CompletedProcess[str], message: str) -> None:
    """The status is 1, the last line says what is wrong, and nothing of the release was started."""
    assert done.returncode == 1, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("check: FAIL: ")
    assert message in last
    assert "runner" not in done.stdout.replace(message, "")
    assert "PASS" not in done.stdout
    assert "\x1b" not in done.stdout


def sums_with(release: Path, names: Mapping[bytes, bytes], *, where: int | None = None) -> bytes:
    """Return the sums with further lines, sorted where ``where`` is not given."""
    lines = (release / "SHA256SUMS").read_bytes().splitlines(keepends=True)
    more = [hashlib.sha256(content).hexdigest().encode() + b"  " + name + b"\n" for name, content in names.items()]
    if where is not None:
        lines[where:where] = more
        return b"".join(lines)
    in_order = sorted([*lines, *more], key=lambda line: line[66:])
    return b"".join(in_order)


BAD_SUMS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "absolute": (lambda r: sums_with(r, {b"/etc/hostname": b""}), "not a path in this folder: /etc/hostname"),
    "leading-out": (
        lambda r: sums_with(r, {b"check/../../aside": b""}),
        "not a path in this folder: check/../../aside",
    ),
    "up": (lambda r: sums_with(r, {b"..": b""}), "not a path in this folder: .."),
    "here": (lambda r: sums_with(r, {b"./run": b""}), "not a path in this folder: ./run"),
    "double-slash": (lambda r: sums_with(r, {b"check//a": b""}), "not a path in this folder: check//a"),
    "backslash": (lambda r: sums_with(r, {b"a\\b": b""}), "two spaces and a plain name"),
    "escaped-newline": (lambda r: b"\\" + sums_with(r, {}), "two spaces and a plain name"),
    "carriage-return": (lambda r: sums_with(r, {b"a\r": b""}), "two spaces and a plain name: "),
    "escape": (lambda r: sums_with(r, {b"a\x1b[2J": b""}), "two spaces and a plain name"),
    "doubled": (lambda r: sums_with(r, {b"run": (r / "run").read_bytes()}), "has a name twice: run"),
    "not-utf8": (lambda r: sums_with(r, {b"a\xff": b""}), "not UTF-8: "),
    "overlong": (lambda r: sums_with(r, {b"a\xc0\xafb": b""}), "not UTF-8: "),
    "surrogate": (lambda r: sums_with(r, {b"a\xed\xb3\xbf": b""}), "not UTF-8: "),
    "lone-continuation": (lambda r: sums_with(r, {"ä".encode() + b"\xa4": b""}), "not UTF-8: "),
    "long": (lambda r: sums_with(r, {b"a" * 4000: b""}), "more than 1024 bytes: aaa"),
    "upper-case": (lambda r: sums_with(r, {}).upper(), "two spaces and a plain name"),
    "binary-mark": (lambda r: sums_with(r, {}).replace(b"  ", b" *"), "two spaces and a plain name"),
    "comment": (lambda r: b"# a comment\n" + sums_with(r, {}), "two spaces and a plain name"),
    "not-sorted": (lambda r: sums_with(r, {b"zz": b""}, where=0), "not sorted"),
    "cut-short": (lambda r: sums_with(r, {})[:-1], "cut short"),
    "a-file-less": (lambda r: b"".join(sums_with(r, {}).splitlines(keepends=True)[:-1]), MORE),
    "a-file-more": (lambda r: sums_with(r, {"zü".encode(): b""}), LESS + "zü"),
    "itself": (lambda r: sums_with(r, {b"SHA256SUMS": b""}), LESS + "SHA256SUMS"),
}


@pytest.mark.parametrize(("make", "message"), BAD_SUMS.values(), ids=BAD_SUMS)
def test_sums_that_hilgate_would_not_write_are_refused(
    release: Path, make: Callable[[Path], bytes], message: str
) -> None:
    (release / "SHA256SUMS").write_bytes(make(release))
    check_refused(run(release / "run", "--check"), message)


@pytest.mark.parametrize(
    "name", ["absolute", "doubled", "not-utf8", "overlong", "long", "carriage-return", "not-sorted"]
)
def test_all_shells_and_their_programs_read_sums_alike(
    release: Path, name: str, shell: tuple[list[str], dict[str, str]]
) -> None:
    make, message = BAD_SUMS[name]
    (release / "SHA256SUMS").write_bytes(make(release))
    check_refused(run(release / "run", "--check", by=shell), message)


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
def test_the_folder_may_have_any_name(release: Path, name: str, shell: tuple[list[str], dict[str, str]]) -> None:
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
