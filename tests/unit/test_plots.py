"""All plots: what a page may hold, what is said where nothing can be drawn, and each plot's numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from harness.host.plugins import module_names
from harness.model.model import Array
from harness.report.plots import KINDS, Plot, draw_section, plot_of
from harness.report.plots.cleaning import clean
from harness.report.plots.colors import COLORS, SERIES
from harness.report.plots.data import SectionData
from harness.report.plots.drawing import WIDTH
from harness.report.report import Section
from tests.support.evidences import make_cell, make_check
from tests.support.sections import make_section, timed_section
from tests.support.svg import SVG, Shape, parse, shapes, texts

MS = 10**6
BACKENDS = ("torchscript", "onnxruntime", "onnxruntime-cpp", "libtorch")
HOSTILE = "</svg><script>alert(1)</script>\"'`|\n\x1b[31m\u202e" + "x" * 300
STATE = {"temperature_mc": [45_000], "frequency_khz": [1_800_000]}
LATER = {"temperature_mc": [71_000], "frequency_khz": [600_000]}


def whole_section(folder: Path, backends: Sequence[str] = BACKENDS, count: int = 600) -> Section:
    """Make a section of which every plot can be drawn."""
    random = np.random.default_rng(3)
    cells, samples = [], {}
    for number, backend in enumerate(backends):
        name = f"samples/{number}.npy"
        samples[name] = (random.lognormal(number % 4, 0.3, count) * MS).astype(np.int64)
        cells.append(make_cell(backend, _checks(number, name, count), fingerprint=_fingerprint()))
    return make_section(folder, cells, samples)


def _fingerprint() -> dict[str, Any]:
    return {"state_before": STATE, "state_after": LATER}


def _checks(number: int, name: str, count: int) -> list[dict[str, Any]]:
    counted = {"raw": name, "samples": count, "processes": [count // 2, count - count // 2]}
    operators = [
        {"operator": kind, "name": kind, "calls": 2, "share": share} for kind, share in (("Gemm", 0.7), ("A", 0.3))
    ]
    after = {"before_runtime": 5.0, "runtime": 40.0 + number, "model": 50.0, "first": 60.0}
    return [
        make_check("parity", (0.0, 0.5, 31.0, 2.0)[number % 4], 30.0),
        make_check("latency_p50_ms", 1.0, 5.0, bound=1.1, bound_low=0.9, **counted),
        make_check("latency_p99_ms", 2.0 + number, 10.0, bound=2.5 + number, bound_low=1.5, **counted),
        make_check("memory_peak_mib", 120.0 - number, 150.0, after_mib=after),
        make_check("instructions_per_inference", 1e6, None, operators=operators),
    ]


@pytest.fixture(scope="module")
def plots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plot]:
    return {plot.name: plot for plot in draw_section(whole_section(tmp_path_factory.mktemp("whole")))}


@pytest.fixture(scope="module")
def all_plots(tmp_path_factory: pytest.TempPathFactory) -> list[Plot]:
    """Return plots of ordinary, hostile and many backends."""
    kinds: tuple[Sequence[str], ...] = (
        BACKENDS,
        [HOSTILE, "&lt;", " ", "\ufdd0\ud800"[:1]],
        [f"b{n}" for n in range(50)],
    )
    folders = (tmp_path_factory.mktemp("section") for _ in kinds)
    return [
        plot
        for folder, names in zip(folders, kinds, strict=True)
        for plot in draw_section(whole_section(folder, names, 40 if len(names) < 50 else 8))
    ]


def test_every_plot_is_found_by_its_file(plots: Mapping[str, Plot]) -> None:
    assert sorted(plots) == module_names(KINDS)
    assert next(iter(plots)) == "latency_by_quantile"
    assert all(plot.svg and plot.description and plot.rows and not plot.problem for plot in plots.values())


def test_rows_fit_their_columns(all_plots: Sequence[Plot]) -> None:
    assert {len(plot.columns) - len(row) for plot in all_plots for row in plot.rows} == {0}


def test_every_colour_is_a_variable(all_plots: Sequence[Plot]) -> None:
    allowed = {f"var(--{name}, {color.light})" for name, color in COLORS.items() if name != "ground"} | {"none"}
    for plot in all_plots:
        for element in parse(str(plot.svg)).iter():
            assert {element.get("fill", "none"), element.get("stroke", "none")} <= allowed
            if element.tag in (f"{SVG}text", f"{SVG}path"):  # what has no fill is black
                assert "fill" in element.attrib


@pytest.mark.parametrize("name", [name for name in COLORS if name != "ground"])
def test_colours_have_contrast_on_both_grounds(name: str) -> None:
    least = 3.0 if name == "grid" else 4.5  # a line's, and a text's
    assert _contrast(COLORS[name].light, COLORS["ground"].light) >= least
    assert _contrast(COLORS[name].dark, COLORS["ground"].dark) >= least


def test_the_grounds_are_what_contrast_is_measured_on() -> None:
    assert (COLORS["ground"].light, COLORS["ground"].dark) == ("#ffffff", "#121212")
    assert len({COLORS[name].light for name in SERIES}) == len({COLORS[name].dark for name in SERIES}) == 6


def _contrast(one: str, other: str) -> float:
    """Return WCAG's contrast ratio."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_nothing_is_in_a_plot_that_a_page_must_not_have(all_plots: Sequence[Plot]) -> None:
    for plot in all_plots:
        elements = list(parse(str(plot.svg)).iter())
        assert {element.tag.removeprefix(SVG) for element in elements} <= {
            "svg",
            "g",
            "path",
            "line",
            "text",
            "title",
            "rect",
        }
        attributes = {name for element in elements for name in element.attrib}
        assert not {name for name in attributes if name.startswith("on") or "href" in name or name in ("style", "id")}
        assert "<script" not in str(plot.svg)


def test_a_name_is_shortened_and_whole_in_its_title(tmp_path: Path) -> None:
    for plot in draw_section(whole_section(tmp_path, [HOSTILE, "onnxruntime"], 40)):
        titles = [title.text or "" for title in parse(str(plot.svg)).iter(f"{SVG}title")]
        assert any("</svg><script>alert(1)" in title and title.count("x") >= 300 for title in titles), plot.name
        assert all(len(text.text) < 40 for text in texts(str(plot.svg)))
        assert not re.search("[\x00-\x1f\u202e]", plot.description)


def test_text_is_no_smaller_than_11_pixels_and_no_plot_wider_than_a_phone(all_plots: Sequence[Plot]) -> None:
    for plot in all_plots:
        root = parse(str(plot.svg))
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        assert width <= WIDTH <= 300
        sizes = [
            float(element.attrib["font-size"].removesuffix("px"))
            for element in root.iter()
            if "font-size" in element.attrib
        ]
        assert min(sizes) >= 11
        for text in texts(str(plot.svg)):
            assert 0 <= text.x <= width
            assert 8 <= text.y <= height


def test_backends_elements_have_their_class(plots: Mapping[str, Plot]) -> None:
    for plot in plots.values():
        groups = {shape.group for shape in shapes(str(plot.svg))} | {text.group for text in texts(str(plot.svg))}
        assert {f"cell-{number}" for number in range(len(BACKENDS))} <= groups
        for number in range(len(BACKENDS)):
            colors = {shape.stroke for shape in shapes(str(plot.svg)) if f"--c{number + 1}," in shape.stroke}
            own = {shape.group for shape in shapes(str(plot.svg)) if shape.stroke in colors}
            assert own <= {f"cell-{number}"}


def test_names_do_not_cover_each_other(plots: Mapping[str, Plot]) -> None:
    for plot in plots.values():
        names = [text for text in texts(str(plot.svg)) if text.text in BACKENDS]
        assert len(names) == len(BACKENDS), plot.name
        heights = sorted(text.y for text in names)
        assert min(np.diff(heights)) >= 11.9, plot.name


def test_a_plot_that_cannot_be_drawn_says_so_and_the_page_stands(tmp_path: Path) -> None:
    def fail(data: SectionData) -> Plot:
        return clean("<svg>\x1b</svg>", data.section.title)  # type: ignore[return-value]

    data = SectionData(whole_section(tmp_path, BACKENDS[:1], 8))
    plot = plot_of(SimpleNamespace(__name__="kinds.new_one", plot=fail), data)
    assert plot is not None
    assert (plot.name, plot.title, plot.svg) == ("new_one", "New one", None)
    assert plot.problem.startswith("It could not be drawn: not well-formed")


def test_equal_evidence_gives_equal_bytes(tmp_path: Path) -> None:
    first, again = (draw_section(whole_section(tmp_path / name, BACKENDS[:2], 40)) for name in ("one", "other"))
    assert first == again


def test_a_section_without_measurements_has_no_plots(tmp_path: Path) -> None:
    cells = [make_cell(name, [make_check("parity", None), make_check("latency_p99_ms", None)]) for name in BACKENDS]
    assert draw_section(make_section(tmp_path, cells)) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "are not there"), (slice(-8), "SHA-256 is another"), (slice(0), "SHA-256 is another")],
    ids=["gone", "short", "empty"],
)
def test_samples_that_are_not_the_evidences_are_not_drawn(tmp_path: Path, content: slice | None, said: str) -> None:
    section = timed_section(tmp_path, {"onnxruntime": np.full(500, MS), "libtorch": np.full(500, MS)}, 10.0)
    path = tmp_path / "samples" / "0.npy"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[content])
    for plot in draw_section(section)[:2]:
        assert "onnxruntime: " in plot.problem
        assert said in plot.problem
        assert "libtorch" not in plot.problem
        assert {shape.group for shape in shapes(str(plot.svg)) if shape.group} == {"cell-1"}
        assert {row[0] for row in plot.rows} == {"libtorch"}


def test_samples_of_another_type_are_not_drawn(tmp_path: Path) -> None:
    for plot in draw_section(timed_section(tmp_path, {"onnxruntime": np.full(500, 0.5)}))[:2]:
        assert plot.svg is None
        assert "int64" in plot.problem


def test_durations_below_zero_are_not_drawn(tmp_path: Path) -> None:
    for plot in draw_section(timed_section(tmp_path, {"onnxruntime": np.array([5, -3])}))[:2]:
        assert plot.svg is None
        assert "below zero" in plot.problem


def _two_contents() -> tuple[Array, dict[str, Any]]:
    """Return the samples of two processes, noise then samples in each; the samples take 100 ms and more."""
    noise = [np.full(30, 2 * MS), np.full(20, 3 * MS)]
    given = [np.full(5, 100 * MS), np.full(10, 110 * MS)]
    by_content = {
        "uniform": {"samples": 50, "processes": [30, 20]},
        "samples": {"samples": 15, "processes": [5, 10]},
    }
    raw = np.concatenate([noise[0], given[0], noise[1], given[1]])
    return raw, {"content": "samples", "by_content": by_content, "samples": 15, "processes": [5, 10]}


def test_what_is_drawn_is_what_is_judged(tmp_path: Path) -> None:
    raw, keys = _two_contents()
    quantiles, times = draw_section(timed_section(tmp_path, {"onnxruntime": raw}, **keys))
    assert "timed on the model file's samples" in quantiles.description
    assert quantiles.rows[0][1:4] == ("15", "100 ms", "110 ms")
    assert [row[1:4] for row in times.rows] == [("1", "5", "100 ms"), ("2", "10", "110 ms")]


@pytest.mark.parametrize(
    "change",
    [{"content": "other"}, {"by_content": {"uniform": {}, "samples": {"samples": 65}}}],
    ids=["name", "counts"],
)
def test_contents_that_cannot_be_told_apart_are_drawn_together_and_it_is_said(tmp_path: Path, change: Any) -> None:
    raw, keys = _two_contents()
    plot = draw_section(timed_section(tmp_path, {"onnxruntime": raw}, **{**keys, **change}))[0]
    if plot.rows:
        assert plot.rows[0][1] == "65"
        assert "cannot be told apart" in plot.problem
    else:
        assert "are 65, and the check" in plot.problem


def _strip(svg: str, number: int = 0) -> tuple[Shape, float, float, float, float]:
    """Return a strip's bars, and its scale: the value and the pixel at its foot, and at its head."""
    own = [shape for shape in shapes(svg) if shape.group == f"cell-{number}"]
    grid = next(shape.corners for shape in own if "--grid" in shape.stroke)
    foot, head = float(grid[:, 1].max()), float(grid[:, 1].min())
    scale = sorted(
        (text for text in texts(svg) if text.group == f"cell-{number}" and text.x < 40), key=lambda text: -text.y
    )
    bars = max((shape for shape in own if "--c" in shape.stroke), key=lambda shape: len(shape.corners))
    return bars, float(scale[0].text), foot, float(scale[1].text), head


def test_columns_over_time_keep_their_extremes(tmp_path: Path) -> None:
    values = np.random.default_rng(8).integers(2 * MS, 3 * MS, 50_000)
    values[[17, 30_001, 49_999]] = 5 * MS
    values[9_000] = MS // 5
    plot = draw_section(timed_section(tmp_path, {"onnxruntime": values}, processes=[20_000, 30_000]))[1]
    bars, low, foot, high, head = _strip(str(plot.svg))
    left, right = bars.corners[:, 0].min(), bars.corners[:, 0].max()
    assert 100 <= len(np.unique(bars.corners[:, 0])) <= 200
    heights = high + (low - high) * (bars.corners[:, 1] - head) / (foot - head)
    pixel = (high - low) / (foot - head)
    for place in (17, 30_001, 49_999):
        near = np.abs(bars.corners[:, 0] - (left + (right - left) * place / 50_000)) <= 2.5
        assert heights[near].max() == pytest.approx(5.0, abs=0.5 * pixel)
    calm = np.abs(bars.corners[:, 0] - (left + (right - left) * 0.3)) <= 20
    assert heights[calm].max() == pytest.approx(3.0, abs=0.5 * pixel)
    assert heights.min() == pytest.approx(0.2, abs=0.5 * pixel)


def test_a_fresh_process_is_marked_where_it_begins(tmp_path: Path) -> None:
    values = np.full(1000, 2 * MS)
    plot = draw_section(timed_section(tmp_path, {"onnxruntime": values}, processes=[250, 750]))[1]
    (border,) = (shape.corners for shape in shapes(str(plot.svg)) if "--ink-2" in shape.stroke)
    grid = next(shape.corners for shape in shapes(str(plot.svg)) if "--grid" in shape.stroke)
    left, right = grid[:, 0].min(), grid[:, 0].max()
    assert border[:, 0] == pytest.approx([left + (right - left) / 4] * 2, abs=0.5)


def test_the_devices_warmth_is_said_where_the_evidence_has_it(plots: Mapping[str, Plot]) -> None:
    plot = plots["latency_over_time"]
    assert plot.rows[0][-1] == "45 → 71 °C, 1800 → 600 MHz"
    assert "45 → 71 °C, 1800 → 600 MHz" in [text.text for text in texts(str(plot.svg))]


def test_memory_is_where_it_belongs(tmp_path: Path) -> None:
    after = {"before_runtime": 5.0, "runtime": 40.0, "model": 50.0, "first": "hostile"}
    check = make_check("memory_peak_mib", 122.0, 100.0, after_mib=after)
    (plot,) = draw_section(make_section(tmp_path, [make_cell("onnxruntime", [check])]))
    upwards = _upwards(str(plot.svg))
    line = next(shape.corners for shape in shapes(str(plot.svg)) if shape.group == "cell-0")
    assert line[:, 1] == pytest.approx([upwards(mib) for mib in (5, 40, 50, 122)], abs=0.5)
    limit = next(shape.corners for shape in shapes(str(plot.svg)) if "--limit" in shape.stroke)
    assert limit[:, 1] == pytest.approx([upwards(100)] * 2, abs=0.5)
    assert "The limit of 100 MiB is exceeded by onnxruntime." in plot.description
    assert plot.rows == (("onnxruntime", "5 MiB", "40 MiB", "50 MiB", "", "122 MiB", "≤ 100 MiB"),)


def _upwards(svg: str) -> Any:
    """Return the axis upwards: where a value belongs."""
    grid = sorted(float(shape.corners[0, 1]) for shape in shapes(svg) if "--grid" in shape.stroke and not shape.group)
    left = min(float(shape.corners[:, 0].min()) for shape in shapes(svg) if "--grid" in shape.stroke)
    beside = sorted((text for text in texts(svg) if left - 8 < text.x < left and text.y > 14), key=lambda text: text.y)
    first, last = float(beside[0].text), float(beside[-1].text)
    return lambda value: grid[0] + (grid[-1] - grid[0]) * (value - first) / (last - first)


def test_the_pareto_front_and_what_is_taken_are_named(tmp_path: Path) -> None:
    each = {"fast": (2.0, 100.0), "small": (5.0, 30.0), "neither": (6.0, 110.0), "out": (1.0, 10.0)}
    cells = [
        make_cell(
            name,
            [
                make_check("latency_p99_ms", p99, 10.0),
                make_check("memory_peak_mib", mib, 150.0),
                make_check("parity", 99.0 if name == "out" else 1.0, 30.0),
            ],
        )
        for name, (p99, mib) in each.items()
    ]
    plot = next(plot for plot in draw_section(make_section(tmp_path, cells)) if plot.name == "preferred")
    assert "No backend that is not out beats fast, small in both" in plot.description
    assert "fast, ringed, is taken; it is on it." in plot.description
    assert [(row[0], *row[3:]) for row in plot.rows] == [
        ("fast", "yes", "taken"),
        ("small", "yes", ""),
        ("neither", "no", ""),
        ("out", "no", "out"),
    ]
    front = next(shape.corners for shape in shapes(str(plot.svg)) if "--ink-2" in shape.stroke)
    upwards = _upwards(str(plot.svg))
    assert front[:, 1] == pytest.approx([upwards(100), upwards(30)], abs=0.5)


def test_parity_of_zero_and_infinity_is_written_beyond_the_axis(tmp_path: Path) -> None:
    ratios = {"exact": 0.0, "near": 0.5, "over": 40.0, "endless": "inf"}
    checks = {
        name: {**make_check("parity", 1.0, 30.0), "value": ratio, "bound": ratio} for name, ratio in ratios.items()
    }
    plot = draw_section(make_section(tmp_path, [make_cell(name, [check]) for name, check in checks.items()]))[0]
    written = {text.group: text.text for text in texts(str(plot.svg)) if text.text in "0∞" and text.group}
    assert written == {"cell-0": "0", "cell-3": "∞"}
    assert "The error of endless is infinite" in plot.description
    assert "Over their limit: over, endless." in plot.description
    assert [row[1] for row in plot.rows] == ["0", "0.5", "40", "∞"]


def test_operators_of_one_kind_are_taken_together(tmp_path: Path) -> None:
    each = [("Gemm", 0.25), ("Relu", 0.3), ("Gemm", 0.35), ("Add", 0.1), ("bad", 7.0), ("nan", "x")]
    operators = [{"operator": kind, "calls": 2, "share": share} for kind, share in each]
    check = make_check("instructions_per_inference", 1e6, None, operators=[*operators, "hostile"])
    plot = next(iter(draw_section(make_section(tmp_path, [make_cell("onnxruntime", [check])]))))
    assert [row[1:] for row in plot.rows] == [("Gemm", "4", "60 %"), ("Relu", "2", "30 %"), ("Add", "2", "10 %")]
    bars = max(
        (shape for shape in shapes(str(plot.svg)) if "--c1" in shape.stroke), key=lambda shape: len(shape.corners)
    )
    lengths = bars.corners[1::2, 0] - bars.corners[::2, 0]
    assert lengths / lengths[0] == pytest.approx([1.0, 0.5, 1 / 6], abs=0.01)


@pytest.mark.parametrize("figure", ["inf", "nan", "-inf", -1.0, 1.7e308, 5e-324, 0])
def test_no_figure_is_too_odd_to_be_drawn_or_left_out(tmp_path: Path, figure: Any) -> None:
    odd = {"value": figure, "bound": figure, "limit": figure, "bound_low": figure, "after_mib": {"model": figure}}
    metrics = ("parity", "memory_peak_mib", "load_time_s", "latency_p99_ms", "instructions_per_inference")
    checks = [
        {**make_check(metric, 1.0, 2.0), **odd, "operators": [{"operator": "A", "share": figure}]} for metric in metrics
    ]
    cells = [make_cell(name, checks) for name in ("onnxruntime", "libtorch")]
    for check in (checks[3] for _ in cells):
        check["raw"], check["samples"] = "samples/0.npy", 3
    section = make_section(tmp_path, cells, {"samples/0.npy": np.array([MS, 2 * MS, 3 * MS])})
    for plot in draw_section(section):
        assert "could not" not in plot.problem
        if plot.svg is not None:
            assert not re.search(r"nan|inf|undefined", re.sub("inference|infinite", "", plot.svg.lower())), plot.name
            ElementTree.fromstring(plot.svg)  # noqa: S314
