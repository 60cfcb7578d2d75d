"""Models as users write them, each with the verdict that is right: see tests.cases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cases import BOTH, NATIVE, PARITY, Case, copied, options, told

from .conftest import Outcome, Project

pytestmark = pytest.mark.slow

SECONDS = 900.0


def _run(project: Project, *arguments: str) -> Outcome:
    return project.run_command(project.command(*arguments, "--device", "local"), SECONDS)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Parity of all of them, in one run: what one of them does to its process must not reach the next."""
    project = Project(tmp_path_factory.mktemp("cases"))
    project.write("pytest.ini", "[pytest]\n")
    models = options(copied(project.folder / "models"), PARITY)
    backends = [word for name in NATIVE for word in ("--backend", name)]
    return _run(project, *models, *backends, "-k", _chosen())


def _chosen() -> str:
    """No cell that no case asks for: each costs an export or a deployment."""
    wanted = [f"{case.name}-local-{backend}" for case in PARITY for backend in case.verdicts]
    return f"parity and ({' or '.join(wanted)})"


def _cell(outcome: Outcome, model: str, backend: str) -> dict[str, Any]:
    found = [cell for cell in outcome.evidence["cells"] if (cell["model"], cell["backend"]) == (model, backend)]
    assert found, outcome.output[-4000:]
    return dict(found[0])


@pytest.mark.parametrize(
    ("case", "backend"),
    [pytest.param(case, backend, id=f"{case.name}-{backend}") for case in PARITY for backend in case.verdicts],
)
def test_a_model_gets_the_verdict_that_is_right_and_the_cause_is_named(
    asked: Outcome, case: Case, backend: str
) -> None:
    cell = _cell(asked, case.name, backend)
    assert cell["verdict"] == case.verdicts[backend], told(cell)
    assert [text for text in case.says if text not in told(cell)] == [], told(cell)
    assert [text for text in case.silent if text in told(cell)] == [], told(cell)
