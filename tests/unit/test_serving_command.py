"""`hilgate serve` where its packages are missing, and what it says then."""

import importlib.util
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import cli


def test_without_its_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name == "starlette" else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    result = CliRunner().invoke(cli, ["serve", "nothing.py", "--backend", "onnxruntime"])
    assert result.exit_code == 1
    assert 'pip install "hilgate[cloud]"' in result.stderr
    assert "no starlette" in result.stderr


def test_nothing_else_of_hilgate_imports_them() -> None:
    said = (
        "import sys, pkgutil, importlib, harness\n"
        "sys.modules.update(dict.fromkeys(('starlette', 'uvicorn', 'h11', 'botocore')))\n"
        "for name in [each.name for each in pkgutil.walk_packages(harness.__path__, 'harness.')]:\n"
        "    if name.startswith(('harness.serving.', 'harness.cli', 'harness.run.')) and name not in\\\n"
        "            ('harness.serving.front', 'harness.serving.bounded', 'harness.serving.server',\\\n"
        "             'harness.serving.service.process', 'harness.serving.service.routes',\\\n"
        "             'harness.serving.service.signature'):\n"
        "        importlib.import_module(name)\n"
    )
    subprocess.run([sys.executable, "-c", said], check=True, timeout=120)


@pytest.mark.parametrize("words", [["--port", "65536"], ["--port", "x"], ["--max-request-bytes", "0"], []])
def test_wrong_options_are_usage_errors(words: list[str]) -> None:
    given = ["--backend", "onnxruntime"] if words else []
    assert CliRunner().invoke(cli, ["serve", "net.py", *given, *words]).exit_code == 2
