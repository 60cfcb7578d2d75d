"""The search of a library: what runs when it is loaded, what does not, and what a damaged one leads to."""

from __future__ import annotations

from pathlib import Path

import pytest
from elftools.common.exceptions import ELFError

from harness.isa.library import Library
from harness.isa.scan import Need, scan

from ..support.assembled import assemble, constructor, function, table

ATOMIC = "ldaddal x1, x1, [x0]"
WORD = 0xF8E10001
# As libgcc has it.
OUTLINE = function("outline", f"adrp x16, outline;ldrb w16, [x16];cbz w16, 1f;{ATOMIC};ret;1: ldaxr x1, [x0];ret")


@pytest.mark.parametrize(
    ("source", "at_load"),
    [
        pytest.param(function("f", f"{ATOMIC};ret") + constructor("f"), 1, id="a-constructor-has-it"),
        pytest.param(function("f", f"{ATOMIC};ret") + table("f"), 0, id="behind-a-pointer"),
        pytest.param(function("f", f"{ATOMIC};ret", exported=True), 0, id="for-others-to-call"),
        pytest.param(
            function("f", f"{ATOMIC};ret") + function("g", "bl f;ret") + function("h", "bl g;ret") + constructor("h"),
            1,
            id="over-two-calls",
        ),
        pytest.param(
            function("f", f"{ATOMIC};ret", exported=True) + function("g", "bl f;ret") + constructor("g"),
            1,
            id="by-way-of-the-procedure-linkage-table",
        ),
        pytest.param(
            function("f", f"{ATOMIC};{ATOMIC};ret") + function("g", "cbnz x0, f;ret") + constructor("g"),
            2,
            id="a-branch-on-a-condition",
        ),
        pytest.param(function("g", "b f") + function("f", f"{ATOMIC};ret") + constructor("g"), 1, id="a-tail-call"),
        pytest.param(
            function("f", f"{ATOMIC};ret") + function("g", "ret") + table("f") + constructor("g"),
            0,
            id="a-constructor-beside-it",
        ),
    ],
)
def test_what_direct_calls_lead_to_from_a_constructor_runs_at_load(tmp_path: Path, source: str, at_load: int) -> None:
    (need,) = scan(Library(assemble(tmp_path, source))).values()
    assert (need.at_load, need.code) == (at_load, WORD if at_load else None)
    assert (need.sites, need.functions) == (source.count(ATOMIC), min(at_load, 1))


def test_the_place_is_the_address_as_objdump_has_it(tmp_path: Path) -> None:
    library = Library(assemble(tmp_path, function("f", f"nop;{ATOMIC};ret", exported=True) + constructor("f")))
    need = scan(library)["LSE"]
    assert need.first == dict(library._symbols)["f"] + 4


def test_of_several_the_first_is_where_a_constructor_comes_to_first(tmp_path: Path) -> None:
    source = function("late", f"{ATOMIC};ret") + function("soon", f"nop;{ATOMIC};ret")
    source += function("g", "bl soon;bl late;ret", exported=True) + constructor("g")
    library = Library(assemble(tmp_path, source))
    assert scan(library)["LSE"].first == dict(library._symbols)["g"] - 8


def test_what_stands_right_behind_a_test_of_the_cpu_is_no_finding(tmp_path: Path) -> None:
    source = OUTLINE + function("g", "bl outline;ret") + constructor("g")
    assert scan(Library(assemble(tmp_path, source))) == {"LSE": Need(sites=0, tested=1, at_load=0, functions=0)}


def test_each_extension_is_told_apart(tmp_path: Path) -> None:
    body = "sdot v0.4s, v1.16b, v2.16b;fadd h0, h1, h2;smmla v0.4s, v1.16b, v2.16b;fadd s0, s1, s2;ret"
    found = scan(Library(assemble(tmp_path, function("f", body) + constructor("f"))))
    assert {name: need.at_load for name, need in found.items()} == {"FP16": 1, "DotProd": 1, "I8MM": 1}


def test_a_library_without_tables_is_searched_and_nothing_in_it_runs_at_load(tmp_path: Path) -> None:
    """Where a function begins is not known then."""
    source = f"f: {ATOMIC}\nret\n"
    assert scan(Library(assemble(tmp_path, source))) == {"LSE": Need(sites=1, tested=0, at_load=0, functions=0)}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"\x7fELF" + bytes(100), id="only-the-magic"),
        pytest.param(lambda content: content[: len(content) // 2], id="cut-short"),
        pytest.param(lambda content: content[:18] + b"\x3e\0" + content[20:], id="of-another-architecture"),
        pytest.param(lambda content: content[:40] + bytes(8) + content[48:60] + bytes(4) + content[64:], id="stripped"),
    ],
)
def test_what_is_no_whole_library_for_arm64_is_refused(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    content = assemble(tmp_path, function("f", f"{ATOMIC};ret") + constructor("f"))
    with pytest.raises((ELFError, ValueError)):
        scan(Library(damage(content)))
