"""What benchmarks there are, what they need, and which of them a run takes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks.__main__ import Place
from benchmarks.support.registry import USUAL_LIMIT_S, Benchmark, RegistryError, choose, find_benchmarks

HERE = Place()
# What a benchmark that imports one of these needs.
NEEDED_BY = {
    "support.board": {"sshd", "network"},
    "tests.support.browser": {"browser"},
    "tests.networks.environment": {"network"},
    "tests.integration.test_boards_as_found": {"sshd"},
    "support.foreign": {"network"},
}
# Names in the code of those that run a C++ runner.
NATIVE = {"NATIVE_BACKENDS", "NATIVE", "onnxruntime-cpp", "libtorch"}
# Those that name such a backend in evidence that they make up.
MADE_UP = ("gate",)

KNOWN = {
    one.name: one
    for one in (
        Benchmark("board", "benchmarks.board", "", ("sshd", "network")),
        Benchmark("calls", "benchmarks.calls", "", is_quick=True),
        Benchmark("house", "benchmarks.house", "", ("commit", "runners")),
        Benchmark("runner", "benchmarks.runner", "", ("runners",), is_quick=True),
    )
}


def chosen(*only: str, without: tuple[str, ...] = (), quick: bool = False, commit: str = "") -> list[str]:
    return [one.name for one in choose(KNOWN, only, without, quick=quick, commit=commit)]


def test_a_run_takes_all_but_what_needs_another_commit() -> None:
    assert chosen() == ["board", "calls", "runner"]


def test_a_quick_run_takes_the_quick_ones() -> None:
    assert chosen(quick=True) == ["calls", "runner"]


def test_those_that_are_asked_for_are_taken_quick_or_not() -> None:
    assert chosen("board", quick=True) == ["board"]


def test_what_a_machine_lacks_is_left_out_by_name() -> None:
    assert chosen(without=("network", "runners")) == ["calls"]


def test_a_commit_runs_what_compares_with_it() -> None:
    assert chosen(commit="HEAD^") == ["house"]


@pytest.mark.parametrize(
    ("only", "without", "said"),
    [
        pytest.param("house", (), r"house needs another commit \(--commit\)", id="a-commit"),
        pytest.param("runner", ("runners",), "runner needs a C", id="left-out"),
    ],
)
def test_what_is_asked_for_and_left_out_is_an_error(only: str, without: tuple[str, ...], said: str) -> None:
    with pytest.raises(RegistryError, match=said):
        chosen(only, without=without)


def test_a_run_of_nothing_is_an_error() -> None:
    quick = {name: one for name, one in KNOWN.items() if not one.is_quick}
    with pytest.raises(RegistryError, match="no benchmark is left"):
        choose(quick, (), (), quick=True, commit="")


def test_constants_are_read_without_running_the_module(tmp_path: Path) -> None:
    text = '"""Calls.\n\nMore."""\n\nNEEDS = ("sshd",)\nIS_QUICK = True\nLIMIT_S = 60\nOTHER = 1 / 0\n'
    (tmp_path / "calls.py").write_text(text, encoding="utf-8")
    (tmp_path / "_shared.py").write_text("raise AssertionError", encoding="utf-8")
    (tmp_path / "plain.py").write_text("raise AssertionError", encoding="utf-8")
    assert find_benchmarks(tmp_path, "package") == {
        "calls": Benchmark("calls", "package.calls", "Calls.", ("sshd",), True, 60.0),
        "plain": Benchmark("plain", "package.plain", "plain", (), False, USUAL_LIMIT_S),
    }


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('NEEDS = ("luck",)', id="an-unknown-need"),
        pytest.param('NEEDS = "sshd"', id="no-tuple"),
        pytest.param("IS_QUICK = 1", id="no-truth"),
        pytest.param("LIMIT_S = 0", id="no-time"),
        pytest.param("LIMIT_S = 2 * 60", id="no-literal"),
        pytest.param("def", id="no-python"),
    ],
)
def test_a_benchmark_that_says_nonsense_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "calls.py").write_text(text, encoding="utf-8")
    with pytest.raises(RegistryError, match=r"calls\.py"):
        find_benchmarks(tmp_path, "package")


@pytest.mark.parametrize(
    "one", [pytest.param(one, id=name) for name, one in find_benchmarks(HERE.folder, HERE.package).items()]
)
def test_every_benchmark_says_what_it_needs(one: Benchmark) -> None:
    tree = ast.parse((HERE.folder / f"{one.name}.py").read_text(encoding="utf-8"))
    nodes = [*ast.walk(tree)]
    imports = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    words = {node.id for node in nodes if isinstance(node, ast.Name)}
    words |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    needed = set().union(*(needs for module, needs in NEEDED_BY.items() if module in imports))
    needed |= {"emulator"} if any(each.startswith("harness.emulator") for each in imports) else set()
    needed |= {"runners"} if NATIVE & words and one.name not in MADE_UP else set()
    assert needed <= set(one.needs)
    assert not (one.is_quick and set(one.needs) - {"runners"})
