"""Boards as people have them: whether `hilgate add` and `hilgate doctor` say beforehand what a run comes to.

Loopback servers, each with what makes it odd: noexec, MaxSessions 1, ForceCommand, a read-only home, tcsh, a robot's
.bashrc. Aim (issue 16): no board on which they say yes and the run says no.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_boards_as_found import BOARDS, met, typed
from tests.integration.test_boards_as_found import run as start_bundle

from .support.row import Aim, Options, Row

NEEDS = ("sshd",)

NONE = Aim(0.0)
# With --quick: one that works, one that does not.
QUICK = ("as-it-should-be", "noexec")


def run(options: Options) -> Iterator[Row]:
    """Each board is added, looked at, and then used as a run uses it, but for the model."""
    answers: dict[str, tuple[bool, bool, bool]] = {}
    skipped = []
    for chosen in BOARDS:
        if options.quick and chosen.id not in QUICK:
            continue
        values: Any = chosen.values
        board, device, _ = values
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            try:
                with met(board, Path(folder), patch, device) as server:
                    added, _ = typed("add", "new", "board", "--fingerprint", server.fingerprint)
                    looked, _ = typed("doctor", "board", "--offline")
                    answers[str(chosen.id)] = added == 0, looked == 0, start_bundle(Path(folder)) is None
            except pytest.skip.Exception as error:
                skipped.append(f"{chosen.id}: {error}")
    wrong = [name for name, (added, looked, works) in answers.items() if (added or looked) and not works]
    strict = [name for name, (added, looked, works) in answers.items() if works and not (added and looked)]
    if not answers:
        raise RuntimeError(f"no board could be tried: {'; '.join(skipped)}")
    against = f"{len(answers)} loopback boards" + (f"; not tried: {'; '.join(skipped)}" if skipped else "")
    details = {
        "answers": {name: dict(zip(("add", "doctor", "run"), said, strict=True)) for name, said in answers.items()}
    }
    yield Row("boards that add or doctor call good, and a run does not work on", len(wrong), "", against, NONE, details)
    yield Row("boards that they call bad, and a run works on", len(strict), "", against, NONE, {"boards": strict})
