"""A device's wheels, fetched by a real pip from a folder of tiny ones: what is chosen, what is kept, what is said."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.bundle import pip_errors, pip_run
from harness.bundle.pip_run import Outcome, Request
from harness.bundle.target import Platform
from harness.bundle.wheels import WORK, Wheel, fetch_wheels
from harness.errors import BackendError, StorageError
from harness.host.cache import file_sha256
from harness.host.progress_log import showing_progress
from tests.support.wheels import write_wheel

DEVICE = Platform("3.11.2", "aarch64", "glibc-2.36")
PURE = "py3-none-any"

MakeWheel = Callable[..., Path]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, and nowhere else; the cache is empty."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pip_errors, "PYTHON_MINORS", (10,))  # each is a run of pip
    return folder


@pytest.fixture
def make_wheel(index: Path) -> MakeWheel:
    def make(
        name: str, version: str = "1.0", tag: str = PURE, *, requires: Sequence[str] = (), python: str = ""
    ) -> Path:
        lines = [f"Requires-Dist: {one}" for one in requires] + ([f"Requires-Python: {python}"] if python else [])
        head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        metadata = {f"{name}-{version}.dist-info/METADATA": "\n".join(head + lines) + "\n"}
        files = {f"{name}.py": f"version = {version!r}\n", **metadata}
        return write_wheel(index / f"{name}-{version}-{tag}.whl", files)

    return make


def _fetch(*requirements: str, constraints: Sequence[str] = (), platform: Platform = DEVICE) -> tuple[Wheel, ...]:
    return fetch_wheels(requirements, constraints, platform, where="devices/pi4.toml")


def _refused(*requirements: str, constraints: Sequence[str] = (), platform: Platform = DEVICE) -> BackendError:
    with pytest.raises(BackendError) as caught:
        _fetch(*requirements, constraints=constraints, platform=platform)
    assert caught.value.where == "devices/pi4.toml"
    return caught.value


def _names(wheels: Sequence[Wheel]) -> list[str]:
    return [wheel.path.name for wheel in wheels]


@pytest.mark.parametrize(
    ("platform", "first", "last", "count"),
    [
        pytest.param(DEVICE, "manylinux_2_36_aarch64", "manylinux2014_aarch64", 22, id="aarch64"),
        pytest.param(
            Platform("3.11.2", "x86_64", "glibc-2.31"), "manylinux_2_31_x86_64", "manylinux1_x86_64", 31, id="x86_64"
        ),
        pytest.param(Platform("3.11.2", "aarch64", "glibc-2.13"), "linux_aarch64", "linux_aarch64", 1, id="old"),
    ],
)
def test_platform_tags_go_from_the_newest_glibc_to_the_oldest(
    platform: Platform, first: str, last: str, count: int
) -> None:
    tags = platform.tags()
    assert (tags[0], (tags[:-1] or tags)[-1], tags[-1], len(tags)) == (first, last, f"linux_{platform.arch}", count)


@pytest.mark.parametrize(
    ("platform", "found"),
    [
        pytest.param(Platform("3.11.2", "aarch64", "-"), "musl", id="no-glibc"),
        pytest.param(Platform("3.13.1", "aarch64", "musl-1.2"), "musl-1.2", id="musl"),
        pytest.param(Platform("2.7.18", "aarch64", "glibc-2.36"), "2.7.18", id="python-2"),
    ],
)
def test_a_device_that_no_wheel_can_be_chosen_for_is_refused(platform: Platform, found: str) -> None:
    assert found in _refused("numpy", platform=platform).found


def test_a_set_has_all_that_is_required_by_name(make_wheel: MakeWheel) -> None:
    make_wheel("Zoo_App", requires=["b.Dep>=1"])
    newest = [make_wheel("b_dep", version) for version in ("0.9", "1.5", "2.0")][-1]
    dependency, app = _fetch("zoo-app==1.0")
    assert (dependency.name, dependency.version, app.name, app.version) == ("b-dep", "2.0", "zoo-app", "1.0")
    assert dependency.path.name == newest.name
    assert dependency.sha256 == file_sha256(newest) == file_sha256(dependency.path) == dependency.path.parent.name
    with zipfile.ZipFile(newest) as archive:
        unpacked = sum(len(archive.read(name)) for name in archive.namelist())
    assert (dependency.bytes, dependency.unpacked_bytes) == (newest.stat().st_size, unpacked)


def test_markers_are_those_of_the_device(make_wheel: MakeWheel) -> None:
    markers = {
        "cuda": 'platform_machine == "x86_64"',
        "arm": 'platform_machine == "aarch64"',
        "backport": 'python_version < "3.10"',
        "full": 'python_full_version == "3.9.7"',
    }
    for name in markers:
        make_wheel(name)
    make_wheel("app", requires=[f"{name}; {marker}" for name, marker in markers.items()])
    on_arm = _fetch("app", platform=Platform("3.9.7", "aarch64", "glibc-2.31"))
    on_pc = _fetch("app", platform=Platform("3.12.1", "x86_64", "glibc-2.31"))
    assert [wheel.name for wheel in on_arm] == ["app", "arm", "backport", "full"]
    assert [wheel.name for wheel in on_pc] == ["app", "cuda"]


def test_constraints_bind_what_is_required_indirectly_and_bring_nothing(make_wheel: MakeWheel) -> None:
    make_wheel("app", requires=["dep"])
    for name, version in (("dep", "1.0"), ("dep", "2.0"), ("other", "1.0")):
        make_wheel(name, version)
    wheels = _fetch("app", constraints=["app", "dep[extra]==1.0", "other==1.0"])
    assert _names(wheels) == ["app-1.0-py3-none-any.whl", "dep-1.0-py3-none-any.whl"]


def test_the_wheel_for_the_newest_glibc_that_is_there_is_taken(make_wheel: MakeWheel) -> None:
    for minor in (17, 28, 99):
        make_wheel("native", tag=f"cp311-cp311-manylinux_2_{minor}_aarch64")
    make_wheel("native", tag="cp311-cp311-manylinux_2_34_x86_64")
    assert _names(_fetch("native")) == ["native-1.0-cp311-cp311-manylinux_2_28_aarch64.whl"]


def test_every_kind_of_wheel_that_runs_there_is_found(make_wheel: MakeWheel) -> None:
    tags = ["cp37-abi3-manylinux2014_aarch64", "py3-none-linux_aarch64", "cp311-none-any", "cp311-cp311-linux_aarch64"]
    paths = [make_wheel(f"native{number}", tag=tag) for number, tag in enumerate(tags)]
    assert _names(_fetch(*(f"native{number}" for number in range(len(tags))))) == [path.name for path in paths]


def test_a_set_that_was_resolved_once_needs_no_pip(make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel("app", requires=["dep"])
    make_wheel("dep")
    first = _fetch("app==1.0")
    make_wheel("dep", "2.0")
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    assert _fetch(" app==1.0 ", platform=Platform("3.11.9", "aarch64", "glibc-2.36")) == first


def test_a_damaged_wheel_is_fetched_anew_and_is_the_same(make_wheel: MakeWheel) -> None:
    make_wheel("app", requires=["dep"])
    make_wheel("dep")
    first = _fetch("app")
    first[1].path.write_bytes(b"damaged")
    make_wheel("dep", "2.0")
    assert _fetch("app") == first
    assert [file_sha256(wheel.path) for wheel in first] == [wheel.sha256 for wheel in first]


def test_where_the_same_wheel_is_gone_the_set_is_resolved_anew(make_wheel: MakeWheel) -> None:
    old = make_wheel("app")
    _fetch("app")[0].path.unlink()
    old.unlink()
    make_wheel("app", "2.0")
    assert _names(_fetch("app")) == ["app-2.0-py3-none-any.whl"]
    assert _names(_fetch("app")) == ["app-2.0-py3-none-any.whl"]


def test_a_damaged_record_is_made_anew(make_wheel: MakeWheel, tmp_path: Path) -> None:
    make_wheel("app")
    first = _fetch("app")
    (record,) = (tmp_path / "cache" / "wheels" / "sets").iterdir()
    record.write_text('{"wheels": [{"name": "app"}]}', encoding="utf-8")
    assert _fetch("app") == first
    assert json.loads(record.read_text(encoding="utf-8"))["wheels"][0]["sha256"] == first[0].sha256


def test_two_runs_at_once_leave_one_set(make_wheel: MakeWheel, tmp_path: Path) -> None:
    make_wheel("app", requires=["dep"])
    make_wheel("dep")
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: _fetch("app"), range(2))
    assert one == other
    assert [file_sha256(wheel.path) for wheel in one] == [wheel.sha256 for wheel in one]
    assert sorted(path.name for path in (tmp_path / "cache" / "wheels").iterdir()) == ["files", "seen", "sets"]


def test_what_a_killed_run_has_left_goes_after_a_day(make_wheel: MakeWheel, tmp_path: Path) -> None:
    make_wheel("app")
    old, new = (tmp_path / "cache" / "wheels" / f"{WORK}{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    _fetch("app")
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize(
    ("wheels", "said"),
    [
        pytest.param(
            [("1.0", f"cp311-cp311-manylinux_2_{minor}_aarch64") for minor in (50, 39, 45)],
            "needs a newer glibc | glibc ≥ 2.39, for native-1.0-cp311-cp311-manylinux_2_39_aarch64.whl | glibc 2.36 on",
            id="glibc",
        ),
        pytest.param(
            [("1.0", "cp310-cp310-manylinux_2_17_aarch64.manylinux2014_aarch64")],
            "for the device's Python | Python 3.10 | Python 3.11.2 on the device",
            id="python",
        ),
        pytest.param(
            [("1.0", "cp311-cp311-manylinux_2_17_x86_64"), ("0.9", PURE)],
            "for the device | a wheel for Python 3.11, aarch64, glibc ≤ 2.36 | wheels of other versions: 0.9",
            id="arch",
        ),
    ],
)
def test_a_wheel_that_does_not_fit_is_named_with_what_it_needs(
    make_wheel: MakeWheel, wheels: list[tuple[str, str]], said: str
) -> None:
    for version, tag in wheels:
        make_wheel("native", version, tag)
    error = _refused("native==1.0", constraints=["native==1.0"])
    assert "native==1.0" in error.what
    for text, part in zip((error.what, error.wanted, error.found), said.split(" | "), strict=True):
        assert part in text
    assert "environment = …" in error.hint


@pytest.mark.parametrize("served", [pytest.param(False, id="wheel-says"), pytest.param(True, id="index-says")])
def test_a_package_for_another_python_is_named(
    make_wheel: MakeWheel, index: Path, monkeypatch: pytest.MonkeyPatch, served: bool
) -> None:
    wheel = make_wheel("native", python=">=3.12")
    if served:
        page = index / "simple" / "native" / "index.html"
        page.parent.mkdir(parents=True)
        link = f'<a href="{wheel.as_uri()}" data-requires-python="&gt;=3.12">{wheel.name}</a>'
        page.write_text(f"<!DOCTYPE html><html><body>{link}</body></html>", encoding="utf-8")
        for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_INDEX_URL", (index / "simple").as_uri())
    error = _refused("native==1.0")
    assert error.what == "no wheel of native==1.0 for the device's Python"
    assert (error.wanted, error.found) == ("Python >=3.12", "Python 3.11.2 on the device")


def test_a_constraint_that_has_no_wheel_is_not_called_a_conflict(make_wheel: MakeWheel) -> None:
    make_wheel("native", tag="cp311-cp311-manylinux_2_39_aarch64")
    make_wheel("app", requires=["native"])
    error = _refused("app", constraints=["native==1.0"])
    assert error.what == "the wheel of native==1.0 needs a newer glibc"


def test_a_requirement_of_a_requirement_that_has_no_wheel_is_named(make_wheel: MakeWheel) -> None:
    for version in ("1.0", "2.0"):
        make_wheel("app", version, requires=["native>=3"])
    make_wheel("native", "3.1", tag="cp311-cp311-manylinux_2_40_aarch64")
    error = _refused("app")
    assert "native>=3" in error.what
    assert "2.40" in error.wanted


def test_packages_that_exclude_each_other_are_named_with_pips_reason(make_wheel: MakeWheel) -> None:
    make_wheel("app", requires=["dep>=2"])
    make_wheel("dep", "1.0")
    make_wheel("dep", "2.0")
    error = _refused("app", constraints=["dep==1.0"])
    assert "exclude each other" in error.what
    assert "app 1.0 depends on dep>=2" in error.found
    assert "dep==1.0" in error.found
    assert "loosen" not in error.found


@pytest.mark.parametrize("retries", [pytest.param("1", id="retried"), pytest.param("0", id="at-once")])
def test_an_index_that_cannot_be_reached_is_not_a_missing_wheel(
    index: Path, monkeypatch: pytest.MonkeyPatch, retries: str
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # "discard": nobody listens there
    monkeypatch.setenv("PIP_RETRIES", retries)
    error = _refused("app")
    assert "cannot be reached" in error.what
    assert "onnection" in error.found
    assert "fetched once need neither" in error.hint


@pytest.mark.parametrize("requirement", ["--index-url=x", "./here.whl", "", "a\n-e b", "a==1\r\n--pre"])
def test_neither_options_nor_paths_reach_pip(index: Path, requirement: str) -> None:
    assert _refused(requirement).found == repr(requirement)


def test_what_pip_cannot_read_is_said_in_its_words(index: Path) -> None:
    assert "app=1" in _refused("app=1").found


def test_no_pip_is_said(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=60)
    monkeypatch.setattr(sys, "executable", str(environment / "bin" / "python"))
    error = _refused("app")
    assert error.what == "pip is not there"
    assert "ensurepip" in error.hint


def test_a_pip_that_does_not_take_the_markers_is_not_trusted(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    markers = tmp_path / "fake" / "pip" / "_vendor" / "packaging" / "markers.py"
    markers.parent.mkdir(parents=True)
    text = "class Marker:\n    def __init__(self, text): pass\n    def evaluate(self): return False\n"
    markers.write_text("def default_environment(): return {}\n" + text, encoding="utf-8")
    for folder in list(markers.parents)[:3]:
        (folder / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    assert _refused("app").what == "this pip cannot resolve for another machine"


def test_a_pip_that_takes_too_long_is_ended(make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel("app")
    monkeypatch.setattr(pip_run, "LIMIT_S", 0.01)
    assert _refused("app").what == "pip took too long"


def test_a_full_disk_is_a_storage_error(make_wheel: MakeWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(make_wheel("app"), "a") as archive:
        archive.writestr("data.bin", os.urandom(1 << 20))
    limited = tmp_path / "python"
    limited.write_text(f'#!/bin/sh\nulimit -f 1024\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    limited.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(limited))
    with pytest.raises(StorageError) as caught:
        _fetch("app")
    assert caught.value.found == os.strerror(errno.EFBIG)
    assert list((tmp_path / "cache" / "wheels").glob(f"{WORK}*")) == []


def test_downloads_are_told_as_they_begin(tmp_path: Path) -> None:
    lines: list[str] = []
    request = Request(("app",), (), DEVICE, "", tmp_path)
    program = tmp_path / "program.py"
    program.write_text(
        'print("Collecting app\\n  Downloading https://host/a/app-1.0-py3-none-any.whl (104.2 MB)\\n'
        '  Downloading app-1.0-py3-none-any.whl.metadata (30 kB)")',
        encoding="utf-8",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pip_run, "PROGRAM", program)
        with showing_progress(lines.append):
            outcome: Outcome = pip_run.download(request, tmp_path / "out")
    assert outcome.status == 0
    assert lines == ["downloading app-1.0-py3-none-any.whl (104.2 MB)"]
