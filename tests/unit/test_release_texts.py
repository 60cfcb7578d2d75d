"""The texts of a release: env, sourced by several shells; README and the unit, whatever the names in them are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.release.parts import collect
from harness.release.texts import inferences, make_env, make_readme, make_run, make_unit
from tests.support.small_bundle import KINDS, SmallBundle

SHELLS = ["dash", "bash", "busybox"]
PATH = "/usr/bin:/bin"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILGATE_CACHE", str(tmp_path / "cache"))


def sourced(shell: str, script: str, **environment: str) -> tuple[int, dict[str, str], str]:
    """Run a script in a shell; return its status, the environment that it shows in the end, and stderr."""
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed")
    command = [program, *(["sh"] if shell == "busybox" else []), "-euc", f"{script}\nenv"]
    done = subprocess.run(
        command, env={"PATH": PATH, **environment}, capture_output=True, text=True, check=False, cwd="/"
    )
    return done.returncode, dict(line.split("=", 1) for line in done.stdout.splitlines()), done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_env_gives_paths_with_links_resolved(tmp_path: Path, shell: str) -> None:
    release = SmallBundle(tmp_path, "shipped").lay_out().folder
    (tmp_path / "the current").symlink_to(release.name)
    status, found, errors = sourced(shell, '. "$HILGATE_RELEASE/env"', HILGATE_RELEASE=str(tmp_path / "the current"))
    assert (status, errors) == (0, "")
    assert {name: found[name] for name in found if name.startswith(("HILGATE", "PYTHON", "OMP"))} == {
        "HILGATE_RELEASE": str(release),
        "HILGATE_ARTIFACT": f"{release}/artifact/model.onnx",
        "HILGATE_BACKEND": "onnxruntime",
        "HILGATE_THREADS": "2",
        "HILGATE_INTEROP_THREADS": "1",
        "HILGATE_FLUSH_DENORMALS": "0",
        "OMP_NUM_THREADS": "2",
        "PYTHONPATH": f"{release}/runtime",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.mark.parametrize(
    ("kind", "library"),
    [
        ("native", "{}/runtime/onnxruntime/capi/libonnxruntime.so.1.2.3"),
        ("native-installed", "/opt/a $b/libonnxruntime.so.1.2.3"),
    ],
)
def test_env_of_a_runner_names_its_library(tmp_path: Path, kind: str, library: str) -> None:
    release = SmallBundle(tmp_path, kind).lay_out().folder
    _, found, _ = sourced("dash", '. "$HILGATE_RELEASE/env"', HILGATE_RELEASE=str(release))
    assert found["HILGATE_LIBRARY"] == library.format(release)
    assert Path(found["HILGATE_RUNNER"]).read_bytes() == (release / "runtime/hilgate/runner").read_bytes()
    assert Path(found["HILGATE_ENGINE"]).is_file()
    assert not {"LD_LIBRARY_PATH", "PYTHONPATH"} & set(found)


def test_what_was_in_pythonpath_comes_after(tmp_path: Path) -> None:
    release = SmallBundle(tmp_path, "shipped").lay_out().folder
    _, found, _ = sourced("dash", '. "$HILGATE_RELEASE/env"', HILGATE_RELEASE=str(release), PYTHONPATH="/mine")
    assert found["PYTHONPATH"] == f"{release}/runtime:/mine"


def test_an_installed_runtime_leaves_pythonpath_alone(tmp_path: Path) -> None:
    release = SmallBundle(tmp_path, "installed").lay_out().folder
    _, found, _ = sourced("dash", '. "$HILGATE_RELEASE/env"', HILGATE_RELEASE=str(release), PYTHONPATH="/mine")
    assert found["PYTHONPATH"] == "/mine"


@pytest.mark.parametrize("script", [". net-v2.1/env", "cd net-v2.1; . ./env", "PATH=$PWD/net-v2.1:$PATH; . env"])
def test_bash_knows_where_the_file_is(tmp_path: Path, script: str) -> None:
    """Whatever HILGATE_RELEASE was before."""
    release = SmallBundle(tmp_path).lay_out().folder
    status, found, errors = sourced("bash", f'cd "{tmp_path}"; {script}', HILGATE_RELEASE="/elsewhere")
    assert (status, errors) == (0, "")
    assert found["HILGATE_RELEASE"] == str(release)


@pytest.mark.parametrize("named", ["nothing", "nowhere", "another", "older"])
def test_another_folder_is_refused(tmp_path: Path, named: str) -> None:
    """A variable that is left of another release must not lead a program to that one."""
    release = SmallBundle(tmp_path).lay_out().folder
    other = SmallBundle(tmp_path / "other").lay_out(created="2025-01-01T00:00:00+00:00").folder
    place = {"nothing": "", "nowhere": "/no/where", "another": str(tmp_path), "older": str(other)}[named]
    script = f'. "{release}/env" || echo REFUSED=yes'
    status, found, errors = sourced("dash", script, **({"HILGATE_RELEASE": place} if place else {}))
    assert (status, found.get("REFUSED")) == (0, "yes")
    assert "HILGATE_RELEASE must be its folder" in errors
    assert not {"HILGATE_RELEASE", "HILGATE_ARTIFACT"} & set(found)


@pytest.mark.parametrize("kind", KINDS)
def test_no_placeholder_is_left(tmp_path: Path, kind: str) -> None:
    folder = SmallBundle(tmp_path, kind).lay_out().folder
    for name in ("run", "env", "README.md", "net-v2.1.service"):
        assert not re.search(r"@[A-Z_]+@", (folder / name).read_text())


HOSTILE = "x'; touch hilgate-was-here; `id` $(id) @NAME@ %h | \\ \x1b[2J\n[Service]\nExecStart=/bin/true\n"


def test_what_others_say_is_quoted_where_it_is_put(tmp_path: Path) -> None:
    bundle = SmallBundle(tmp_path, "installed")
    cell = bundle.cell()
    parts = collect(bundle.evidence, cell)
    names = dict.fromkeys(("model", "device", "backend", "created", "commit", "python", "revision"), HOSTILE)
    facts = bundle.facts(**names, devices=(HOSTILE,), same={"board": HOSTILE}, key_fingerprints=(HOSTILE,))
    assert cell.load is not None
    load = cell.load.model_copy(update={"artifact": HOSTILE, "library": HOSTILE})
    for name, text in (("run", make_run(facts, parts, load)), ("env", make_env(facts, parts, load))):
        (tmp_path / name).write_text(text)
    assert "\nExecStart=/bin/true" not in make_unit(facts)
    assert "\x1b" not in make_unit(facts) + make_readme(facts, parts)
    assert "%h |" not in make_unit(facts).replace("%%h", "")
    assert "\n[Service]\nExecStart=/bin/true" not in make_readme(facts, parts)
    script = '. ./env; printf "%s" "$HILGATE_ARTIFACT"'
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/{HOSTILE}"
    done = subprocess.run(["sh", "run", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "hilgate-was-here").exists()


def test_readme_shows_commands_that_a_shell_reads(tmp_path: Path) -> None:
    folder = SmallBundle(tmp_path).lay_out().folder
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", (folder / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 6
    for block in blocks:
        subprocess.run(["dash", "-n"], input=block, text=True, check=True)
    assert blocks[0] == "net-v2.1/run --check\n"
    done = subprocess.run(["sh", "-c", blocks[0]], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "check: PASS")


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if (program := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not installed")
    folder = SmallBundle(tmp_path).lay_out(model="a 100% model").folder
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    unit = folder / "net-v2.1.service"
    done = subprocess.run(
        [program, "verify", "--user", str(unit)], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, unit.name in done.stderr) == (0, False), done.stderr
    text = unit.read_text()
    assert "Description=net-v2.1: a 100%% model with onnxruntime-cpp" in text
    assert '"HILGATE_RELEASE=%h/release/net-v2.1/current"' in text


def test_the_units_command_checks_before_it_starts_the_program(tmp_path: Path) -> None:
    release = SmallBundle(tmp_path).lay_out().folder
    (command,) = re.findall(r"^ExecStart=/bin/sh -c '(.*)'$", (release / "net-v2.1.service").read_text(), re.MULTILINE)
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "program with $HILGATE_ARTIFACT"\n')
    program.chmod(0o755)
    environment = {"PATH": PATH, "HILGATE_RELEASE": str(release), "HILGATE_PROGRAM": str(program)}

    def start() -> list[str]:
        script = command.replace("$$", "$")
        done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
        return done.stdout.splitlines()

    assert start()[-1] == f"program with {release}/artifact/model.onnx"
    (release / "more").write_text("")
    assert start()[-1].startswith("check: FAIL: a file that SHA256SUMS does not list")


@pytest.mark.parametrize(
    ("p50_ms", "count"),
    [(None, 100), (0.0, 100), (0.01, 20_000), (1.25, 800), (10.0, 100), (1e6, 100)],
)
def test_a_fast_model_is_timed_for_a_second(p50_ms: float | None, count: int) -> None:
    """A hundred inferences of 0.03 ms are over while another process has the processor for once."""
    assert inferences(p50_ms) == count
