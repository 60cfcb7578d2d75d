"""A host that lacks what an emulated board needs: the message names it, and the one line that installs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import cli
from harness.emulator import host_programs, machine
from harness.emulator.step import run
from harness.errors import EmulatorError, StorageError

NEW = 'echo "QEMU emulator version 8.2.0"; echo "  cortex-a72"'
OLD = 'echo "QEMU emulator version 5.2.0 (Debian 1:5.2+dfsg-11+deb11u1)"'
TO_RUN = {"qemu-img": "", host_programs.QEMU: NEW}

Build = Callable[..., Result]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """`hilgate image build qemu-pi4` on a machine that has these programs, and no others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(host_programs, "PATH", str(folder))
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    cached = (host_programs.qemu_version, machine.known_cpus)

    def build(programs: Mapping[str, str]) -> Result:
        for name, script in programs.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
        for one in cached:
            one.cache_clear()
        return CliRunner().invoke(cli, ["image", "build", "qemu-pi4"])

    yield build
    for one in cached:
        one.cache_clear()


@pytest.mark.parametrize(
    ("programs", "missing", "packages"),
    [
        pytest.param({}, f"{host_programs.QEMU}, qemu-img", "qemu-system-arm qemu-utils", id="no-qemu"),
        pytest.param({host_programs.QEMU: NEW}, "qemu-img", "qemu-utils", id="no-qemu-img"),
        pytest.param(
            TO_RUN,
            "mmdebstrap, fakeroot, mke2fs, depmod, cpio, apt-get",
            "apt cpio e2fsprogs fakeroot kmod mmdebstrap",
            id="nothing-to-build-with",
        ),
    ],
)
def test_what_is_missing_is_named_with_the_line_that_installs_it(
    build: Build, programs: Mapping[str, str], missing: str, packages: str
) -> None:
    done = build(programs)
    assert done.exit_code == 1
    assert f"not installed: {missing}\n" in done.stderr
    assert f"sudo apt-get install {packages}\n" in done.stderr


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param(OLD, ["QEMU is too old", "version 5.2.0"], id="too-old"),
        pytest.param("exit 1", ["QEMU cannot be used", "found:  nothing"], id="says-nothing"),
        pytest.param("echo broken >&2; exit 1", ["QEMU cannot be used", "found:  broken"], id="broken"),
        pytest.param("kill -ILL $$", ["QEMU cannot be used"], id="crashes"),
        pytest.param("exec sleep 600", ["QEMU cannot be used", "timed out"], id="hangs"),
    ],
)
def test_a_qemu_that_is_of_no_use_is_an_error_that_says_which_is_wanted(
    build: Build, monkeypatch: pytest.MonkeyPatch, script: str, said: list[str]
) -> None:
    monkeypatch.setattr(host_programs, "VERSION_S", 0.2)
    done = build({**TO_RUN, host_programs.QEMU: script})
    assert done.exit_code == 1
    for text in [*said, "version 7.2 or newer", "sudo apt-get install qemu-system-arm"]:
        assert text in done.stderr


def test_a_step_that_fills_the_disk_is_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        run(["sh", "-c", "echo begun; cat /dev/zero > /dev/full"], tmp_path)
    assert "No space left on device" in caught.value.found
    assert (caught.value.where, "HILGATE_CACHE" in caught.value.hint) == (str(tmp_path), True)


def test_a_step_that_fails_says_how_its_output_ended(tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match=r"exit status 3; its output ends:\n *begun\n *broken"):
        run(["sh", "-c", "echo begun; echo broken >&2; exit 3"], tmp_path)


def test_a_step_that_takes_too_long_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.emulator.step.STEP_S", 0.3)
    with pytest.raises(EmulatorError, match="took too long and was ended"):
        run(["sh", "-c", "sleep 600 & sleep 600"], tmp_path)
