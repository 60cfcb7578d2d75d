"""The five formats: what each shows, that all say the same, and that nothing that others wrote does anything in any."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.evidence.schema import RunEntry
from harness.printable import is_hidden
from harness.report import terminal
from harness.report.formats import format_names, load_format
from harness.report.formats.github import MOST_BYTES, render_within
from harness.report.making import make_report
from harness.report.markdown import escape
from harness.report.report import Report, Source
from tests.support.evidences import make_cell, make_check, make_run, read

P99, MEMORY = "latency_p99_ms", "memory_peak_mib"
SHOWN = {"terminal", "markdown", "github", "html", "json"}


def report(*cells: dict[str, Any], **keys: Any) -> Report:
    return make_report([Source(folder=Path("runs"), run=read({**make_run(cells), **keys}))])


def two_backends() -> Report:
    fast = [make_check(P99, 8.1, 10.0, bound=8.6, confidence=0.99), make_check(MEMORY, 20.0, 32.0)]
    large = [make_check(P99, 8.4, 10.0, bound=8.9, confidence=0.99), make_check(MEMORY, 122.0, 32.0)]
    return report(make_cell("onnxruntime", fast), make_cell("libtorch", large, notes=["exported twice"]))


def test_the_formats_are_found_by_their_files() -> None:
    assert set(format_names()) == SHOWN


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_every_format_has_the_decision_the_figures_the_verdicts_and_the_reasons(name: str) -> None:
    made = two_backends()
    text = load_format(name)(made)
    plain = re.sub(r"\s+", " ", text.replace("\\_", "_"))
    for word in ("onnxruntime", "libtorch", "PASS", "FAIL", "8.6", "122", "32", "exported twice", P99, MEMORY):
        assert word in plain, word
    if name != "html":  # which may put tags into it
        assert made.sections[0].decision.sentence[:20] in plain


@pytest.mark.parametrize("name", ["terminal", "markdown", "github"])
def test_the_first_line_is_the_decision(name: str) -> None:
    first = load_format(name)(two_backends()).split("\n", 1)[0]
    assert "net on pi4" in first
    assert "eploy" in first or "not decided" in first


def test_in_markdown_backends_are_rows_and_metrics_are_columns() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in load_format("markdown")(two_backends()).split("\n")
        if line.startswith("|")
    ]
    assert [cell.replace("\\", "") for cell in rows[0]] == ["backend", "verdict", P99, MEMORY]
    assert rows[2][2:] == ["8.1 (≤ 8.6) of ≤ 10 PASS", "20 of ≤ 32 PASS"]
    assert rows[3][1:] == ["**FAIL**", "8.4 (≤ 8.9) of ≤ 10 PASS", "122 of ≤ 32 FAIL"]


def test_json_has_the_cells_as_the_evidence_has_them() -> None:
    made = two_backends()
    content = json.loads(load_format("json")(made))
    cells = content["sections"][0]["cells"]
    assert [cell["evidence"] for cell in cells] == [cell.entry.as_json() for cell in made.cells()]
    assert content["sections"][0]["decision"] == made.sections[0].decision.as_json()
    assert cells[0]["shown"][P99] == {"value": "8.1", "bound": "≤ 8.6", "limit": "≤ 10"}


def test_the_terminals_table_is_the_one_of_a_run_with_the_decision_below_it() -> None:
    made = two_backends()
    first, below = (terminal.render(made, width=100, color=False, decision_first=first) for first in (True, False))
    table = "\n".join(line for line in below.split("\n") if line[:1] in "┏┃┡│├└" and line)
    assert table in first
    assert "\n".join(below.split("\n")[1:]).startswith(table)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("inf", "inf", id="inf"),
        pytest.param("nan", "nan", id="nan"),
        pytest.param(1e300, "1e+300", id="large"),
        pytest.param(10**400, "inf", id="beyond a float"),
        pytest.param(-(10**400), "-inf", id="far below"),
    ],
)
@pytest.mark.parametrize("name", sorted(SHOWN - {"html"}))
def test_numbers_that_no_measurement_gives_are_shown(name: str, value: float | str, shown: str) -> None:
    check = {**make_check(P99, 1.0), "value": value, "bound": None}
    assert shown in load_format(name)(report(make_cell("a", [check, {**check, "metric": "n", "whole": True}])))


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_a_verdict_that_does_not_follow_from_its_numbers_is_marked_and_not_taken(name: str) -> None:
    check = {**make_check(P99, 20.0, 10.0), "verdict": "PASS", "reason": ""}
    made = report(make_cell("libtorch", [check]))
    assert made.sections[0].decision.taken is None
    text = load_format(name)(made)
    assert "does not follow from its numbers" in re.sub(r"\s+", " ", text)
    if name in ("terminal", "markdown", "github"):
        assert re.search(r"of ≤ 10 PASS\\\*|20 PASS\*", text)


@pytest.mark.parametrize("name", ["terminal", "markdown"])
def test_a_cells_verdict_that_does_not_follow_from_its_checks_is_marked(name: str) -> None:
    made = report(make_cell("libtorch", [make_check(P99, 20.0, 10.0)], verdict="PASS"))
    assert made.sections[0].decision.taken is None
    assert re.search(r"PASS(\*\*\\)?\*", load_format(name)(made))


HOSTILE = [
    pytest.param("<script>alert(1)</script><img src=x onerror=alert(1)>", id="script"),
    pytest.param("</svg></style></title></pre></details>", id="end-tags"),
    pytest.param("a | b |\n| --- | --- |\n| PASS | PASS |", id="table"),
    pytest.param("```\n# heading\n- item\n1. item\n> quote", id="blocks"),
    pytest.param("`code` **bold** _it_ ~~s~~ [a](javascript:1) ![i](http://x/y.png)", id="inline"),
    pytest.param("@here @octocat #12 org/repo#3 https://evil.example www.evil.example a@b.example", id="mentions"),
    pytest.param("\n::error file=a.py,line=1::pwned\n  ::set-output name=a::b\n##[error]x ##vso[task]", id="commands"),
    pytest.param("x " * 60 + " ::error::pwned" * 40 + " ##[error]x", id="commands-at-any-width"),
    pytest.param("\x1b[2J\x1b]0;title\x07\x9b31m\r\b\x00", id="escapes"),
    pytest.param("\u202eSSAP\u202c \u2066x\u2069 \u200b\ufeff\u2028\u2029\u0085", id="bidi"),
    pytest.param("\ud800 \udfff", id="surrogates"),
    pytest.param("&lt;b&gt; &#64;here \\| \\`x\\`", id="entities"),
    pytest.param("[red]x[/red] [link=http://x]y[/link] {{ 7*7 }} {% raw %} ${x}", id="templates"),
]


def run_of(run: dict[str, Any]) -> RunEntry:
    """A run as its types, lone surrogates and all."""
    return RunEntry.model_validate(run)


def hostile_report(text: str) -> Report:
    """Has a text wherever a model, a device, or whoever wrote the file can put one."""
    check = make_check(P99, 20.0, 10.0, reason=text, compared=text, counts=text, unit=text, limit_source=text)
    other = {**make_check(text, 1.0), "replay": text}
    operators = [{"share": 0.5, "operator": text, "name": text}]
    listed = {**make_check("instructions_per_inference", 5.0), "operators": operators}
    keys: dict[str, Any] = {
        "model": text,
        "device": text,
        "error": text,
        "notes": [text],
        "unfinished": [f"a::{text}"],
        "measure": {text: text},
        "interruptions": [text],
        "artifact": {"sha256": "a" * 64, "exporter": text, "warnings": [text]},
    }
    missing = {**keys, "not_built": f"{text}\n  found:  {text}\n  next:   {text}"}
    cells = [make_cell(f"b{text}", [check, other, listed], **keys), make_cell(f"c{text}", [], **missing)]
    asked = {"selected": text, "narrowed": True}
    run = {**make_run(cells), "tool": text, "started": text, "finished": None, "commit": text, "asked": asked}
    made = make_report([Source(folder=Path("runs"), run=run_of(run), lacks=(text,))])
    section = made.sections[0]
    assert len(section.cells) == 2
    return made


class Tags(HTMLParser):
    """Collects what a page consists of."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.mark.parametrize("name", sorted(SHOWN))
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_does_nothing_in_any_format(name: str, text: str) -> None:
    shown = load_format(name)(hostile_report(text))
    shown.encode()  # no lone surrogates
    hidden = {one for one in shown if is_hidden(one)} - {"\n"}
    assert not hidden
    lines = shown.split("\n")
    if name != "html":  # whose style sheet has them
        assert not [line for line in lines if line.lstrip().startswith("::")]
    assert "##[" not in shown
    assert "##vso[" not in shown.lower() or name in ("json", "html")
    if name == "html":
        tags = Tags()
        tags.feed(shown)
        assert not {"script", "img", "iframe", "object", "embed", "link", "base", "form"} & tags.found
        assert not {attribute for attribute in tags.attributes if attribute.startswith("on")}


@pytest.mark.parametrize("text", ["w " * 30 + "::error::pwned " * 40, "##[error]x " * 40])
def test_no_width_of_a_terminal_breaks_a_line_into_a_command(text: str) -> None:
    made = hostile_report(text)
    for width in (*range(40, 70), 80, 120, 200):
        shown = terminal.render(made, width=width, color=False)
        assert not [line for line in shown.split("\n") if line.lstrip().startswith("::")]
        assert "##[" not in shown


@pytest.mark.parametrize("name", ["markdown", "github"])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_no_markup_in_markdown(name: str, text: str) -> None:
    shown = load_format(name)(hostile_report(text))
    ours = re.sub(r"<br>|&[#\w]+;", "", shown)
    assert not re.search(r"<|`", ours)
    assert not re.search(r"(?<!\\)[\[\]~]", ours)
    assert not re.search(r"@\w|#\d|://|www\.", ours.replace("&#8203;", ""), re.IGNORECASE) or "&#8203;" in shown
    assert not re.search(r"@\w|(?<!&)#\d|:/{2}|www\.", shown, re.IGNORECASE)
    bars = {len(re.findall(r"\|", line)) for line in shown.split("\n") if line.startswith("|")}
    assert len(bars) == 1  # every row of the table has its columns, and no other line begins as one


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("1. x", "&#49;. x", id="a list"),
        pytest.param("- x", "&#45; x", id="an item"),
        pytest.param("a_b*c", r"a\_b\*c", id="emphasis"),
        pytest.param("a|b\\|c", "a&#124;b&#92;&#124;c", id="bars"),
        pytest.param("me@b.c", "me@&#8203;b.c", id="an address"),
        pytest.param("0.5 ms (≤ 3)", "0.5 ms (≤ 3)", id="figures stay"),
        pytest.param("net.py: limits", "net.py: limits", id="words stay"),
    ],
)
def test_what_is_markup_is_escaped_and_what_is_none_is_not(text: str, shown: str) -> None:
    assert escape(text) == shown


def large(cells: int, words: str = "") -> Report:
    checks = [[make_check(P99, 20.0, 10.0, reason=f"{number} {words}")] for number in range(cells)]
    return report(*(make_cell(f"b{number}", each) for number, each in enumerate(checks)))


def test_githubs_is_below_a_mebibyte_and_says_what_is_cut() -> None:
    made = large(700, "x" * 4_000)
    whole, cut = load_format("markdown")(made), load_format("github")(made)
    assert len(whole.encode()) > 1 << 20 > len(cut.encode())
    assert "Cut here" in cut
    assert len(re.findall(r"\n\| b\d", cut)) == 700  # the table stays: it is needed more than the reasons


def test_all_of_it_is_there_where_it_fits() -> None:
    made = two_backends()
    assert load_format("github")(made) == load_format("markdown")(made)


@pytest.mark.parametrize("room", [500, 1_000, 5_000, 20_000, MOST_BYTES])
def test_what_is_cut_is_counted_and_never_too_large(room: int) -> None:
    made = large(100, "y" * 200)
    whole, cut = render_within(made, 1 << 30), render_within(made, room)
    assert len(cut.encode()) <= room
    found = re.search(r"Cut here: (\d+) lines", cut)
    if len(whole.encode()) > room:
        assert found is not None
        assert int(found[1]) + cut.count("\n") == pytest.approx(whole.count("\n"), abs=3)
        assert cut.startswith("## net on pi4")


def test_without_room_there_is_nothing() -> None:
    assert render_within(large(100), 100) == ""
    assert render_within(large(100), -5) == ""
