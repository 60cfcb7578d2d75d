"""What CONTRIBUTING says about adding: one file of each kind in a project's folder, and nothing anywhere else."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from harness.backends import load_backend
from harness.cli import cli
from harness.cli.device_file import NEWER_PINS, backends_for
from harness.device.device import Device
from harness.errors import HilgateError, InputError
from harness.export import exporter_labels
from harness.host.plugins import PACKAGES, plugin_folder, use_plugins
from harness.host.shipped import room_sources
from harness.links import open_link
from harness.measure import known_metrics

from .conftest import Project

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
# A file in CONTRIBUTING: its path in bold, and below it its text.
FILE = re.compile(r"^\*\*`(?P<path>[\w./]+)`\*\*\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
CELL = "dense-desk-npz-numpy"


def examples() -> dict[str, str]:
    """Every file that CONTRIBUTING shows, by its path."""
    return {found["path"]: found["text"] for found in FILE.finditer(CONTRIBUTING.read_text(encoding="utf-8"))}


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[Path]:
    """A folder of plug-ins that this process uses, empty at first."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    restore = use_plugins(folder)
    yield folder
    restore()
    for name in [name for name, module in sys.modules.items() if str(folder) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]
    for package in filter(sys.modules.get, PACKAGES.values()):
        sys.modules[package].__path__[1:] = []


def test_a_project_adds_one_of_each_kind_as_the_files_that_contributing_shows(tmp_path: Path) -> None:
    project = Project(tmp_path)
    for path, text in examples().items():
        project.write(path, text)
    assert {path.split("/")[1] for path in examples() if path.startswith("plugins/")} == set(PACKAGES)

    done = project.run(str(tmp_path / "tests"))

    assert done.status == 0, done.output
    (cell,) = done.evidence["cells"]
    assert (cell["device"], cell["backend"], cell["verdict"]) == ("desk", "npz-numpy", "PASS")
    assert (cell["artifact"]["exporter"], cell["fingerprint"]["runtime"].keys()) == ("numpy.savez", {"numpy"})
    assert done.check("parity")["verdict"] == "PASS"
    growth = done.check("memory_growth_mib")
    assert (growth["verdict"], growth["limit"], growth["samples"]) == ("PASS", 16, 100)
    assert 0 <= growth["value"] == growth["bound"] < 16
    assert re.search(r"memory_growth_mib.*PASS.*≤ 16", done.output)

    assert re.search(r"^desk +nice +npz-numpy +project +reachable$", project.hilgate("devices").output, re.M)
    said = project.hilgate("verdict")
    assert (said.status, said.output) == (0, "PASS\n")
    assert "verdict  Show the verdict of the last run." in project.hilgate("--help").output


class Kind(NamedTuple):
    """A kind of plug-in: how one is asked for, what a whole one has, and what is said of a name that it lacks."""

    folder: str
    example: str
    ask: Callable[[str], object]
    lacking: Mapping[str, str]


def _load_backend(name: str) -> object:
    return load_backend(name.replace("_", "-"))


def _open_link(name: str) -> object:
    device = Device(
        name="desk",
        path=Path("desk.toml"),
        description="",
        link=name,
        host=None,
        arch=None,
        cpu=None,
        memory_mib=None,
        backends=("npz-numpy",),
    )
    return open_link(device)


def _run_command(name: str) -> object:
    done = CliRunner().invoke(cli, [name, "--help"])
    if done.exit_code:
        raise InputError(done.output)
    return done


KINDS = [
    Kind("backends", "npz_numpy", _load_backend, dict.fromkeys(("ARTIFACT", "PACKAGES", "OPTIONS"), "= 1")),
    Kind("export", "npz", exporter_labels, dict.fromkeys(("FILE", "EXPORTERS", "opened", "read_interface"), "= 1")),
    Kind("links", "nice", _open_link, {"Link": "= 1"}),
    Kind("measure", "memory_growth", lambda name: known_metrics(), {"METRICS": "= (1,)"}),
    Kind("commands", "verdict", _run_command, {"command": "= 1"}),
]
EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids=[kind.folder for kind in KINDS])


def write(plugins: Path, kind: Kind, text: str, name: str = "") -> Path:
    """Write a plug-in of a kind."""
    path = plugins / kind.folder / f"{name or kind.example}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(kind: Kind, name: str = "") -> str:
    """What is said of a plug-in that cannot be used."""
    with pytest.raises(HilgateError) as caught:
        kind.ask(name or kind.example)
    return str(caught.value)


def whole(kind: Kind) -> str:
    """The text of a plug-in of a kind that can be used."""
    return examples()[f"plugins/{kind.folder}/{kind.example}.py"]


@EACH_KIND
def test_a_plug_in_that_cannot_be_imported_is_named(plugins: Path, kind: Kind) -> None:
    path = write(plugins, kind, "def broken(:\n")
    said = refusal(kind)
    assert f"{kind.example!r} cannot be imported" in said
    assert str(path) in said
    assert "SyntaxError" in said


@EACH_KIND
def test_a_plug_in_that_lacks_what_it_must_have_is_named_and_so_is_that(plugins: Path, kind: Kind) -> None:
    path = write(plugins, kind, '"""Nothing."""\n')
    said = refusal(kind)
    assert f"{kind.example!r} lacks what " in said
    assert str(path) in said
    assert all(name in said for name in kind.lacking)


@EACH_KIND
def test_what_is_of_a_wrong_type_is_named(plugins: Path, kind: Kind) -> None:
    wrong = "".join(f"{name} {value}\n" for name, value in kind.lacking.items())
    path = write(plugins, kind, f"{whole(kind)}\n{wrong}")
    said = refusal(kind)
    assert str(path) in said
    assert all(name in said for name in kind.lacking)
    assert "Traceback" not in said


def test_an_engine_that_lacks_methods_is_told_which(plugins: Path) -> None:
    (kind,) = (kind for kind in KINDS if kind.folder == "backends")
    path = write(plugins, kind, re.sub(r"def (profile|arrays)\b", r"def other_\1", whole(kind)))
    said = refusal(kind)
    assert "Engine: the class has no arrays, profile" in said
    assert str(path) in said


def test_a_backend_without_an_engine_or_with_one_that_is_no_class_is_told(plugins: Path) -> None:
    (kind,) = (kind for kind in KINDS if kind.folder == "backends")
    write(plugins, kind, whole(kind).replace("class Engine", "class Motor"))
    assert "Engine: it is not there" in refusal(kind)
    write(plugins, kind, f"{whole(kind)}\n\ndef Engine(): pass\n", "another")
    assert "and no class" in refusal(kind, "another")


@EACH_KIND
def test_a_plug_in_may_not_have_the_name_of_one_of_ours(plugins: Path, kind: Kind) -> None:
    ours = {"backends": "onnxruntime", "export": "onnx", "links": "local", "measure": "latency", "commands": "add"}
    path = write(plugins, kind, whole(kind), ours[kind.folder])
    said = refusal(kind, ours[kind.folder])
    assert "a plug-in has the name of a module of hilgate's" in said
    assert str(path) in said


def test_two_metrics_may_not_have_one_name(plugins: Path) -> None:
    (kind,) = (kind for kind in KINDS if kind.folder == "measure")
    path = write(plugins, kind, whole(kind).replace("memory_growth_mib", "load_time_s"), "another")
    with pytest.raises(InputError, match="two metrics have one name") as caught:
        known_metrics()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("where", ["", "backends", "backends/npz_numpy.py"])
def test_a_folder_into_which_others_may_write_is_refused(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "shared"
    (folder / "backends").mkdir(parents=True)
    (folder / "backends/npz_numpy.py").write_text(examples()["plugins/backends/npz_numpy.py"])
    (folder / where).chmod(0o777)
    with pytest.raises(InputError, match="other users may change what is in the folder of plug-ins"):
        use_plugins(folder)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda folder: None, "there is no folder of plug-ins", id="none"),
        pytest.param(lambda folder: (folder / "backend").mkdir(parents=True), "a folder of no kind", id="misspelt"),
        pytest.param(
            lambda folder: (folder.mkdir(), (folder / "links").symlink_to("/tmp")), "has a link in it", id="link"
        ),
    ],
)
def test_a_folder_of_plug_ins_that_is_none_is_refused(
    tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    make(tmp_path / "plug")
    with pytest.raises(InputError, match=said):
        use_plugins(tmp_path / "plug")


def test_a_file_that_python_cannot_import_by_its_name_is_refused(plugins: Path) -> None:
    write(plugins, KINDS[0], whole(KINDS[0]), "npz-numpy")
    with pytest.raises(InputError, match="no name that Python can import"):
        load_backend("npz-numpy")


def test_a_broken_plug_in_is_said_before_anything_is_started(tmp_path: Path) -> None:
    project = Project(tmp_path)
    for path, text in examples().items():
        project.write(path, text if "backends" not in path else 'ARTIFACT = "npz"\n')
    done = project.run(str(tmp_path / "tests"))
    assert done.status == 4, done.output
    assert "the backend 'npz_numpy' lacks what it must have" in done.output
    assert f"{tmp_path}/plugins/backends/npz_numpy.py" in done.output
    assert "Traceback" not in done.output


def test_a_process_that_is_started_finds_a_plug_in_by_its_name_alone(plugins: Path) -> None:
    (kind,) = (kind for kind in KINDS if kind.folder == "measure")
    write(plugins, kind, whole(kind))
    program = (
        "from harness.host.plugins import import_module; print(import_module('harness.measure.memory_growth').COUNT)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "100\n"


def test_an_export_depends_on_the_files_of_formats_that_are_plug_ins(plugins: Path) -> None:
    (kind,) = (kind for kind in KINDS if kind.folder == "export")
    path = write(plugins, kind, whole(kind))
    assert path in room_sources("export")
    assert path not in room_sources("model", "agent")


def test_hilgate_add_lists_a_backend_whose_packages_are_shipped(plugins: Path) -> None:
    before = backends_for(NEWER_PINS, native=True)
    write(plugins, KINDS[0], whole(KINDS[0]))
    assert backends_for(NEWER_PINS, native=True) == [*before, "npz-numpy"]
    write(plugins, KINDS[0], whole(KINDS[0]).replace('("numpy",)', '("not-shipped", "numpy")'), "another")
    assert backends_for(NEWER_PINS, native=True) == [*before, "npz-numpy"]


def test_the_test_of_a_metric_is_collected_in_a_run_that_is_none_of_hil_too(tmp_path: Path) -> None:
    project = Project(tmp_path)
    for path, text in examples().items():
        project.write(path, text)
    done = project.run_command([sys.executable, "-m", "pytest", "-c", "pytest.ini", "--collect-only", "-q", "tests"])
    assert done.status == 0, done.output
    assert "test_memory_growth" in done.output


def test_the_environments_folder_counts_more_than_the_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("project", "environment"):
        (tmp_path / name / "links").mkdir(parents=True)
    monkeypatch.setenv("HILGATE_PLUGINS", str(tmp_path / "environment"))
    restore = use_plugins(tmp_path / "project")
    assert plugin_folder("harness.links") == tmp_path / "environment/links"
    restore()
