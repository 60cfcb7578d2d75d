"""report.html in headless Chromium: on both grounds, narrow and wide, on paper, by keyboard, without scripts or style.

The first tests show that what looks for defects finds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.report.making import make_report, read_sources
from harness.report.page import render_page
from tests.support import evidences, page_checks
from tests.support.browser import JENKINS, Browser, NoBrowserError, Shown, View, browsing, serving
from tests.support.evidence_kinds import every_kind, poisoned

pytestmark = pytest.mark.slow

SMALLEST_PX = 11
VIEWS = {
    f"{width} px {scheme}": View(width=width, scheme=scheme)
    for width in (320, 360, 1280)
    for scheme in ("light", "dark")
}
# A page in which everything is wrong that the tests below look for.
BAD = """<!doctype html><html><head><title>t</title><style>:root{color-scheme:light dark}
@media (prefers-color-scheme:dark){body{background:#121212}}</style></head><body>
<div style="width:900px">wide</div><img src="other.png"><p style="color:#999">pale</p>
<svg viewBox="0 0 400 100" width="200" style="outline:0"><path d="M0 0L9 9" stroke="black"/>
<rect width="9" height="9" fill="#eee"/><text y="50" x="390" font-size="20">small</text>
<text y="55" x="392" font-size="20">over</text></svg>
<script>console.log("said"); alert("up")</script></body></html>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        with browsing() as made:
            yield made
    except NoBrowserError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of every kind of cell, as a run leaves it in its folder."""
    folder = tmp_path_factory.mktemp("kinds")
    run, samples = every_kind()
    return rendered(folder, run, samples)


def rendered(folder: Path, run: dict[str, Any], samples: dict[str, Any]) -> Path:
    report = make_report(read_sources([evidences.write(folder, run, samples)]))
    path = folder / "report.html"
    path.write_text(render_page(report), encoding="utf-8")
    return path


def pale(shown: Shown) -> list[str]:
    """What a page's SVGs paint too faintly to be seen on its ground."""
    found = [one for one in page_checks.paints(shown) if not one.is_ground and one.contrast < one.needed]
    return [f"{one.name} {one.contrast:.1f} of {one.needed}: {one.html}" for one in found]


def unreadable(shown: Shown) -> list[dict[str, Any]]:
    """Texts in plots that are too small, or cut off."""
    texts = page_checks.ask(shown, "texts")
    return [text for text in texts if text["px"] < SMALLEST_PX - 0.01 or not text["inside"]]


def test_contrast_is_that_of_wcag() -> None:
    assert page_checks.contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert page_checks.contrast((118, 118, 118), (255, 255, 255)) == pytest.approx(4.54, abs=0.005)


def test_each_defect_of_a_bad_page_is_found(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text(BAD, encoding="utf-8")
    with browser.open(path, View(width=320, scheme="dark")) as shown:
        assert "log: said" in shown.said
        assert "dialog: up" in shown.said
        assert [Path(request).name for request in shown.requests] == ["bad.html", "other.png"]
        assert page_checks.ask(shown, "sideways")["beyond"] > 500
        assert {text["text"]: (text["px"], text["inside"]) for text in page_checks.ask(shown, "texts")} == {
            name: (pytest.approx(10), False) for name in ("small", "over")
        }
        assert page_checks.ask(shown, "covered") == ["small / over"]
        assert [re.split("[ :]", one)[0] for one in pale(shown)] == ["fill", "stroke", "fill", "fill"]
        assert {one.split(" ")[0] for one in page_checks.axe_violations(shown)} >= {"html-has-lang", "image-alt"}
    with browser.open(path) as shown:
        assert [re.split("[ :]", one)[0] for one in pale(shown)] == ["fill"]
        assert any(one.startswith("color-contrast") for one in page_checks.axe_violations(shown))
    assert page_checks.fixed_paints(BAD) == ['style="outline:0"', 'stroke="black"', 'fill="#eee"']


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_it_is_quiet_and_can_be_read(browser: Browser, page: Path, view: View) -> None:
    with browser.open(page, view) as shown:
        assert page_checks.ask(shown, "sideways")["beyond"] <= 0, page_checks.ask(shown, "sideways")
        assert pale(shown) == []
        assert len(page_checks.ask(shown, "texts")) > 100
        assert unreadable(shown) == []
        assert page_checks.ask(shown, "covered") == []
        page_checks.ask(shown, "details", True)
        assert page_checks.ask(shown, "sideways")["beyond"] <= 0, page_checks.ask(shown, "sideways")
        assert shown.said == []
        assert shown.requests == [page.as_uri()]


@pytest.mark.parametrize("view", [VIEWS["1280 px light"], VIEWS["320 px dark"]], ids=["light", "dark phone"])
def test_axe_finds_nothing(browser: Browser, page: Path, view: View) -> None:
    with browser.open(page, view) as shown:
        page_checks.ask(shown, "details", True)  # axe does not look at what is closed
        assert page_checks.axe_violations(shown) == []


def test_every_colour_of_a_plot_is_a_variable_of_the_style(page: Path) -> None:
    assert page_checks.fixed_paints(page.read_text(encoding="utf-8")) == []


def test_the_keyboard_alone_shows_and_hides_backends_and_opens_details(browser: Browser, page: Path) -> None:
    with browser.open(page, View(scripts=False)) as shown:
        stops = page_checks.tab_stops(shown)
        assert [stop for stop in stops if not (stop["ring"] and stop["shown"])] == []
        for selector in ("input[type=checkbox]", "summary"):
            found = sum(stop["what"] == selector.partition("[")[0] for stop in stops)
            assert found == page_checks.ask(shown, "count", selector) > 3
        before = page_checks.ask(shown, "backends")
        assert {seen for plots in before for seen in plots.values()} == {"all"}
        shown.page.focus(".plots input >> nth=0")
        shown.page.keyboard.press("Space")
        assert page_checks.ask(shown, "backends") == [{**before[0], "cell-0": "nothing"}, *before[1:]]
        shown.page.keyboard.press("Space")
        assert page_checks.ask(shown, "backends") == before
        summary = shown.page.locator("summary").first
        summary.focus()
        inside = shown.page.locator("details").first.locator("> :not(summary)").first
        assert not inside.is_visible()
        shown.page.keyboard.press("Enter")
        assert inside.is_visible()
        assert shown.said == []


def test_printed_all_of_it_is_there_and_no_plot_is_cut(browser: Browser, page: Path, tmp_path: Path) -> None:
    with browser.open(page) as shown:
        words = page_checks.ask(shown, "words")
        marks = page_checks.ask(shown, "mark")
        sheets = shown.print(tmp_path / "report.pdf")
    everything = page_checks.without_spaces("".join(sheets))
    assert marks > 8
    assert [text for text in words if page_checks.without_spaces(text) not in everything] == []
    for mark in range(marks):
        top, bottom = ([place for place, sheet in enumerate(sheets) if f"{end}{mark}E" in sheet] for end in "TB")
        assert len(top) == 1, f"plot {mark}"
        assert top == bottom, f"plot {mark} is cut"


def test_printed_the_decision_and_the_table_are_on_the_first_sheet(browser: Browser, tmp_path: Path) -> None:
    run, samples = every_kind()
    run["cells"] = [cell for cell in run["cells"] if (cell["model"], cell["device"]) == ("net", "pi4")]
    path = rendered(tmp_path, run, samples)
    with browser.open(path) as shown:
        decision = shown.page.locator(".decision").inner_text()
        rows = shown.page.locator(".table tbody tr").count()
        cells = shown.page.locator(".table tbody").first.locator("th, td").all_text_contents()
        first, *_ = shown.print(tmp_path / "report.pdf")
    assert rows == len(run["cells"])
    first = page_checks.without_spaces(first)
    assert [text for text in (decision, *cells) if page_checks.without_spaces(text) not in first] == []


def test_where_jenkins_forbids_its_style_it_can_be_read(browser: Browser, page: Path) -> None:
    html = page.read_bytes()
    with (
        serving({"report.html": html}, JENKINS) as (address, asked),
        browser.open(f"{address}/report.html", View(scripts=False)) as shown,
    ):
        # The one thing that may be said: that the style does not count. It shows that the header did.
        refused, *more = shown.said
        assert refused.startswith("error:")
        assert "inline style" in refused
        assert more == []
        assert asked == ["/report.html"]
        for selector in (".decision", ".table th", ".table td", "figure svg", "svg text"):
            found = page_checks.ask(shown, "unseen", selector)
            assert found["count"] > 2
            assert found["unseen"] == []
        assert shown.page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgba(0, 0, 0, 0)"
        assert pale(shown) == []
        assert unreadable(shown) == []


@pytest.mark.parametrize("keep", [{"metric", "raw"}, {"metric"}, set()], ids=["drawn", "wrong paths", "no metric"])
def test_hostile_texts_do_nothing(browser: Browser, tmp_path: Path, keep: set[str]) -> None:
    run, samples = every_kind(600)
    path = rendered(tmp_path, poisoned(run, frozenset(keep)), samples)
    with browser.open(path, View(width=320)) as shown:
        assert page_checks.ask(shown, "sideways")["beyond"] <= 0, page_checks.ask(shown, "sideways")
        assert unreadable(shown) == []
        shown.page.mouse.move(300, 300)
        page_checks.ask(shown, "details", True)
        text = shown.page.inner_text("body")
        assert "<script>alert(1)</script>" in text
        assert "{{ 7*7 }}" in text
        assert page_checks.ask(shown, "active") == []
        assert shown.said == []
        assert shown.requests == [path.as_uri()]


def test_the_page_s_own_policy_refuses_what_somebody_puts_into_it(browser: Browser, page: Path, tmp_path: Path) -> None:
    with serving({}) as (address, asked):
        spliced = (
            f"<script>alert(1)</script><img src={address}/a.png><svg onload=alert(2)></svg>"
            f"<iframe src={address}></iframe>"
            f"<link rel=stylesheet href={address}/b.css><style>body{{background:url({address}/c.png)}}</style>"
            f"<form action={address}><button>go</button></form><script src={address}/d.js></script>"
        )
        path = tmp_path / "report.html"
        html = page.read_text(encoding="utf-8")
        path.write_text(re.sub("(<body[^>]*>)", lambda body: body[0] + spliced, html, count=1), encoding="utf-8")
        assert path.stat().st_size > len(html)
        with browser.open(path) as shown:
            with shown.page.expect_console_message(lambda message: "form-action" in message.text):
                shown.page.locator("form button").dispatch_event("click")
            assert [line for line in shown.said if not line.startswith("error: ")] == []
            assert len(shown.said) >= 8
            assert shown.page.evaluate("() => getComputedStyle(document.body).backgroundImage") == "none"
        assert asked == []
