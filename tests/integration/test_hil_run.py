"""`pytest -m hil` as a user runs it: verdicts, evidence and exit statuses."""

from __future__ import annotations

import sys

import pytest

from harness.host.shipped import SUITE
from tests.support.judged_again import check_hashes

from .boards import wait_for
from .conftest import MODEL, SHORT_BLOCKS, Project
from .gated import Gated
from .signed import Secrets

ONNX = ("--backend", "onnxruntime")


def with_limits(limits: str) -> str:
    """The tiny model with limits."""
    return MODEL.replace("dims={", f"limits={limits},\n        dims={{")


# Says, before the run ends, what of the page is imported by then.
WATCHING = """
import sys
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish():
    early = ("jinja2", "vl_convert", "harness.report.page", "harness.report.plots", "harness.report.formats.html")
    print("imported:", sorted(set(early) & set(sys.modules)))
"""


def test_a_broken_limit_fails_and_says_which_also_to_github(project: Project) -> None:
    model = project.write("tiny.py", with_limits('{"latency_p99_ms": 0.000001}')).read_text()
    project.write("devices/local.toml", SHORT_BLOCKS)
    summary = project.write("summary.md", "")
    project.write("watching.py", WATCHING)
    project.environment |= {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    project.environment |= {"GITHUB_WORKSPACE": str(project.folder), "PYTHONPATH": str(project.folder)}
    gated = Gated(project)
    gated.commit()
    done = project.run(*ONNX, "-p", "watching", "--prefer", "memory_peak_mib", "--within", "7")
    assert done.status == 1
    assert done.check("latency_p99_ms")["verdict"] == "FAIL"
    assert "tiny.py: limits" in done.check("latency_p99_ms")["reason"]
    assert done.evidence["verdict"] == "FAIL"
    assert "verdict: FAIL" in done.output
    (decision,) = done.evidence["decision"]
    assert (decision["taken"], decision["prefer"], decision["within_percent"]) == (None, ["memory_peak_mib"], 7)
    assert "imported: []" in done.output
    assert "report: build/hil/report.html" in done.output
    assert "tiny on local" in (done.folder / "build/hil/report.html").read_text()
    assert summary.read_text().startswith("## tiny on local: deploy none")
    line = next(number for number, text in enumerate(model.split("\n"), 1) if "latency_p99_ms" in text)
    (command,) = [text for text in done.output.splitlines() if text.startswith("::")]
    assert command.startswith(f"::error file=tiny.py,line={line},title=tiny on local%2C onnxruntime%3A FAIL::")
    reasons = gated.refused(gated.policy("local"))
    assert "the decision takes no backend of tiny on local: onnxruntime: latency_p99_ms" in reasons
    reasons = gated.refused(gated.policy("local", backend="onnxruntime"))
    assert "tiny/local/onnxruntime: latency_p99_ms is FAIL" in reasons


@pytest.mark.parametrize(
    ("options", "status"),
    [
        pytest.param((), 1, id="fails"),
        pytest.param(("--allow-inconclusive", "-k", "p99"), 0, id="is skipped where allowed"),
    ],
)
def test_too_few_samples_in_the_time_are_inconclusive(project: Project, options: tuple[str, ...], status: int) -> None:
    project.write("tiny.py", with_limits('{"latency_p99_ms": 1000}'))
    done = project.run(*ONNX, "--time-limit", "0.5", *options)
    assert done.status == status, done.output
    check = done.check("latency_p99_ms")
    assert check["verdict"] == "INCONCLUSIVE"
    assert check["blocks"] < 515
    assert "--time-limit" in check["reason"]
    assert done.evidence["verdict"] == "INCONCLUSIVE"


def test_only_what_was_selected_counts(project: Project) -> None:
    done = project.run(*ONNX, "-k", "artifact")
    assert done.status == 0, done.output
    assert [check["metric"] for check in done.evidence["cells"][0]["checks"]] == ["artifact_mib"]
    assert done.evidence["verdict"] == "MEASURED"


def test_a_requested_cell_in_which_no_test_ran_is_an_error(project: Project) -> None:
    project.write("test_other.py", "import pytest\n@pytest.mark.hil\ndef test_nothing(): pass\n")
    done = project.run(*ONNX, suite=project.folder)
    assert done.status == 1, done.output
    assert done.evidence["verdict"] == "FAIL"
    assert "nothing was measured" in done.evidence["cells"][0]["error"]


def test_a_limit_that_no_test_checked_is_inconclusive(project: Project) -> None:
    project.write("tiny.py", with_limits('{"latency_p50_ms": 1000}'))
    done = project.run(*ONNX, "--benchmark-skip")
    assert done.status == 1, done.output
    assert done.check("latency_p50_ms")["verdict"] == "INCONCLUSIVE"
    assert done.evidence["verdict"] == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("conftest", "verdict", "status"),
    [
        pytest.param(
            "item.add_marker(pytest.mark.xfail(run=True)) if 'p99' in item.name else None", "FAIL", 1, id="an xfail"
        ),
        pytest.param(
            "item.add_marker(pytest.mark.skip) if 'p99' in item.name else None", "INCONCLUSIVE", 1, id="a skip"
        ),
    ],
)
def test_the_evidence_decides_whatever_makes_pytest_content(
    project: Project, conftest: str, verdict: str, status: int
) -> None:
    project.write("tiny.py", with_limits('{"latency_p99_ms": 0.000001}'))
    hook = f"import pytest\ndef pytest_collection_modifyitems(items):\n    for item in items:\n        {conftest}\n"
    project.write("content.py", hook)
    project.environment["PYTHONPATH"] = str(project.folder)
    done = project.run(*ONNX, "-p", "content", "-k", "p99 or artifact")
    assert (done.status, done.evidence["verdict"]) == (status, verdict), done.output


def test_an_interrupted_run_is_inconclusive(project: Project) -> None:
    hook = "import pytest\ndef pytest_runtest_setup(item):\n    if 'p99' in item.name: raise KeyboardInterrupt\n"
    project.write("interrupted.py", hook)
    project.environment["PYTHONPATH"] = str(project.folder)
    secrets = Secrets.in_environment(project)
    sign = ("--sign", "HILGATE_SIGNING_KEY")
    done = project.run("--backend", "torchscript", *ONNX, "-p", "interrupted", "-k", "p50 or p99", *sign)
    assert (done.status, done.evidence["verdict"]) == (2, "INCONCLUSIVE"), done.output
    assert secrets.check(done)["result"] == "FAILED"
    assert "test_latency_p99" in " ".join(done.evidence["cells"][0]["unfinished"])
    reached, unreached = done.evidence["cells"]
    assert (unreached["artifact"], len(unreached["model_sha256"])) == (None, 64)
    assert unreached["model_sha256"] == reached["model_sha256"]
    assert "report: left out, for the run was interrupted" in done.output
    assert not (project.folder / "build/hil/report.html").exists()


def test_a_users_own_fixture_called_cell_is_left_alone(project: Project) -> None:
    project.write(
        "test_own.py",
        """
        import pytest

        @pytest.fixture
        def cell():
            return "battery"

        def test_own(cell):
            assert cell == "battery"

        @pytest.mark.parametrize("cell", [1, 2])
        def test_parametrized(cell):
            assert cell
        """,
    )
    done = project.run_pytest("-c", "pytest.ini", "test_own.py")
    assert done.status == 0, done.output
    assert "3 passed" in done.output
    assert not (project.folder / "build").exists()


def test_a_wrong_answer_fails_parity_with_a_replay_and_comes_first_in_the_next_run(project: Project) -> None:
    branch = "return x @ self.weight if x.sum() > 0 else x.abs() @ self.weight"
    project.write("tiny.py", MODEL.replace("return torch.relu(x @ self.weight)", branch))
    done = project.run(*ONNX, "-k", "parity")
    assert done.status == 1, done.output
    check = done.check("parity")
    assert (check["verdict"], check["limit"]) == ("FAIL", 30)
    assert (check["location"]["module"], check["location"]["fault"]) == ("", "exporter")
    assert "first wrong at the model itself, node" in check["reason"]
    replayed = project.run_command([sys.executable, str(done.folder / "build/hil" / check["replay"] / "replay.py")])
    assert replayed.status == 1
    assert "the difference is still there" in replayed.output
    again = project.run(*ONNX, "-k", "parity").check("parity")
    assert (again["verdict"], again["known_counterexamples"]) == ("FAIL", 1)
    assert "known_counterexamples" not in check


def test_accuracy_is_measured_on_the_device_beside_eager(project: Project) -> None:
    samples = """
        samples=lambda: ({"x": torch.eye(4).numpy()[:3]}, torch.tensor([2, 2, 2]).numpy()),
        limits={"accuracy_min": 0.9},"""
    project.write("tiny.py", MODEL.replace('dims={"batch": (1, 4)},', 'dims={"batch": (1, 4)},' + samples))
    done = project.run(*ONNX, "-k", "accuracy")
    check = done.check("accuracy")
    assert check["value"] == check["eager"]
    assert check["verdict"] == ("PASS" if check["value"] >= 0.9 else "FAIL")
    assert check["samples"] == 3


def test_a_second_run_keeps_no_cells_of_the_first_and_finds_the_same_model(project: Project) -> None:
    first = check_hashes(project.run("-k", "artifact").folder)
    done = project.run(*ONNX, "-k", "artifact")
    assert check_hashes(done.folder) == first
    assert [cell["backend"] for cell in done.evidence["cells"]] == ["onnxruntime"]


def test_of_two_runs_at_once_in_one_folder_the_second_is_refused_and_the_first_unharmed(project: Project) -> None:
    hook = """
        import pathlib, time
        def pytest_runtest_setup(item):
            while not pathlib.Path("go").exists(): time.sleep(0.05)
    """
    project.write("waits.py", hook)
    project.environment["PYTHONPATH"] = str(project.folder)
    folder, go = project.folder / "build/hil", project.folder / "go"
    with project.start(*ONNX, "-k", "artifact", "-p", "waits") as first:
        try:
            wait_for(lambda: (folder / "evidence.json").exists() or None)
            second = project.run("--backend", "torchscript")
            assert not (folder / "junit.xml").exists()
        finally:
            go.touch()
        output, _ = first.communicate(timeout=60)
    assert second.status == 4, second.output
    assert f"pid {first.pid}, on local, started 20" in second.output
    assert "--evidence build/hil-local" in second.output
    assert first.returncode == 0, output
    assert [cell["backend"] for cell in second.evidence["cells"]] == ["onnxruntime"]
    assert second.evidence["verdict"] == "MEASURED"
    assert sorted(path.name for path in folder.iterdir()) == [".gitignore", "evidence.json", "junit.xml", "report.html"]


def test_a_model_elsewhere_may_be_named_by_its_path(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "far.py"
    elsewhere.write_text(project.write("tiny.py", MODEL).read_text())
    (elsewhere.parent / "pytest.ini").write_text("[pytest]\nhil_device = none_of_ours\n")
    suite = [str(SUITE), "-m", "hil", "-p", "no:cacheprovider"]
    done = project.run_pytest(*suite, *ONNX, "-k", "artifact", "--model", str(elsewhere))
    assert done.status == 0, done.output
    assert done.evidence["cells"][0]["model"] == "far"
    assert done.evidence["files"][0]["path"] == f"../{elsewhere.parent.name}/far.py"
    check_hashes(done.folder)
