"""What a runtime's wheels mean for one CPU, and what of that is kept."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.host.cache import cache_folder, file_sha256
from harness.isa import wheel_scans
from harness.isa.wheel_scans import IsaReport, scan_wheel, scan_wheels
from harness.protocol import BoardFacts

from ..support.assembled import assemble, constructor, function, table
from ..support.facts import board_facts

PI4 = board_facts(cpu="cortex-a72", features=["fp", "asimd", "crc32"])
PI5 = board_facts(cpu="cortex-a76", features=["fp", "asimd", "crc32", "atomics", "asimddp"])
AT_LOAD = function("f", "nop;ldaddal x1, x1, [x0];ret") + constructor("f")
DISPATCHED = function("f", "sdot v0.4s, v1.16b, v2.16b;ret") + table("f")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one."""
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))
    return cache_folder()


def wheel(folder: Path, name: str, files: Mapping[str, bytes]) -> tuple[Path, str]:
    """A wheel with these files, and its hash."""
    path = folder / f"{name}-1.0-cp311-cp311-manylinux_2_28_aarch64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
    return path, file_sha256(path)


def scan_of(one: tuple[Path, str], facts: BoardFacts) -> IsaReport:
    return scan_wheels([one], facts, {"torch": "1.0"})


def test_what_runs_at_load_and_the_cpu_lacks_is_a_warning(tmp_path: Path) -> None:
    found = scan_of(wheel(tmp_path, "torch", {"torch/lib/libc10.so": assemble(tmp_path, AT_LOAD)}), PI4)
    (warning,) = found.warnings
    assert warning.startswith("illegal instruction likely: ldaddal x1, x1, [x0] at torch/lib/libc10.so+0x")
    assert "needs LSE (ARMv8.1's atomics), which this cortex-a72 lacks" in warning
    assert "Known to run without LSE: torch 2.9.1" in warning
    assert found.described["at_load"] == [warning]


@pytest.mark.parametrize(
    ("source", "facts", "untold"),
    [
        pytest.param(AT_LOAD, PI5, {}, id="the-CPU-has-it"),
        pytest.param(DISPATCHED, PI5, {}, id="dispatched-to-and-there"),
        pytest.param(DISPATCHED, PI4, {"a/b.so.1": {"DotProd": 1}}, id="dispatched-to"),
    ],
)
def test_all_else_is_none_and_what_cannot_be_told_is_said(
    tmp_path: Path, source: str, facts: BoardFacts, untold: Mapping[str, object]
) -> None:
    found = scan_of(wheel(tmp_path, "a", {"a/b.so.1": assemble(tmp_path, source)}), facts)
    assert found.warnings == ()
    assert found.described["libraries"] == 1
    assert found.described["not_told"] == {"why": wheel_scans.NOT_TOLD, "instructions": untold}


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        pytest.param(board_facts(arch="x86_64"), "only aarch64's instructions are looked at; found x86_64", id="x86"),
        pytest.param(board_facts(features=[]), "the board's kernel lists no features of its CPU", id="no-features"),
    ],
)
def test_where_nothing_can_be_told_nothing_is(tmp_path: Path, facts: BoardFacts, why: str) -> None:
    assert scan_wheels([(tmp_path / "no.whl", "")], facts, {}) == IsaReport((), {"not_done": why})


def test_a_library_that_cannot_be_looked_at_is_named(tmp_path: Path) -> None:
    found = scan_of(wheel(tmp_path, "a", {"a/b.so": b"\x7fELF" + bytes(60), "a/c.so": b"no library"}), PI4)
    assert found.warnings == ()
    assert list(found.described["not_looked_at"]) == ["a/b.so"]


def test_a_scan_is_kept_by_the_librarys_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a library that two wheels have is scanned once."""
    content = assemble(tmp_path, AT_LOAD)
    first = scan_wheel(*wheel(tmp_path, "a", {"a/b.so": content}))
    monkeypatch.setattr(wheel_scans, "scan", lambda library: pytest.fail("scanned again"))
    again = scan_wheel(*wheel(tmp_path, "a", {"a/b.so": content}))
    (other,) = scan_wheel(*wheel(tmp_path, "other", {"other/c.so": content}))
    assert again == first
    assert (other.path, other.needs) == ("other/c.so", first[0].needs)


@pytest.mark.parametrize("damage", ["", "{}", '{"schema": 0}', "[]"])
@pytest.mark.parametrize("kind", ["wheels", "libraries"])
def test_a_damaged_record_is_made_anew(tmp_path: Path, cache: Path, kind: str, damage: str) -> None:
    one = wheel(tmp_path, "a", {"a/b.so": assemble(tmp_path, AT_LOAD)})
    first = scan_wheel(*one)
    (record,) = (cache / "scans" / kind).iterdir()
    record.write_text(damage)
    assert scan_wheel(*one) == first
    assert record.read_text() != damage
