"""pytest's root and settings are those of the folder where it was started, however options are written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .conftest import Project

OWN = "import pytest\n\n@pytest.mark.hil\ndef test_own(cell): pass\n"
COLLECT = ("-m", "hil", "--collect-only", "-p", "no:cacheprovider")


@pytest.fixture
def elsewhere(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another project, whose settings would break the run, with a model file."""
    project.write("test_own.py", OWN)
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n", encoding="ascii")
    (folder / "far.py").write_text((project.folder / "tiny.py").read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def test_values_may_be_words_of_their_own_wherever_their_paths_lead(project: Project, elsewhere: Path) -> None:
    """Those of the command line and those of the variable; a folder may have the name of a device."""
    project.environment["PYTEST_ADDOPTS"] = f"--backend onnxruntime --evidence '{elsewhere}'"
    (project.folder / "local").symlink_to(elsewhere)
    words = ["--device", "local", "--model", str(elsewhere / "far.py")]
    done = project.run_command([sys.executable, "-m", "pytest", *COLLECT, *words])
    assert done.status == 0, done.output
    assert f"rootdir: {project.folder}\nconfigfile: pytest.ini" in done.output
    assert "test_own[far-local-onnxruntime]" in done.output


def test_where_pytest_is_no_program_of_its_own_it_says_how_to_write_it(project: Project, elsewhere: Path) -> None:
    words = [*COLLECT, "--model", str(elsewhere / "far.py")]
    done = project.run_command([sys.executable, "-c", f"import pytest, sys; sys.exit(pytest.main({words!r}))"])
    assert done.status == 4, done.output
    assert f"Write them as one word: --model={elsewhere}/far.py" in done.output


@pytest.mark.parametrize("asked", [(), ("--log-cli-level=INFO",), ("--log-cli-level=WARNING",)])
def test_a_progress_line_is_printed_once_by_hilgate_or_by_pytest(project: Project, asked: tuple[str, ...]) -> None:
    project.write("test_own.py", OWN)
    project.write(
        "conftest.py",
        """
        from harness.host.progress_log import progress_logger

        def pytest_collection_finish():
            progress_logger("harness.somewhere").info("fetching torch")
            progress_logger("harness.somewhere").warning("an instruction is missing")
        """,
    )
    done = project.run_pytest(*COLLECT, "--model=tiny.py", *asked)
    assert done.status == 0, done.output
    assert (done.output.count("fetching torch"), done.output.count("an instruction is missing")) == (1, 1), done.output
