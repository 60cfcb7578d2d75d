"""The script ``run`` of a release: what it refuses before anything of the release is started, in several shells."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest

from tests.support.release_script import SHELLS, Shell, change_byte, check_refused, find_shell, make_release, run


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return make_release(tmp_path)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Shell:
    return find_shell(request.param, tmp_path)


def append(release: Path, name: str, content: bytes = b"") -> None:
    path = release / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def append_two(release: Path) -> None:
    append(release, "b")
    append(release, "a")


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
def test_all_shells_and_their_programs_refuse_the_same(release: Path, name: str, shell: Shell) -> None:
    attack, message = ATTACKS[name]
    attack(release)
    check_refused(run(release / "run", "--check", by=shell), message)


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
def test_all_shells_and_their_programs_read_sums_alike(release: Path, name: str, shell: Shell) -> None:
    make, message = BAD_SUMS[name]
    (release / "SHA256SUMS").write_bytes(make(release))
    check_refused(run(release / "run", "--check", by=shell), message)
