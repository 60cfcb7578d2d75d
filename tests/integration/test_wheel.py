"""hilgate installed from its wheel, in another folder, with that folder's own model and device."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.pages import block

from .conftest import MODEL, Outcome, Project

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "harness/report/page/templates"


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command that must succeed; its output is what a failure shows."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    done = subprocess.run(
        command, check=False, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_wheel_in_a_fresh_environment_runs_the_suite_with_the_folders_own_model(project: Project) -> None:
    wheels, environment = project.folder / "wheels", project.folder / "environment"
    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(wheels), str(ROOT))
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:  # so that a user's own type checker believes the annotations (PEP 561)
        assert "harness/py.typed" in archive.namelist()
        templates = {f"harness/report/page/templates/{path.name}" for path in TEMPLATES.iterdir()}
        assert templates <= set(archive.namelist())
    run(sys.executable, "-m", "venv", str(environment))
    python = str(environment / "bin" / "python")
    constraints = ROOT / "constraints.txt"
    torch = next(line for line in constraints.read_text().splitlines() if line.startswith("torch=="))
    index = ["--index-url", url] if (url := os.environ.get("TORCH_INDEX_URL")) else []
    install = (python, "-m", "pip", "install", "--quiet", "--no-compile")  # but what is imported: a fraction
    run(*install, *index, torch)
    run(*install, "--constraint", str(constraints), str(wheel))
    project.write("mynet.py", MODEL)
    project.write(
        "devices/desk.toml",
        """
        extends = "local"
        [device]
        description = "this desk"
        backends = ["onnxruntime"]
        """,
    )
    command = [python, "-m", "pytest", "--pyargs", "harness.suite", "-m", "hil", "--device", "desk"]
    done = project.run_command([*command, "--model", "mynet.py"])
    assert done.status == 0, done.output
    evidence = Outcome(0, "", project.folder).evidence
    assert [(cell["model"], cell["device"], cell["backend"]) for cell in evidence["cells"]] == [
        ("mynet", "desk", "onnxruntime")
    ]
    assert evidence["verdict"] == "PASS"
    listed = project.run_command([python, "-m", "pytest", "--help"])
    assert "--device=NAME" in listed.output
    check_users_files(project, python)
    run_published_job(project, environment)


def check_users_files(project: Project, python: str) -> None:
    """Check that what the pages show to users passes mypy --strict against the installed package (issue 18)."""
    project.write("follower.py", block("docs/tutorial.md", "python"))
    project.write("test_growth.py", block("docs/fixtures.md", "python"))
    shutil.copy(ROOT / "examples/digits.py", project.folder)
    cache = project.folder / "mypy"
    options = ("--strict", "--python-executable", python, "--cache-dir", str(cache))
    run(sys.executable, "-m", "mypy", *options, "follower.py", "test_growth.py", "digits.py", cwd=project.folder)


def run_published_job(project: Project, environment: Path) -> None:
    """Run the CI job of tests/published as it is, on its model file; its board's name is here this machine's.

    An emulated board would take minutes, and the job would be no other.
    """
    published = ROOT / "tests/published"
    shutil.copy(published / "model.py", project.folder)
    for path in (ROOT / "examples").glob("digits[._]*[!y]"):
        shutil.copy(path, project.folder)
    local = (published / "devices/local.toml").read_text(encoding="utf-8")
    only = re.sub(r"^backends = .*$", 'backends = ["onnxruntime"]', local, flags=re.MULTILINE)
    short = "\n[measure]\nblock_ms = 1\n"  # its p99 takes 515 blocks on the noise, and as many on the samples
    project.write("devices/qemu-pi4.toml", re.sub(r"^optional = .*\n", "", only, flags=re.MULTILINE) + short)
    (project.folder / ".venv").symlink_to(environment)
    (command,) = re.findall(r"- run: (\.venv/bin/pytest .*)", (published / "job.yml").read_text(encoding="utf-8"))
    done = project.run_command(["bash", "-c", command])
    assert done.status == 0, done.output
    (cell,) = done.evidence["cells"]
    assert (cell["model"], cell["device"], cell["verdict"]) == ("model", "qemu-pi4", "PASS")
