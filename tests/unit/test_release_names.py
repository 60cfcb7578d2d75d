"""Names in a release, and SHA256SUMS: what is read is what was written, and every other way to write it is refused."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.release.paths import check_name
from harness.release.sums import read_sums, write_sums

HASH = hashlib.sha256(b"").hexdigest()


def shown(name: str) -> str:
    return f"{len(name)}-{name!a:.20}"


BAD_NAMES = {
    "": "empty",
    "/etc/passwd": "absolute",
    "..": "leads out",
    "../up": "leads out",
    "a/../../up": "leads out",
    "a/..": "leads out",
    "./a": "shortest",
    "a//b": "shortest",
    "a/": "shortest",
    "a/./b": "shortest",
    "a\nb": "newline",
    "a\\b": "backslash",
    "a\0b": "cannot be seen",
    "a\rb": "cannot be seen",
    "a\x1b[2Jb": "cannot be seen",
    "a\x7fb": "cannot be seen",
    "a\x85b": "cannot be seen",
    "a\u2028b": "cannot be seen",
    "a\u202eb": "cannot be seen",
    "a\udcffb": "not UTF-8",
    "a" * 4000: "4000 bytes",
    "ä" * 513: "1026 bytes",
    "a" * 256: "more than 255 bytes",
}
GOOD_NAMES = [
    "run",
    "a b",
    " a",
    "runtime/tiny/ümlaut.txt",
    "..a",
    "a..",
    "...",
    "-a",
    "a'b\"c$d`e",
    "/".join("ab" * 200),
]


@pytest.mark.parametrize(("name", "problem"), BAD_NAMES.items(), ids=map(shown, BAD_NAMES))
def test_a_name_that_is_no_plain_path_is_refused(name: str, problem: str) -> None:
    assert problem in (check_name(name) or "")


@pytest.mark.parametrize("name", GOOD_NAMES, ids=shown)
def test_a_plain_path_is_a_name(name: str) -> None:
    assert check_name(name) is None


def test_what_is_written_is_read_again() -> None:
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in GOOD_NAMES}
    content = write_sums(hashes)
    assert read_sums(content, "SUMS") == hashes
    assert content.split(b"\n")[:-1] == sorted(content.split(b"\n")[:-1], key=lambda line: line[66:])


def test_sha256sum_takes_what_is_written(tmp_path: Path) -> None:
    hashes = {}
    for name in (name for name in GOOD_NAMES if len(name) < 100):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
        hashes[name] = hashlib.sha256(name.encode()).hexdigest()
    (tmp_path / "SHA256SUMS").write_bytes(write_sums(hashes))
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "a b").write_text("another")
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"a b: FAILED" in done.stdout


@pytest.mark.parametrize("name", [*BAD_NAMES, "SHA256SUMS"], ids=shown)
def test_a_bad_name_is_not_written(name: str) -> None:
    with pytest.raises(InputError, match="cannot be in a release"):
        write_sums({"a": HASH, name: HASH})


def line(name: bytes) -> bytes:
    return HASH.encode() + b"  " + name + b"\n"


BAD_SUMS = {
    "absolute": (line(b"/etc/passwd"), "absolute"),
    "leading-out": (line(b"a") + line(b"b/../../c"), "line 2"),
    "newline-as-sha256sum-escapes-it": (b"\\" + line(b"a\\nb"), "have a line that is none"),
    "backslash": (line(b"a\\nb"), "backslash"),
    "a-newline-in-a-name": (line(b"a\nb"), "have a line that is none"),
    "carriage-return": (line(b"a\r"), "cannot be seen"),
    "nul": (line(b"a\0b"), "cannot be seen"),
    "doubled": (line(b"a") + line(b"a"), "twice"),
    "doubled-with-another-hash": (line(b"a") + b"1" * 64 + b"  a\n", "twice"),
    "not-utf8": (line(b"a\xff"), "not UTF-8"),
    "overlong-utf8": (line(b"a\xc0\xafb"), "not UTF-8"),
    "surrogate-in-utf8": (line(b"a\xed\xb3\xbf"), "not UTF-8"),
    "long": (line(b"a" * 4000), "4000 bytes"),
    "itself": (line(b"SHA256SUMS"), "the list itself"),
    "binary-mark": (HASH.encode() + b" *a\n", "have a line that is none"),
    "tag-style": (b"SHA256 (a) = " + HASH.encode() + b"\n", "have a line that is none"),
    "upper-case": (HASH.upper().encode() + b"  a\n", "have a line that is none"),
    "short-hash": (HASH[1:].encode() + b"  a\n", "have a line that is none"),
    "no-name": (HASH.encode() + b"  \n", "have a line that is none"),
    "empty-line": (line(b"a") + b"\n", "have a line that is none"),
    "comment": (b"# a\n" + line(b"a"), "have a line that is none"),
    "not-sorted": (line(b"b") + line(b"a"), "not in order"),
    "cut-short": (line(b"a") + line(b"b")[:-1], "cut short"),
    "empty": (b"", "empty"),
    "large": (b"0" * (65 << 20), "too large"),
}


@pytest.mark.parametrize(("content", "message"), BAD_SUMS.values(), ids=BAD_SUMS)
def test_sums_that_were_not_written_so_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_sums(content, "net/SHA256SUMS")
    assert message in str(caught.value)
    assert "net/SHA256SUMS" in str(caught.value)


def test_a_release_without_files_cannot_be_written() -> None:
    with pytest.raises(InputError):
        write_sums({})
