"""The page as HTML: what it says, and in which order, for evidence of every kind; hostile text does nothing there."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.decision import CELL
from harness.evidence.decision_entry import ChangeEntry, DecisionEntry, HeadroomEntry, OutEntry, StepEntry
from harness.report.page import render_page
from harness.report.plots.plot import Plot
from harness.report.report import Report, ReportCell, Section, Source
from tests.support import evidences

# Elements without an end tag, and those whose end tag HTML lets us leave out.
VOID = {"meta", "input", "wbr", "br"}
OPEN = {"li", "dt", "dd", "tr", "td", "th", "p", "tbody", "thead"}


class Page(HTMLParser):
    """A page as its elements and its texts, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.stack: list[str] = []
        self.style = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID | OPEN:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in OPEN:
            assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] == "style":
            self.style += data
        elif words := " ".join(data.split()):
            self.texts.append(words)

    @property
    def text(self) -> str:
        """All texts, in order."""
        return " ".join(self.texts)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def decide(cells: Sequence[ReportCell], **keys: Any) -> DecisionEntry:
    """Make a decision by hand: the first cell that passes is taken."""
    first = cells[0].entry
    passing = [cell.name for cell in cells if cell.entry.verdict == "PASS"]
    out = [
        OutEntry(backend=cell.name, verdict=cell.entry.verdict, metric=None, reason=f"{cell.name} may not")
        for cell in cells
        if cell.name not in passing
    ]
    content: dict[str, Any] = {
        "model": first.model,
        "device": first.device,
        "prefer": ["latency_p99_ms"],
        "within_percent": 5.0,
        "taken": passing[0] if passing else None,
        "sentence": f"Take {passing[0]}." if passing else "Take none.",
        "steps": [StepEntry(metric="latency_p99_ms", best=7.0, kept=passing, dropped=[], skipped=None)],
        "out": out,
        "cells": len(cells),
    }
    return DecisionEntry.model_validate({**content, **keys})


def make_report(run: Mapping[str, Any], *, contradictions: Mapping[str, str] | None = None, **keys: Any) -> Report:
    """Make a report of a run, with decisions made by hand; keys are those of DecisionEntry."""
    source = Source(folder=Path(), run=evidences.read(run))
    sections = []
    for _, group in itertools.groupby(source.run.cells, key=lambda entry: (entry.model, entry.device)):
        cells = tuple(
            ReportCell(entry=entry, source=source, contradictions=dict(contradictions or {})) for entry in group
        )
        sections.append(Section(cells=cells, decision=decide(cells, **keys)))
    return Report(sections=tuple(sections), sources=(source,))


def draw(section: Section) -> list[Plot]:
    """Make two plots by hand: one is drawn, one could not be."""
    lines = "".join(f'<g class="cell-{n}"><path d="M0 0"/></g>' for n in range(len(section.cells)))
    svg = f'<svg role="img" aria-label="Latency" width="300" height="200">{lines}</svg>'
    rows = tuple((cell.name, "1.5") for cell in section.cells)
    return [
        Plot(name="a", title="Latency", description="What is seen.", svg=svg, columns=("backend", "ms"), rows=rows),
        Plot(name="b", title="Memory", description="", svg=None, columns=(), rows=(), problem="no samples"),
    ]


def page_of(run: Mapping[str, Any], **keys: Any) -> Page:
    return Page(render_page(make_report(run, **keys), draw))


def two_backends() -> dict[str, Any]:
    latency = evidences.make_check("latency_p99_ms", 7.0, 8.0, bound=7.5, confidence=0.99)
    memory = evidences.make_check("memory_peak_mib", 122.0, 32.0)
    return evidences.make_run(
        [
            evidences.make_cell("torchscript", [latency, memory]),
            evidences.make_cell("onnxruntime", [latency, evidences.make_check("memory_peak_mib", 20.0, 32.0)]),
        ]
    )


def test_the_page_has_its_parts_in_order() -> None:
    change = ChangeEntry(kind="preference", backend="torchscript", taken=None, text="With memory first: none.")
    page = page_of(two_backends(), changes=[change], sentence="Take onnxruntime. torchscript is out.")
    order = [
        "Take onnxruntime.",
        "≤ 7.5",
        "torchscript is out.",
        "torchscript may not",
        "With memory first: none.",
        "Latency",
        "What is seen.",
        "Its numbers",
        "no samples",
        "Each backend",
        "wanted 32.0; found 122.0",
        "How it was measured",
    ]
    places = [page.text.index(text) for text in order]
    assert places == sorted(places)


def test_the_policy_allows_the_style_and_nothing_else() -> None:
    page = page_of(two_backends())
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    named = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{named}'; base-uri 'none'; form-action 'none'"
    assert len(page.all("style")) == 1
    assert not [attributes for _, attributes in page.elements if "style" in attributes]
    assert not {"script", "link", "img", "iframe", "object", "form"} & {tag for tag, _ in page.elements}
    assert not re.search(r"url\(|@import", page.style)


HOSTILE = {
    "script": "<script>alert(1)</script>",
    "svg": "</svg></style></details><svg onload=alert(1)>",
    "attribute": "\" onmouseover=alert(1) x='",
    "template": "{{ 7 * 7 }}{% raw %}",
    "bidi": "\u202egnp.exe\u2066",
    "escape": "\x1b[2Jclear\x00\r",
    "surrogate": "\ud800",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_does_nothing_wherever_it_stands(text: str) -> None:
    def everywhere(said: str) -> Page:
        keys = dict.fromkeys(("unit", "limit_source", "counts", "compared", "reason"), said)
        check = evidences.make_check(f"m {said}", 9.0, 8.0, raw=said, replay=said, **keys)
        fingerprint = {"cpu": said, "board": said, "runtime": {said: said}, "settings": {said: said}}
        cell = evidences.make_cell(
            said, [check], model=said, device=said, error=said, notes=[said], unfinished=[said], fingerprint=fingerprint
        )
        report = make_report(
            evidences.make_run([cell, {**cell, "backend": f"{said} 2"}], tool=said, started=said, commit=said),
            sentence=said,
            notes=[said],
            changes=[ChangeEntry(kind="mended", backend=said, taken=said, text=said)],
            contradictions={f"m {said}": said},
        )
        plot = Plot(name=said, title=said, description=said, svg="<svg></svg>", columns=(said,), rows=((said,),))
        return Page(render_page(report, lambda section: [plot]))

    page, plain = everywhere(text), everywhere("plain")
    assert [tag for tag, _ in page.elements if tag != "wbr"] == [tag for tag, _ in plain.elements if tag != "wbr"]
    assert [list(names) for _, names in page.elements] == [list(names) for _, names in plain.elements]
    assert not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page.html)


def test_a_long_text_is_cut_and_says_so() -> None:
    check = evidences.make_check("latency_p99_ms", 9.0, 8.0, reason="x" * 1_000_000)
    page = page_of(evidences.make_run([evidences.make_cell("onnxruntime", [check], error="y" * 1_000_000)]))
    assert len(page.html) < 100_000
    assert "998 0" in page.text
    assert "more characters" in page.text


def test_equal_evidence_gives_equal_pages() -> None:
    first, second = (render_page(make_report(two_backends()), draw) for _ in range(2))
    assert first == second


KINDS = {
    "no cells": ([], "there is nothing to decide"),
    "cannot run": ([evidences.make_cell("libtorch", [], verdict="FAIL", error="killed at load")], "killed at load"),
    "ineligible": ([evidences.make_cell("libtorch", [], verdict="INELIGIBLE")], "INELIGIBLE"),
    "not finished": ([evidences.make_cell("libtorch", [], unfinished=["test_memory"])], "test_memory"),
    "nothing measured": (
        [evidences.make_cell("libtorch", [evidences.make_check("load_time_s", None)])],
        "INCONCLUSIVE",
    ),
    "huge figures": (
        [evidences.make_cell("libtorch", [evidences.make_check("artifact_mib", 10**400, whole=True, bound="inf")])],
        "inf",
    ),
}


@pytest.mark.parametrize(("cells", "said"), KINDS.values(), ids=KINDS)
def test_every_kind_of_evidence_has_a_page(cells: list[dict[str, Any]], said: str) -> None:
    assert said in page_of(evidences.make_run(cells)).text


def test_what_does_not_follow_from_its_numbers_is_marked_in_the_table_and_below() -> None:
    page = page_of(two_backends(), contradictions={"memory_peak_mib": "PASS, with 122 of 32"})
    assert page.text.count("does not follow from its numbers") == 4
    assert page.text.count("PASS, with 122 of 32") == 2
    of_cells = page_of(two_backends(), contradictions={CELL: "PASS, although a check failed"})
    assert of_cells.text.count("does not follow from its numbers") == 4
    assert of_cells.text.count("PASS, although a check failed") == 2


def test_a_metric_that_no_cell_says_anything_of_has_no_column() -> None:
    silent = evidences.make_check("first_start_s", None, verdict="NOT_APPLICABLE", reason="nobody limits it")
    run = two_backends()
    run["cells"][0]["checks"].append(silent)
    page = page_of(run)
    assert len([head for head in page.all("th") if head.get("scope") == "col"]) == 2 + 2 + 2  # and the plot's numbers
    assert "nobody limits it" in page.text


def test_a_limit_of_ones_own_is_said_in_the_field() -> None:
    run = two_backends()
    run["cells"][1]["checks"][0]["limit"] = 10.0
    page = page_of(run)
    assert "limits differ" in page.texts
    assert {"of ≤ 8", "of ≤ 10"} <= set(page.texts)


def test_headings_are_in_order_and_every_name_leads_somewhere() -> None:
    run = two_backends()
    run["cells"] += [{**cell, "model": "other"} for cell in run["cells"]]
    page = page_of(run)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    referred = re.findall(r'(?:href="#|aria-labelledby=")([^"]+)', page.html)
    assert referred
    assert set(referred) <= set(names)


def test_of_many_that_are_out_the_first_are_shown_and_the_rest_opens() -> None:
    failed = [evidences.make_check("memory_peak_mib", 122.0, 32.0)]
    page = page_of(evidences.make_run([evidences.make_cell(f"backend{number}", failed) for number in range(25)]))
    assert all(f"backend{number} may not" in page.texts for number in range(25))
    assert page.text.index("backend9 may not") < page.text.index("15 more") < page.text.index("backend10 may not")


def test_several_files_are_told_apart() -> None:
    report = make_report(two_backends())
    (source,) = report.sources
    other = dataclasses.replace(source, folder=Path("runs/jetson"))
    page = Page(render_page(dataclasses.replace(report, sources=(source, other)), draw))
    assert {"evidence.json", "runs/jetson/evidence.json"} <= set(page.texts)
    assert "and 1 more" in page.text


def test_two_models_of_one_name_are_told_apart() -> None:
    report = make_report(two_backends())
    twice = dataclasses.replace(report, sections=report.sections * 2)
    page = Page(render_page(twice, draw))
    labels = [label for _, attributes in page.elements if (label := attributes.get("aria-label"))]
    landmarks = [label for label in labels if "net on pi4" in label]
    assert len(landmarks) == len(set(landmarks)) == 4
    assert "net on pi4 (2 of 2)" in landmarks


def test_every_backend_can_be_hidden_in_the_plots_where_there_are_several() -> None:
    page = page_of(two_backends())
    assert [box["class"] for box in page.all("input")] == ["show-0", "show-1"]
    assert ".plots:has(.show-1:not(:checked)) .cell-1{display:none}" in page.style
    alone = page_of(evidences.make_run([evidences.make_cell("onnxruntime", [])]))
    assert not alone.all("input")


def test_headroom_of_what_is_taken_is_said() -> None:
    room = HeadroomEntry(metric="latency_p99_ms", bound=7.5, limit=8, percent=6.25)
    assert "latency_p99_ms 6.25 %" in page_of(two_backends(), headroom=[room]).text


def contrast(first: str, second: str) -> float:
    """Return two colours' contrast, as WCAG 2.2 defines it ("relative luminance", "contrast ratio")."""

    def luminance(color: str) -> float:
        shares = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted(map(luminance, (first, second)))
    return (light + 0.05) / (dark + 0.05)


def test_text_and_lines_stand_out_from_both_grounds() -> None:
    style = page_of(two_backends()).style
    dark_part = "".join(re.findall(r"@media screen and \(prefers-color-scheme:dark\)\{\s*:root\{([^}]*)\}", style))
    light_part = "".join(re.findall(r"^:root\{([^}]*)\}", style, re.MULTILINE))
    for part in (light_part, dark_part):
        colors = dict(re.findall(r"--([a-z0-9-]+):(#[0-9a-f]{6})", part))
        assert len(colors) == 17
        ground, panel = colors.pop("ground"), colors.pop("panel")
        assert contrast(colors.pop("grid"), ground) >= 3
        colors.pop("rule")  # between rows, which are told apart without it
        assert {name: color for name, color in colors.items() if contrast(color, ground) < 4.5} == {}
        texts = ("ink", "ink-2", "pass", "fail", "open", "odd")
        assert {name: colors[name] for name in texts if contrast(colors[name], panel) < 4.5} == {}


def test_fifty_cells_leave_most_elements_to_the_plots() -> None:
    """12,000 is what the whole page may have; six plots of 100 elements in each section take two thirds of it."""
    names = [*evidences.UNITS, *(f"metric_{number}" for number in range(8))]
    checks = [
        evidences.make_check(name, 2.0, 8.0 if place < 5 else None, bound=3.0, confidence=0.99)
        for place, name in enumerate(names)
    ]
    facts = {"cpu": "Cortex-A72", "arch": "aarch64", "python": "3.11.2", "runtime": {"numpy": "2.4.6"}}
    backends = ("torchscript", "libtorch", "onnxruntime", "onnxruntime-cpp")
    cells = [
        evidences.make_cell(backend, checks, model=f"net{number}", notes=["a note"], fingerprint=facts)
        for number in range(13)
        for backend in backends
    ]
    page = Page(render_page(make_report(evidences.make_run(cells[:50])), lambda section: []))
    assert len(checks) == 15
    assert len(page.elements) < 4_000


def test_every_class_of_the_style_is_in_a_page() -> None:
    run = two_backends()
    inconclusive = evidences.make_check("load_time_s", None, 1.0, compared="eager 0.9", asked=True)
    unasked = evidences.make_check("first_start_s", None, verdict="NOT_APPLICABLE", asked=False)
    run["cells"][0]["checks"] += [inconclusive, unasked]
    run["cells"][1]["checks"] += [{**inconclusive, "verdict": "NOT_APPLICABLE", "limit": 2.0}]
    run["cells"] += [evidences.make_cell("libtorch", [], verdict="INELIGIBLE", notes=["a note"])]
    report = make_report(run, sentence="Take one. Another is out.")
    sections = tuple(dataclasses.replace(section, description="a board") for section in report.sections)
    html = render_page(dataclasses.replace(report, sections=sections, remarks=("a remark",)), draw)
    several = render_page(make_report(evidences.make_run([*run["cells"], {**run["cells"][0], "model": "b"}])), draw)
    used = {name for found in re.findall(r'class="([^"]*)"', html + several) for name in found.split()}
    styled = set(re.findall(r"\.([a-z][a-z-]*\d?)(?=[^{}]*\{)", re.sub(r"/\*.*?\*/", "", Page(html).style)))
    assert styled - used <= {"many", "k3", "k4", "k5"}
