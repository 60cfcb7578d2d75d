"""Real networks and their siblings, each with the verdict that is right: see tests.networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.networks import FAIL, NETWORKS, Network, copied
from tests.networks.environment import provide

from .conftest import Project
from .runners import USERS_CACHE

pytestmark = pytest.mark.slow

SECONDS = 1200.0
# Half of a run's own time, for two dozen cells; benchmarks/networks.py gives one of them all of it.
SEARCH_S = 10.0
CELLS = [(network, backend) for network in NETWORKS for backend in network.verdicts]


@dataclass(frozen=True)
class Environment:
    """Where the packages are, and why some are not."""

    folder: Path
    missing: dict[str, str]

    def why_not(self, network: Network) -> str:
        """Return why a network cannot be built here, or nothing."""
        return "; ".join(f"{name}: {self.missing[name]}" for name in network.packages if name in self.missing)


@pytest.fixture(scope="module")
def environment() -> Environment:
    """Packages in the user's cache; which networks were skipped for want of one is said at the end of the session."""
    return Environment(*provide(USERS_CACHE))


@pytest.fixture(scope="module")
def cells(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """Parity of all of them, in one run: the evidence of each model and backend."""
    # The user's cache: it has the C++ runners, which take a minute to compile, and the exports of an earlier run.
    project = Project(tmp_path_factory.mktemp("networks"), {"HILGATE_CACHE": str(USERS_CACHE)})
    project.write("pytest.ini", "[pytest]\n")
    folder = copied(project.folder / "models", environment.folder)
    chosen = [(network, backend) for network, backend in CELLS if not environment.why_not(network)]
    models = [f"--model={folder / network.name}.py" for network in NETWORKS if not environment.why_not(network)]
    names = " or ".join(f"{network.name}-local-{backend}]" for network, backend in chosen)
    backends = [word for name in dict.fromkeys(backend for _, backend in chosen) for word in ("--backend", name)]
    options = (*project.searching(SEARCH_S), "--device", "local", "--wait", "600", "-k", f"parity and ({names})")
    command = project.command(*models, *backends, *options)
    outcome = project.run_command(command, SECONDS)
    assert (project.folder / "build/hil/evidence.json").is_file(), outcome.output[-4000:]
    return {(cell["model"], cell["backend"]): cell for cell in outcome.evidence["cells"]}


@pytest.mark.parametrize(
    ("network", "backend"), [pytest.param(*cell, id=f"{cell[0].name}-{cell[1]}") for cell in CELLS]
)
def test_a_network_gets_the_verdict_that_is_right(
    network: Network,
    backend: str,
    environment: Environment,
    cells: dict[tuple[str, str], dict[str, Any]],
) -> None:
    if why := environment.why_not(network):
        pytest.skip(f"{network.name}: {why}")
    cell = cells[network.name, backend]
    told = "\n".join([cell.get("error") or "", *(check["reason"] for check in cell["checks"]), *cell["notes"]])
    assert cell["verdict"] == network.verdicts[backend], told
    assert network.verdicts[backend] != FAIL or all(text in told for text in network.says), told
