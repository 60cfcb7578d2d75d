"""What a runtime writes to stderr, as notes."""

from __future__ import annotations

from typing import Any, cast

import pytest

from harness.deploy.deployer import Deployer
from harness.deploy.deployment import DeviceTime, Timeouts
from harness.deploy.messages import LINE_LENGTH, MOST, distinct_lines
from harness.printable import REMARK

NOTHING = cast(Any, None)
ONNX_RUNTIME = (
    "\x1b[0;93m2026-11-26 17:51:21.446907672 [W:onnxruntime:, execution_frame.cc:879 VerifyOutputSizes] Expected shape "
    "from model of {3} does not match actual shape of {%d} for output y\x1b[m\n"
)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("\n  \n", [], id="blank"),
        pytest.param("one\ntwo\none\n", ["one", "two"], id="the same again"),
        pytest.param("at 0x7f12 of 3\nat 0x99 of 14\n", ["at 0x7f12 of 3"], id="other numbers"),
        pytest.param("a.py:3: UserWarning: old\n  warnings.warn(\n", ["a.py:3: UserWarning: old"], id="its source"),
        pytest.param("bell\a and \x1b[2J\u202e\n", ["bell\\x07 and \\x1b[2J\\u202e"], id="control characters"),
        pytest.param("mark {}\nsaid\n", ["said"], id="for the harness"),
        pytest.param("x" * 9999, ["x" * (LINE_LENGTH - REMARK) + "… (9 739 more characters)"], id="long"),
    ],
)
def test_lines_are_told_once_and_without_what_a_terminal_would_obey(text: str, lines: list[str]) -> None:
    assert [*distinct_lines(text, without="mark").values()] == lines


def test_onnx_runtimes_warning_has_no_time_and_no_colour() -> None:
    (line,) = distinct_lines(ONNX_RUNTIME % 5 + ONNX_RUNTIME % 6).values()
    assert line.startswith(
        "[W:onnxruntime:, execution_frame.cc:879 VerifyOutputSizes] Expected shape from model of {3}"
    )
    assert line.endswith("actual shape of {5} for output y")


def test_a_cell_notes_a_few_kinds_of_line_of_all_its_processes() -> None:
    deployer = Deployer(cell=NOTHING, board=NOTHING, bundle=NOTHING, timeouts=Timeouts(), device_time=DeviceTime())
    for _ in range(2):
        deployer._note_messages("".join(f"{'x' * count}\n" for count in range(1, MOST + 4)))
    assert len(deployer.notes) == MOST + 1
    assert deployer.notes[0] == "the runtime wrote to stderr: x"
    assert "more than" in deployer.notes[-1]
