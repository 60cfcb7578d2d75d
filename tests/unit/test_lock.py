"""hilgate.lock: what it looks like, what it refuses, and what is said of one that cannot be used (issue 17)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.bundle import lock_file
from harness.bundle.lock_file import FILE, Lock, Locked, check_locked, lock_text, read_lock, recording, use_project
from harness.bundle.target import Platform
from harness.bundle.wheels import SEEN, fetch_wheels
from harness.errors import BackendError, InputError
from tests.support.wheels import write_wheel

TARGET = "cpython-3.11-aarch64-glibc-2.36"
DEVICE = Platform("3.11.2", "aarch64", "glibc-2.36")
A, B = (
    Locked(target=TARGET, name=name, version="1.0", file=f"{name}-1.0-py3-none-any.whl", sha256=digit * 64)
    for name, digit in (("a", "0"), ("b", "1"))
)
OTHER = Locked(target=TARGET, name="a", version="1.0", file=A.file, sha256="2" * 64)


@pytest.fixture(autouse=True)
def no_project() -> Iterator[None]:
    """Neither before nor after a test."""
    lock_file._PROJECT.root = None
    yield
    lock_file._PROJECT.root = None


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, and nowhere else; the cache is empty."""
    (tmp_path / "index").mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "index")}
    for name, value in {**settings, "HILGATE_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "index"


def write(folder: Path, *packages: Locked) -> Path:
    (folder / FILE).write_text(lock_text(packages))
    return folder / FILE


def test_it_is_read_as_it_was_written_sorted_and_each_file_once(tmp_path: Path) -> None:
    assert read_lock(write(tmp_path, B, A, A)) == Lock(tmp_path / FILE, (A, B))
    assert lock_text([A, B]) == lock_text([B, A, B])
    assert lock_text([A]).startswith("# Written by `hilgate lock`; commit it.")


def test_without_a_file_nothing_is_locked(tmp_path: Path) -> None:
    use_project(tmp_path)
    assert read_lock(tmp_path / FILE) is None
    check_locked([A], "a device")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param(OTHER, f"wanted: {A.file}, sha256 {A.sha256} | found: {A.file}, sha256 {OTHER.sha256}", id="hash"),
        pytest.param(
            Locked(target=TARGET, name="a", version="2.0", file="a-2.0.whl", sha256="0" * 64),
            "a is another one than hilgate.lock",
            id="version",
        ),
        pytest.param(
            Locked(target=TARGET, name="c", version="1.0", file="c-1.0.whl", sha256="0" * 64),
            "hilgate.lock does not name c",
            id="no-entry",
        ),
        pytest.param(Locked(**{**vars(A), "target": "cpython-3.9-x"}), "does not name a", id="another-target"),
    ],
)
def test_whatever_differs_is_refused_with_both_hashes_and_what_to_do(tmp_path: Path, found: Locked, said: str) -> None:
    write(tmp_path, A, B)
    use_project(tmp_path)
    with pytest.raises(BackendError) as caught:
        check_locked([B, found], "devices/pi4.toml")
    text = " | ".join(" ".join(line.split()) for line in str(caught.value).splitlines())
    assert said in text
    assert "hilgate lock" in caught.value.hint
    assert f"{tmp_path / FILE}; for devices/pi4.toml" in caught.value.where


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("schema = [", "cannot be read | TOML", id="no-toml"),
        pytest.param("\udcff", "cannot be read | TOML", id="no-utf-8"),
        pytest.param("", "cannot be read | schema = 1 | schema = None", id="empty"),
        pytest.param("schema = 'x'", "cannot be read | schema = 1", id="schema-of-another-kind"),
        pytest.param("schema = 2", "was written by a newer hilgate | schema = 1 | schema = 2", id="newer"),
        pytest.param("schema = 1\nextra = 1", "cannot be read | schema and [[package]] | schema, extra", id="more"),
        pytest.param("schema = 1\npackage = 3", "cannot be read | schema and [[package]]", id="no-list"),
        pytest.param(
            "schema = 1\n[[package]]\nname = 'a'", "cannot be read | a [[package]] with target, name", id="less"
        ),
        pytest.param(lock_text([A]).replace('"a"', "1"), "cannot be read | texts", id="no-text"),
        pytest.param(lock_text([A]).replace("0" * 64, "0"), "cannot be read | sha256: 64", id="no-hash"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_with_what_to_do(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / FILE).write_text(content, errors="surrogateescape")
    with pytest.raises(InputError) as caught:
        read_lock(tmp_path / FILE)
    error = caught.value
    assert said in f"{error.what} | {error.wanted} | {error.found}"
    assert error.where == str(tmp_path / FILE)
    assert "hilgate lock" in error.hint


# With pip, and a folder of wheels


def fetch(requirement: str = "app==1.0") -> dict[str, str]:
    wheels = fetch_wheels([requirement], [], DEVICE, where="devices/pi4.toml")
    return {wheel.name: wheel.version for wheel in wheels}


def app(index: Path, text: str = "", version: str = "1.0", **metadata: str) -> Path:
    requires = "".join(f"Requires-Dist: {one}\n" for one in metadata.values())
    head = f"Metadata-Version: 2.1\nName: app\nVersion: {version}\n{requires}"
    return write_wheel(
        index / f"app-{version}-py3-none-any.whl", {"app.py": text, f"app-{version}.dist-info/METADATA": head}
    )


def test_the_first_wheel_of_a_name_is_trusted_and_another_one_refused(index: Path, tmp_path: Path) -> None:
    app(index, "first")
    assert fetch() == {"app": "1.0"}
    app(index, "second")
    assert fetch() == {"app": "1.0"}  # the first, from the cache
    (kept,) = (tmp_path / "cache/wheels/files").glob("*/*.whl")
    kept.write_bytes(b"")
    with pytest.raises(BackendError, match="another one than the first of its name") as caught:
        fetch()
    seen = tmp_path / "cache/wheels" / SEEN / kept.name
    assert kept.parent.name in caught.value.wanted
    assert str(seen) in caught.value.hint
    seen.unlink()
    assert fetch() == {"app": "1.0"}


def test_a_locked_project_takes_the_locked_versions_and_no_other_file(index: Path, tmp_path: Path) -> None:
    app(index, "first", requires="dep")
    for version in ("1.0", "2.0"):
        write_wheel(index / f"dep-{version}-py3-none-any.whl", {"dep.py": version})
    with recording() as taken:
        fetch()
    assert [(one.name, one.version) for one in taken] == [("app", "1.0"), ("dep", "2.0")]
    write(tmp_path, *taken)
    use_project(tmp_path)
    write_wheel(index / "dep-3.0-py3-none-any.whl", {"dep.py": "newer"})
    index.rename(tmp_path / "no-network")
    assert fetch() == {"app": "1.0", "dep": "2.0"}  # what was locked has been downloaded
    (tmp_path / "no-network").rename(index)
    (tmp_path / "cache").rename(tmp_path / "another-machine")
    assert fetch() == {"app": "1.0", "dep": "2.0"}
    (tmp_path / "cache").rename(tmp_path / "a-third-machine")
    app(index, "second", requires="dep")
    with pytest.raises(BackendError, match="app is another one than"):
        fetch()
    assert not list((tmp_path / "cache/wheels").glob("files/*"))
