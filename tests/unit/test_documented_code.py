"""All code of README.md and docs/ is run or checked: a block that no test knows fails here.

Python is run here, in tests/unit/test_scores.py, and in tests/integration/test_documented_projects.py; C++ in
tests/integration/test_runner_examples.py. Commands are not run, but each must exist and take its options.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch

import harness
from harness import Input, Model
from harness.backends import backend_names, load_backend
from harness.cli import cli
from harness.device import load_device
from harness.endpoint import Calls, named_endpoint
from harness.endpoint.tables import KEYS
from harness.host.shipped import DEVICES
from harness.measure import known_metrics
from harness.model.build import build_model
from harness.model.model_file import load_model
from harness.parity import PARITY
from harness.release.policy import load_policy
from harness.run.options import add_options
from tests.support.pages import DOCS, ROOT, Block, block, blocks, pages

METRICS = list(known_metrics().values())
# Where each block of Python is run.
PYTHON = {
    **{f"CONTRIBUTING.md python {number}": "tests/integration/test_adding.py" for number in range(1, 8)},
    "README.md python 1": "test_the_readmes_model_file_is_one",
    "docs/fixtures.md python 1": "tests/integration/test_documented_projects.py",
    "docs/inputs.md python 1": "test_ranges_that_depend_on_a_size_are_as_documented",
    "docs/inputs.md python 2": "test_the_documented_prepare_makes_inputs_valid",
    "docs/model-file.md python 1": "test_what_a_model_file_imports_is_all_that_is_public",
    "docs/scores.md python 1": "tests/unit/test_scores.py",
    "docs/scores.md python 2": "tests/unit/test_scores.py",
    "docs/tutorial.md python 1": "tests/integration/test_documented_projects.py",
}
CPP = {f"docs/your-program.md cpp {number}" for number in (1, 2, 3)}
# pytest's own options that the pages show, and those of its plugins.
OF_PYTEST = {"-m", "-k", "-x", "--pyargs", "--junitxml", "--hypothesis-seed", "--benchmark-json"}
# Programs whose commands are no business of this test: they are not the project's.
FOREIGN = {"git", "build/run_model", "cmake", "pip", "cd", "cat", "mkdir", "cp", "echo", "tar", "gh", "openssl", "."}
# What a release has in it.
FOREIGN |= {"./run", "digits/run"}


def test_every_block_of_code_is_run_by_a_test() -> None:
    assert {found.name for found in blocks("python")} == set(PYTHON)
    assert {found.name for found in blocks("cpp")} == CPP
    languages = {
        re.match(r"\w*", text[3:]) for path in pages() for text in re.findall(r"^```\w+$", path.read_text(), re.M)
    }
    names = {match.group() for match in languages if match}
    assert names <= {"console", "cpp", "ini", "python", "toml", "yaml"}


# Python


def test_the_readmes_model_file_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mynet.py").write_text(
        "import torch\n\n\nclass MyNet(torch.nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(torch.nn.Flatten(), torch.nn.Linear(3 * 224 * 224, 2))\n"
    )
    samples = "import numpy as np\n\ndef load_samples():\n    return {'image': np.zeros((2, 3, 224, 224))}, [0, 1]\n\n"
    (tmp_path / "model.py").write_text(samples + block("README.md", "python"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    from mynet import MyNet  # type: ignore[import-not-found]

    torch.save(MyNet().state_dict(), tmp_path / "mynet.pt")
    built = build_model(load_model(tmp_path / "model.py", METRICS))
    assert [item.name for item in built.model.inputs] == ["image"]
    assert list(built.model.dims["batch"]) == list(range(1, 9))


def test_what_a_model_file_imports_is_all_that_is_public() -> None:
    names: dict[str, Any] = {}
    exec(block("docs/model-file.md", "python"), names)  # noqa: S102  # our own page
    assert set(names) - {"__builtins__"} == set(harness.__all__) - {"__version__"}


def test_ranges_that_depend_on_a_size_are_as_documented() -> None:
    names: dict[str, Any] = {"Input": Input}
    exec(block("docs/inputs.md", "python", 1), names)  # noqa: S102
    model = Model(build=torch.nn.ReLU, inputs=names["inputs"], dims={"batch": (1, 2), "t": (1, 9)})
    assert [item.max_value for item in model.inputs] == [None, "t", "t - 1"]


def test_the_documented_prepare_makes_inputs_valid() -> None:
    names: dict[str, Any] = {"Input": Input, "Model": Model, "build": dict}
    exec(block("docs/inputs.md", "python", 2), names)  # noqa: S102
    rotation = np.array([[0, 0, 0, 0], [0, 3, 0, 4]], np.float32)
    made = names["model"].prepare({"mask": np.array([[False, False], [False, True]]), "rotation": rotation})
    assert made["mask"].tolist() == [[True, False], [False, True]]
    np.testing.assert_allclose(np.linalg.norm(made["rotation"], axis=1), 1)
    assert (made["rotation"].dtype, made["mask"].dtype) == (np.float32, np.bool_)


# TOML and INI


@pytest.mark.parametrize(
    ("page", "adds"),
    [
        ("docs/device-file.md", ""),
        ("docs/emulated.md", ""),
        ("docs/tutorial.md", ""),
        # The rest of that page's device is any board's.
        ("docs/runners.md", 'extends = "pi5"\n'),
    ],
)
def test_the_documented_device_files_load(tmp_path: Path, page: str, adds: str) -> None:
    for found in blocks("toml", page):
        (tmp_path / "documented.toml").write_text(adds + found.text, encoding="utf-8")
        device = load_device("documented", (tmp_path, DEVICES), METRICS)
        assert device.description


def test_the_documented_policies_load(tmp_path: Path) -> None:
    device, *policies = blocks("toml", "docs/release.md")
    (tmp_path / "desk.toml").write_text(device.text, encoding="utf-8")
    desk = load_device("desk", (tmp_path, DEVICES), METRICS)
    assert (desk.link, desk.backends) == ("local", ("torchscript", "onnxruntime"))
    (tmp_path / "keys").mkdir()
    for name in ("team", "rig"):
        (tmp_path / f"keys/{name}.pub").write_text("a key", encoding="utf-8")
    names = [metric.name for metric in METRICS] + [PARITY.name]
    for number, found in enumerate(policies):
        path = tmp_path / f"gate{number}.toml"
        path.write_text(found.text, encoding="utf-8")
        # The boards' own files are the reader's.
        policy = load_policy(path, devices=lambda _: desk, metrics=names, backends=backend_names())
        assert policy.release.name == "digits"
    assert len(policies) == 2


def test_the_documented_endpoint_is_called_by_the_documented_device(tmp_path: Path) -> None:
    endpoint, device, *others = blocks("toml", "docs/remote.md")
    (tmp_path / "laptop.toml").write_text(endpoint.text, encoding="utf-8")
    (tmp_path / "robot.toml").write_text(f'extends = "local"\n{device.text}', encoding="utf-8")
    robot = load_device("robot", (tmp_path, DEVICES), METRICS)
    options = robot.options["oip"]
    load_backend("oip").check_options(options, "robot.toml")
    assert named_endpoint("oip", options, (tmp_path,), "robot.toml").model == "digits"
    assert Calls.of_options(options).timeout_ms == 50
    (arm,) = (block for block in others if "region" in block.text)
    (tmp_path / "arm.toml").write_text(arm.text, encoding="utf-8")
    assert named_endpoint("sagemaker", {"endpoint": "arm"}, (tmp_path,), "robot.toml").endpoint_name == "arm-policy"


def test_every_key_of_an_endpoint_file_is_documented() -> None:
    page = (DOCS / "remote.md").read_text(encoding="utf-8")
    section = page.partition("| key |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z_.]+)` \|", section, re.MULTILINE)) == set(KEYS)


def test_the_documented_lock_entry_has_the_keys_of_one() -> None:
    (entry,) = tomllib.loads(block("docs/supply.md", "toml"))["package"]
    assert set(entry) == {"target", "name", "version", "file", "sha256"}


def test_every_block_of_settings_is_checked() -> None:
    known = {"CONTRIBUTING.md", "device-file.md", "emulated.md", "tutorial.md", "remote.md", "runners.md", "supply.md"}
    known |= {"release.md"}
    assert {found.page.removeprefix("docs/") for found in blocks("toml")} <= known


def test_the_documented_pytest_ini_has_settings_that_exist() -> None:
    parser = pytest.Parser(_ispytest=True)
    add_options(parser)
    for found in blocks("ini"):
        assert {line.split(" = ")[0] for line in found.text.splitlines()[1:]} <= set(parser._inidict)


# Commands


def documented_commands() -> list[tuple[str, str]]:
    """Return the pages' commands, each with the name of its block."""
    shown = [(found.name, command) for found in blocks("console") for command in found.commands]
    runs: list[Block] = blocks("yaml")
    jobs = [(found.name, line) for found in runs for line in re.findall(r"- run: (?:>\s+)?(.*)$", found.text, re.M)]
    alone = [
        (name, part.strip()) for name, command in shown + jobs for part in re.split(r" &&? ", command) if part.strip()
    ]
    return [(name, command) for name, command in alone if command != "wait"]


def hil_options() -> set[str]:
    """Return the options that hilgate adds to pytest."""
    parser = pytest.Parser(_ispytest=True)
    add_options(parser)
    return {name for option in parser.getgroup("hil").options for name in option.names()}


@pytest.mark.parametrize(
    ("name", "command"), [pytest.param(*found, id=" ".join(found)) for found in documented_commands()]
)
def test_a_documented_command_exists_and_takes_its_options(name: str, command: str) -> None:
    program, *words = shlex.split(command.removeprefix("sudo ").replace("…", "x"))
    program = program.removeprefix(".venv/bin/")
    if program == "python3" and words[:2] == ["-m", "venv"]:
        return
    if program == "hilgate":
        if words != ["verdict"]:  # that is the example of a plug-in's command
            parsed(cli, words)
    elif program == "pytest":
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert options <= OF_PYTEST | hil_options()
    elif program == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in words if "=" not in word} <= targets
    elif program == "apt-get":
        packages = set((ROOT / ".ci/packages").read_text().split())
        assert {word for word in words[1:] if not word.startswith("-")} <= packages
    else:
        assert program in FOREIGN, name


def parsed(group: click.Group, words: list[str]) -> None:
    """Parse a command line of hilgate's, without running it."""
    with click.Context(group) as context:
        name, command, rest = group.resolve_command(context, words)
        assert command is not None
        if isinstance(command, click.Group):
            parsed(command, rest)
        else:
            command.make_context(name, rest, parent=context)


def test_every_benchmark_that_a_page_names_exists() -> None:
    known = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    named = [re.findall(r"-m benchmarks --only (\w+)", path.read_text(encoding="utf-8")) for path in pages()]
    assert {name for names in named for name in names} <= known


# Pages


def headings(path: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    lines = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        page = (path.parent / file).resolve() if file else path
        assert page.exists(), target
        assert not anchor or anchor in headings(page), target


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_of_the_project_that_is_named_exists(path: Path) -> None:
    named = re.findall(r"`((?:harness|tests|benchmarks|examples|devices|fixtures)/[\w./-]+)`", path.read_text("utf-8"))
    # In a user's project, or in the wheel.
    examples = {"devices/known_hosts", "devices/rig.toml", "devices/robot.toml", "devices/desk.toml", "harness/suite"}
    examples.add("tests/test_memory_growth.py")
    missing = [name for name in named if not (ROOT / name).exists() and name not in examples and "NAME" not in name]
    assert [name for name in missing if not any(word in name for word in ("FORMAT", "ENGINE", "DEVICE"))] == []


def test_the_index_has_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in DOCS.glob("*.md") if path.name != "README.md" and f"({path.name}" not in index] == []
    decisions = (DOCS / "decisions/README.md").read_text(encoding="utf-8")
    assert [path.name for path in DOCS.glob("decisions/0*.md") if f"({path.name})" not in decisions] == []


def test_the_readme_is_short_and_its_code_fits_a_hundred_columns() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) < 900
    assert [line for code in text.split("```")[1::2] for line in code.splitlines() if len(line) > 100] == []
