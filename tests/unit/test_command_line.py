"""Options and their values on pytest's command line."""

from __future__ import annotations

import argparse

import pytest

from harness.run.command_line import join_values
from harness.run.options import WITH_VALUES, add_options


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        pytest.param(["--model", "a.py", "-m", "hil"], ["--model=a.py", "-m", "hil"], id="a word of its own"),
        pytest.param(["--model=a.py", "x"], ["--model=a.py", "x"], id="one word already"),
        pytest.param(["--model", "a", "--model", "b"], ["--model=a", "--model=b"], id="twice"),
        pytest.param(["--evidence", "a b=c"], ["--evidence=a b=c"], id="blanks and signs"),
        pytest.param(["-k", "--model"], ["-k", "--model"], id="nothing behind it"),
        pytest.param(["-m", "hil", "--", "--model", "a"], ["-m", "hil", "--", "--model", "a"], id="behind two dashes"),
        pytest.param(["--collect-only", "tests"], ["--collect-only", "tests"], id="not ours"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_an_option_and_its_value_become_one_word(words: list[str], joined: list[str]) -> None:
    assert join_values(words, WITH_VALUES) == joined


def test_every_option_that_has_a_value_is_known() -> None:
    class Group:
        def __init__(self) -> None:
            self.parser = argparse.ArgumentParser()

        def addoption(self, *names: str, **settings: object) -> None:
            action = self.parser.add_argument(*names, **settings)  # type: ignore[arg-type]
            valued.extend(names if action.nargs != 0 else ())

    class Parser:
        def getgroup(self, *_: str) -> Group:
            return Group()

        def addini(self, *_: object, **__: object) -> None: ...

    valued: list[str] = []
    add_options(Parser())  # type: ignore[arg-type]
    assert tuple(valued) == WITH_VALUES
