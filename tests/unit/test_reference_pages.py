"""The reference pages of docs/ name all that the code has, and nothing else: an undocumented key fails here."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

import fixtures
import harness
from harness import Closeness, Input, Model, Output, Unordered
from harness.checks.check import Verdict
from harness.checks.finding import Finding
from harness.cli import cli
from harness.device.tables import KEYS
from harness.host.shipped import PACKAGE
from harness.measure import known_metrics
from harness.release.policy_tables import KEYS as POLICY_KEYS
from harness.release.policy_tables import PolicyFile
from harness.run.options import add_options

DOCS = Path(__file__).parents[2] / "docs"
# Passed between hilgate's own programs, or to its build.
INTERNAL = {
    "ENGINE",
    "JSON_INCLUDE",
    "PYTHON",
    "RUN",
    "RUNTIME_INCLUDE",
    "RUNTIME_LIBRARIES",
    "SANITIZE",
    "TESTS",
    "WERROR",
}


def page(name: str) -> str:
    """A page's text."""
    return (DOCS / name).read_text(encoding="utf-8")


def first_column(text: str) -> set[str]:
    """What stands in backticks in the first column of a text's tables."""
    cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize("kind", [Model, Input, Output, Closeness, Unordered])
def test_every_argument_of_a_model_file_is_documented(kind: type) -> None:
    section = page("model-file.md").partition(f"## `{kind.__name__}`\n")[2].partition("\n## ")[0]
    assert first_column(section) == {field.name for field in dataclasses.fields(kind)}


def test_every_key_of_a_device_file_is_documented() -> None:
    assert first_column(page("device-file.md")) == set(KEYS)


def test_every_key_of_a_policy_is_documented_with_its_default() -> None:
    section = page("release.md").partition("## The policy\n")[2].partition("\n## ")[0]
    assert first_column(section) == set(POLICY_KEYS)
    rows = dict(re.findall(r"^\| `([\w.]+)` \|.*\| ([^|]+) \|$", section, re.MULTILINE))
    required = {"release", "evidence", "target", "signers"}
    for table in sorted(required):
        kind = PolicyFile.model_fields[table].annotation
        assert isinstance(kind, type)
        assert issubclass(kind, BaseModel)
        required |= {f"{table}.{key}" for key, info in kind.model_fields.items() if info.is_required()}
    assert {key for key, default in rows.items() if default == "required"} == required


def test_every_option_of_pytest_is_documented() -> None:
    parser = pytest.Parser(_ispytest=True)
    add_options(parser)
    names = {name for option in parser.getgroup("hil").options for name in option.names()}
    section = page("options.md").partition("## pytest\n")[2].partition("\n## ")[0]
    assert {word.split()[0] for word in first_column(section)} == names


def test_every_setting_of_pytest_ini_is_documented() -> None:
    section = page("options.md").partition("## pytest.ini\n")[2].partition("\n## ")[0]
    sources = (PACKAGE / "run" / "options.py").read_text(encoding="utf-8")
    assert first_column(section) == set(re.findall(r'addini\("(\w+)"', sources))


def test_every_variable_of_the_environment_is_documented() -> None:
    section = page("options.md").partition("## Environment\n")[2]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    known = set(re.findall(r"HILGATE_([A-Z0-9_]*[A-Z0-9])\b", sources)) - INTERNAL
    documented = {word.removeprefix("HILGATE_") for word in first_column(section)}
    assert known <= documented
    # Those with an architecture behind them are put together by the code.
    assert {name for name in documented - known if not name.startswith(("CXX_", "SYSROOT_"))} == set()


def test_every_command_and_its_options_are_documented() -> None:
    rows = re.findall(r"^\| `hilgate ([a-z ]+)[^`]*` \|.*\|(.*)\|$", page("commands.md"), re.MULTILINE)
    documented = {name.strip(): set(re.findall(r"`(--[a-z-]+)", options)) for name, options in rows}
    assert documented == dict(commands(cli, []))


def commands(group: click.Group, words: list[str]) -> list[tuple[str, set[str]]]:
    """Every command with its options."""
    found = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            found += commands(command, [*words, name])
        else:
            options = {item.opts[-1] for item in command.params if isinstance(item, click.Option)}
            found.append((" ".join([*words, name]), options))
    return found


def test_every_fixture_is_documented() -> None:
    modules = [importlib.import_module(f"fixtures.{module.name}") for module in pkgutil.iter_modules(fixtures.__path__)]
    kind = type(pytest.fixture(lambda: None))
    names = {name for module in modules for name, value in vars(module).items() if isinstance(value, kind)}
    section = page("fixtures.md").partition("## The fixtures\n")[2]
    assert first_column(section) == names


def test_what_a_finding_may_say_exists() -> None:
    section = page("fixtures.md").partition("## What a finding says\n")[2].partition("\n## ")[0]
    assert first_column(section) <= {field.name for field in dataclasses.fields(Finding)} | {'bound="min"'}


def test_every_metric_its_limits_key_and_who_may_set_it_is_documented() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| (`\w+`|`tolerance=` of the model) \| (yes|) ?\|$", page("metrics.md"), re.MULTILINE
    )
    documented = {name: (key.strip("`"), owner == "yes") for name, key, owner in rows if name != "parity"}
    known = {
        name: (metric.limit_key, metric.device_limit) for name, metric in known_metrics().items() if name != "parity"
    }
    assert documented == known
    parameters = {word for metric in known_metrics().values() for word in metric.parameters}
    assert all(f"`{word}`" in page("metrics.md") for word in parameters)


def test_every_verdict_is_documented() -> None:
    section = page("glossary.md").partition("## Verdicts\n")[2]
    assert set(re.findall(r"^\| ([A-Z_]+) \|", section, re.MULTILINE)) == {verdict.value for verdict in Verdict}
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8").partition("## Reading the verdict\n")[2]
    assert set(re.findall(r"^\| ([A-Z_]+) \|", readme, re.MULTILINE)) == {verdict.value for verdict in Verdict}


def test_what_is_said_to_be_public_is_what_the_package_exports() -> None:
    section = page("fixtures.md").partition("## What is public\n")[2]
    names = set(re.findall(r"`(\w+)`", section.partition("- the fixtures")[0])) - {"harness", "__all__"}
    assert names == set(harness.__all__)
