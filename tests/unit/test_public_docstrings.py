"""What an IDE shows of the public names is complete, and its examples are true."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import re

import pytest

import harness

PUBLIC = [getattr(harness, name) for name in harness.__all__ if isinstance(getattr(harness, name), type)]


@pytest.fixture(params=PUBLIC, ids=lambda kind: kind.__name__)
def public(request: pytest.FixtureRequest) -> type:
    """One class of harness.__all__."""
    kind: type = request.param
    return kind


def section(kind: type, name: str) -> str:
    """A section of a class's docstring, such as "Args"; "" where there is none."""
    found = re.search(rf"^{name}:\n((?:    .*\n?|\n)*)", inspect.getdoc(kind) or "", re.MULTILINE)
    return found[1] if found else ""


def test_every_argument_is_described_in_the_order_of_the_signature(public: type) -> None:
    described = re.findall(r"^    (\w+): ", section(public, "Args"), re.MULTILINE)
    assert described == [field.name for field in dataclasses.fields(public)]


def test_every_default_is_said(public: type) -> None:
    arguments = re.split(r"^    (?=\w+: )", section(public, "Args"), flags=re.MULTILINE)[1:]
    optional = [field.name for field in dataclasses.fields(public) if is_optional(field)]
    silent = [text.partition(":")[0] for text in arguments if "Default" not in text]
    assert not set(silent) & set(optional)


def is_optional(field: dataclasses.Field[object]) -> bool:
    """Whether an argument may be left out."""
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def test_the_errors_are_named(public: type) -> None:
    assert "ModelError: " in section(public, "Raises")


def test_the_example_runs(public: type) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(public, public.__name__, globs={})
    assert example.examples, "no example"
    told: list[str] = []

    doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(example, out=told.append)

    assert not told, "".join(told)
