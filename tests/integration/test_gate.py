"""Real runs through the gate: what passes is verified, and checks itself on this machine and on a board over SSH.

One run has all four backends here, and those in Python on a board with an environment; what a good run leaves is looked
at here, too. C++ for a board is compiled for minutes: see test_gate_board.py.
"""

from __future__ import annotations

import json
import textwrap
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from harness.measure import known_metrics
from harness.parity import PARITY
from tests.support.judged_again import check_answers, check_hashes
from tests.support.namespaces import NamespacesRefused, require_namespaces
from tests.support.sshd import Board, BoardServer

from .boards import FURNISHED, furnish, write_device
from .conftest import MODEL, SHORT_BLOCKS, Outcome, Project
from .gated import Gated, OnBoard, check_here
from .signed import NOSY, Secrets

METRICS = {PARITY.name, *known_metrics()}  # those that docs/metrics.md has; see tests/unit/test_reference_pages.py
BACKENDS = ["torchscript", "libtorch", "onnxruntime", "onnxruntime-cpp"]
PYTHON = ["torchscript", "onnxruntime"]
# Eight cells take a minute; on a busy machine it may be ten.
RUN_S = 900
LIMITS = '{"latency_p99_ms": 1000, "deadline_ms": 1000, "deadline_miss_rate": 0.5}'


@dataclass(frozen=True)
class Good:
    """A run that passed, how it was signed, and the board, where one can be had."""

    gated: Gated
    done: Outcome
    secrets: Secrets
    server: BoardServer | None

    @property
    def board(self) -> BoardServer:
        """The board; without one a test is skipped, and says why."""
        require_namespaces()
        assert self.server is not None
        return self.server


@pytest.fixture(scope="module")
def good(cache_with_runners: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Good]:
    """A run of all four backends on this machine, and on a board."""
    project = Project(tmp_path_factory.mktemp("good"))
    project.write("pytest.ini", "[pytest]\nhil_model = tiny.py\nhil_device = local\n")
    project.write("tiny.py", textwrap.dedent(MODEL.replace("dims={", f"limits={LIMITS},\n        dims={{")) + NOSY)
    project.write("devices/local.toml", SHORT_BLOCKS)
    secrets = Secrets.in_environment(project)
    options = ["--benchmark-json", "benchmark.json", "--sign", "HILGATE_SIGNING_KEY", "--device", "local"]
    with ExitStack() as stack:
        server = None
        with suppress(NamespacesRefused):
            server = stack.enter_context(BoardServer(Board(mounts=FURNISHED)))
            add_board(project, server)
            options += ["--device", "board"]
        gated = Gated(project)
        gated.commit()
        yield Good(gated, project.run_command(project.command(*options), RUN_S), secrets, server)


def add_board(project: Project, server: BoardServer) -> None:
    """Make a board a device of the project, with an environment that has the packages of this one."""
    write_device(project.folder, server, runtime=f'environment = "{furnish(server)}"')
    path = project.folder / "devices/board.toml"
    path.write_text(path.read_text().replace('["onnxruntime"]', json.dumps(PYTHON)))
    project.environment["HOME"] = str(project.folder)


def test_a_good_model_passes_on_all_backends_and_leaves_its_evidence(good: Good) -> None:
    done = good.done
    assert done.status == 0, done.output
    predicate = good.secrets.check(done)
    assert (predicate["result"], predicate["failedTests"]) == ("PASSED", [])
    assert "tiny/local/libtorch/parity" in predicate["passedTests"]
    evidence = done.evidence
    assert (evidence["schema"], evidence["verdict"]) == (1, "PASS")
    cells = [("local", backend) for backend in BACKENDS]
    cells += [("board", backend) for backend in PYTHON if good.server is not None]
    assert [(cell["device"], cell["backend"]) for cell in evidence["cells"]] == cells
    for index, cell in enumerate(evidence["cells"]):
        check_answers(done.folder / "build/hil", cell)
        assert {check["metric"] for check in cell["checks"]} == METRICS
        assert done.check("parity", index)["verdict"] == "PASS"
        p99 = done.check("latency_p99_ms", index)
        assert (p99["verdict"], sum(p99["processes"]), len(p99["processes"]) >= 3) == ("PASS", p99["samples"], True)
        assert p99["samples"] >= 1000
        assert (p99["blocks"] >= 515, p99["block_ms"]) == (True, 1)
        raw = np.load(done.folder / "build/hil" / p99["raw"])
        assert (raw.dtype, raw.shape, bool((raw > 0).all())) == (np.int64, (p99["samples"],), True)
        assert p99["value"] <= p99["bound"] <= raw.max() / 1e6
        after = done.check("memory_peak_mib", index)["after_mib"]
        assert 3 < after["before_runtime"] < after["runtime"] <= after["model"] <= after["first"]
    assert evidence["cells"][0]["fingerprint"]["settings"]["threads"] == 1
    assert len(str(check_hashes(done.folder)["tiny"])) == 64
    assert [(file["kind"], file["name"], file["path"]) for file in evidence["files"]][:3] == [
        ("model", "tiny", "tiny.py"),
        ("device", "local", "devices/local.toml"),
        ("device", "local", "hilgate:local"),
    ]


def test_pytests_own_reports_have_all_tests(good: Good) -> None:
    done, count = good.done, len(good.done.evidence["cells"])
    junit = ElementTree.parse(done.folder / "build/hil/junit.xml").getroot()  # noqa: S314
    assert len(list(junit.iter("testcase"))) == count * len(METRICS)
    published = json.loads((done.folder / "benchmark.json").read_text())["benchmarks"]
    assert [one["stats"]["rounds"] for one in published] == [
        done.check("latency_p50_ms", index)["samples"] for index in range(count)
    ]
    assert published[0]["stats"]["max"] == pytest.approx(
        np.load(done.folder / "build/hil/samples/tiny-local-torchscript.npy").max() / 1e9
    )


def test_a_run_on_local_is_released_where_the_policy_names_it(good: Good) -> None:
    """By the decision, with evidence that the machine with the board has signed; by its own words and by README's."""
    gated, signer = good.gated, good.secrets.key.with_name("signing.pub")
    ratio = "latency_p50_ratio_max = 1000"
    policy = gated.policy("local", signed_by=signer, target=ratio, more='commit = "HEAD"\nmax_age_days = 1')
    release = gated.release(policy, key=False)
    (taken,) = (each["taken"] for each in good.done.evidence["decision"] if each["device"] == "local")
    lines = check_here(release)
    assert lines[-1] == "check: PASS"
    assert lines[0].startswith("check: files: all ")
    assert json.loads((release / "check/check.json").read_bytes())["backend"] == taken
    assert (release / "evidence.json").read_bytes() == (good.done.folder / "build/hil/evidence.json").read_bytes()


def test_a_run_is_not_released_where_the_policy_does_not_name_its_device(good: Good) -> None:
    """Nor where it names a metric that has no limit, or a signer who has not signed."""
    gated = good.gated
    good.gated.project.write("devices/rig.toml", 'extends = "local"\n')
    try:
        reasons = gated.refused(gated.policy("rig", require=("parity",)))
    finally:
        (gated.project.folder / "devices/rig.toml").unlink()
    assert "tiny did not run on rig, only on " in reasons
    assert "the working tree is not clean: devices/rig.toml" in reasons
    public = gated.folder / "keys/team.pub"
    policy = gated.policy("local", backend="onnxruntime", require=("memory_peak_mib",), signed_by=public)
    reasons = gated.refused(policy)
    assert "memory_peak_mib is required to PASS, and is only MEASURED" in reasons
    assert "the evidence is not signed by a key of evidence.signed_by (team.pub)" in reasons


@pytest.fixture(scope="module")
def sent(good: Good) -> dict[str, OnBoard]:
    """A release of each backend on the board, where its user lets nobody else read; the decision's is one of them."""
    names = [*PYTHON, "decision"]
    policies = {name: good.gated.policy("board", backend=name) for name in names}
    server = good.board
    return {name: OnBoard.sent(server, good.gated.release(policy), "077") for name, policy in policies.items()}


@pytest.mark.parametrize("backend", PYTHON)
def test_a_release_checks_itself_on_the_board(sent: dict[str, OnBoard], backend: str) -> None:
    lines = sent[backend].passes()
    assert any(line.startswith("check: answers: 3 cases, each twice; ") for line in lines)
    assert any(line.startswith("check: time: p50 ") and line.endswith("not judged") for line in lines)
    artifact = next((sent[backend].release / "artifact").iterdir()).name
    for path in (f"artifact/{artifact}", "agent/check.py", "check/check.json"):
        sent[backend].refuses_a_changed_byte(path)


def test_what_the_decision_takes_checks_itself_under_another_umask(good: Good, sent: dict[str, OnBoard]) -> None:
    release = sent["decision"].release
    OnBoard.sent(good.board, release, "022").passes()
    (taken,) = (each["taken"] for each in good.done.evidence["decision"] if each["device"] == "board")
    assert (release / "manifest.json").read_bytes() == (sent[taken].release / "manifest.json").read_bytes()
