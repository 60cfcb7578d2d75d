"""Whatever is wrong with what the user gives ends in a clear error and an exit status that is not 0."""

from __future__ import annotations

import platform
import shutil

import pytest

from tests.support.namespaces import require_namespaces

from .conftest import MODEL, Project

ONNX = ("--backend", "onnxruntime")
FORWARD = "return torch.relu(x @ self.weight)"
DEVICE = """
    [device]
    description = "here"
    link = "local"
    backends = ["onnxruntime"]
"""


@pytest.mark.parametrize(
    ("files", "arguments", "said"),
    [
        pytest.param({}, ("--model", "none.py"), ["no such model file", "none.py"], id="no such model file"),
        pytest.param({"tiny.py": "x = 1\n"}, (), ["no usable `model`", "tiny.py"], id="no model in it"),
        pytest.param({"tiny.py": "1 / 0\n"}, (), ["ZeroDivisionError", "tiny.py"], id="a model file that raises"),
        pytest.param(
            {"tiny.py": MODEL.replace("dims={", "limits={'latency_p98_ms': 1}, dims={")},
            (),
            ["unknown limit 'latency_p98_ms'", "latency_p99_ms"],
            id="unknown limit",
        ),
        pytest.param({}, ("--device", "locla"), ["no device 'locla'", "local"], id="no such device"),
        pytest.param({"devices/d.toml": "[device\n"}, ("--device", "d"), ["d.toml", "TOML"], id="malformed TOML"),
        pytest.param(
            {"devices/d.toml": DEVICE + "    treads = 2\n"},
            ("--device", "d"),
            ["device.treads", "did you mean 'threads'"],
            id="unknown key",
        ),
        pytest.param(
            {"devices/d.toml": 'extends = "e"\n', "devices/e.toml": 'extends = "d"\n'},
            ("--device", "d"),
            ["d -> e -> d"],
            id="a circle of extends",
        ),
        pytest.param(
            {"devices/d.toml": DEVICE.replace('"onnxruntime"', '"onnxruntim"')},
            ("--device", "d"),
            ["no such backend", "d.toml: device.backends", "did you mean 'onnxruntime'?"],
            id="a backend that does not exist",
        ),
        pytest.param(
            {"devices/d.toml": DEVICE + "    [limits.onnxruntme]\n    memory_peak_mib = 1\n"},
            ("--device", "d"),
            ["no such backend", "d.toml: limits.onnxruntme", "did you mean 'onnxruntime'?"],
            id="limits of a backend that does not exist",
        ),
        pytest.param({}, ("--backend", "tflite"), ["no such backend", "onnxruntime"], id="no such --backend"),
        pytest.param(
            {"devices/d.toml": DEVICE + '    [options.onnxruntime]\n    provider = ["CPUExecutionProvider"]\n'},
            ("--device", "d"),
            ["unknown option 'provider'", "providers"],
            id="unknown option of a backend",
        ),
        pytest.param({}, ("--time-limit", "0"), ["--time-limit"], id="no time at all"),
        pytest.param(
            {"devices/d.toml": DEVICE + "    [measure]\n    block_ms = 9000\n"},
            ("--device", "d", "--time-limit", "8"),
            ["a block of time is longer than the time limit", "block_ms = 9000", "d.toml: measure.block_ms"],
            id="a block longer than the time",
        ),
        pytest.param({}, ("--time-limit", "inf"), ["--time-limit"], id="all the time there is"),
        pytest.param({}, ("--hypothesis-seed", "random"), ["--hypothesis-seed"], id="a seed that is no number"),
        pytest.param(
            {"tiny.py": MODEL.replace("dims={", "limits={'accuracy_min': 0.9}, dims={")},
            (),
            ["accuracy_min without samples"],
            id="a limit that nothing could break",
        ),
        pytest.param(
            {"devices/d.toml": DEVICE + '    [options.onnxruntime]\n    providers = "CPUExecutionProvider"\n'},
            ("--device", "d"),
            ["option 'providers'", "execution providers in order"],
            id="an option of the wrong kind",
        ),
    ],
)
def test_what_cannot_be_planned_is_a_usage_error(
    project: Project, files: dict[str, str], arguments: tuple[str, ...], said: list[str]
) -> None:
    for path, text in files.items():
        project.write(path, text)
    done = project.run(*arguments)
    assert done.status == 4, done.output
    for words in said:
        assert words in done.output
    assert "Traceback" not in done.output
    assert not (project.folder / "build").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # What else a build may be refused for: tests/unit/test_refused_builds.py.
        pytest.param("build=lambda: Net().eval()", "build=lambda: 1 / 0", "build() raised", id="build raises"),
        pytest.param(
            FORWARD,
            "return torch.linalg.eigvals(x.T @ x).abs()",
            "cannot be exported as onnx",
            id="both exporters refuse",
        ),
    ],
)
def test_a_model_that_cannot_be_deployed_fails_its_cell(project: Project, old: str, new: str, said: str) -> None:
    assert old in MODEL
    project.write("tiny.py", MODEL.replace(old, new))
    done = project.run(*ONNX)
    assert done.status == 1, done.output
    (cell,) = done.evidence["cells"]
    assert cell["verdict"] == "FAIL"
    assert said in cell["error"]
    assert said in done.output
    assert "tiny.py" in done.output
    assert "Traceback" not in done.output


def test_a_backend_that_cannot_run_there_fails_its_cell(project: Project) -> None:
    """A provider that falls back to the CPU, and one that takes no node."""
    for name, providers in (
        ("cuda", '["CUDAExecutionProvider", "CPUExecutionProvider"]'),
        ("azure", '["AzureExecutionProvider"]'),
    ):
        project.write(f"devices/{name}.toml", DEVICE + f"    [options.onnxruntime]\n    providers = {providers}\n")
    done = project.run("--device", "cuda", "--device", "azure")
    assert done.status == 1, done.output
    assert [cell["verdict"] for cell in done.evidence["cells"]] == ["FAIL", "FAIL"]
    assert "CUDAExecutionProvider did not start" in done.evidence["cells"][0]["error"]
    assert "AzureExecutionProvider" in done.evidence["cells"][1]["error"]
    assert "CUDAExecutionProvider did not start" in done.output


UNUSABLE = {
    "another_board": (DEVICE + '    arch = "aarch64"\n', ["not what the file", "aarch64"]),
    "no_environment": (DEVICE + '    [runtime]\n    environment = "/nowhere"\n', ["no /nowhere/bin/python"]),
    "another_python": (DEVICE + '    [runtime]\n    python = "3.2"\n', ["python 3.2"]),
    "no_such_link": (DEVICE.replace("local", "carrier_pigeon"), ["no link 'carrier_pigeon'", "local"]),
}


def test_a_device_that_cannot_be_used_is_said_once_and_is_no_fault_of_the_models(project: Project) -> None:
    """In one run of all of them: each is said once, and none keeps another from being tried."""
    for name, (text, _) in UNUSABLE.items():
        project.write(f"devices/{name}.toml", text.replace('["onnxruntime"]', '["torchscript", "onnxruntime"]'))
    named = [word for name in UNUSABLE for word in ("--device", name)]
    done = project.run(*named, "--allow-inconclusive")
    assert done.status == 1, done.output
    assert done.evidence["verdict"] == "INCONCLUSIVE"
    assert [cell["device"] for cell in done.evidence["cells"][::2]] == [*UNUSABLE]
    for cell in done.evidence["cells"]:
        assert (cell["verdict"], cell["checks"], cell["unfinished"]) == ("INCONCLUSIVE", [], [])
        assert cell["error"].startswith("nothing was measured: ")
        assert all(words in cell["error"] for words in UNUSABLE[cell["device"]][1])
    assert done.output.count("  wanted:") == len(UNUSABLE)
    assert f"{len(UNUSABLE)} errors" in done.output.splitlines()[-1]
    assert "short test summary info" not in done.output  # which would repeat it
    assert "deselected" in done.output.splitlines()[-1]  # the other tests were not tried
    assert "skipped" not in done.output.splitlines()[-1]
    assert done.output.count("device (torchscript, onnxruntime): nothing was measured: ") == len(UNUSABLE)


def test_beside_a_device_that_cannot_be_used_the_others_are_measured(project: Project) -> None:
    project.write("devices/d.toml", DEVICE + '    arch = "aarch64"\n')
    done = project.run("--device", "d", "--device", "local", *ONNX, "-k", "artifact or memory_peak")
    assert done.status == 1, done.output
    found = {cell["device"]: cell["verdict"] for cell in done.evidence["cells"]}
    assert (found, done.evidence["verdict"]) == ({"d": "INCONCLUSIVE", "local": "MEASURED"}, "INCONCLUSIVE")
    assert len(done.evidence["cells"][1]["checks"]) == 2


def test_what_earlier_tests_set_up_is_ended_in_a_test_that_is_left_out_and_its_error_is_shown(project: Project) -> None:
    """It is no fault of the model in whose cell it comes to light."""
    project.write("devices/d.toml", DEVICE + '    arch = "aarch64"\n')
    project.write(
        "raising.py",
        """
        import pytest

        @pytest.fixture(scope="session", autouse=True)
        def ended_badly():
            yield
            raise RuntimeError("the robot's arm is stuck")
        """,
    )
    project.environment["PYTHONPATH"] = str(project.folder)
    done = project.run("-p", "raising", "--device", "local", "--device", "d", *ONNX, "-k", "artifact or memory_peak")
    assert done.status == 1, done.output
    assert "RuntimeError: the robot's arm is stuck" in done.output
    found = {cell["device"]: cell["verdict"] for cell in done.evidence["cells"]}
    assert (found, done.evidence["verdict"]) == ({"local": "MEASURED", "d": "INCONCLUSIVE"}, "INCONCLUSIVE")


def test_a_backend_that_is_not_installed_there_fails_its_cell(project: Project) -> None:
    environment = project.folder / "bare"
    done = project.run_command([shutil.which("python3") or "python3", "-m", "venv", "--without-pip", str(environment)])
    assert done.status == 0, done.output
    project.write("devices/d.toml", DEVICE + f'    [runtime]\n    environment = "{environment}"\n')
    done = project.run("--device", "d")
    assert done.status == 1
    assert "not installed: onnxruntime (or onnxruntime-gpu), numpy" in done.evidence["cells"][0]["error"]


def test_without_a_compiler_a_native_cell_says_so_and_the_others_go_on(project: Project) -> None:
    variable = f"HILGATE_CXX_{platform.machine().upper()}"
    project.environment[variable] = "no-such-compiler"
    done = project.run("--backend", "libtorch", "--backend", "onnxruntime", "-k", "memory_peak")
    assert done.status == 1, done.output
    native, python = done.evidence["cells"]
    assert (native["verdict"], python["verdict"]) == ("FAIL", "MEASURED")
    assert all(word in native["error"] for word in ("no-such-compiler", "no program on the PATH", variable))


@pytest.mark.parametrize("full", ["build", "cache"])
def test_a_full_disk_is_a_clear_error(project: Project, full: str) -> None:
    require_namespaces(user=True)
    (project.folder / full).mkdir()
    if full == "cache":
        project.environment["HILGATE_CACHE"] = str(project.folder / "cache")
    # A file system of 8 KiB of our own, in a mount namespace that ends with the run.
    mount = f'mount -t tmpfs -o size=8k,mode=0700 none "{project.folder / full}" && exec "$@"'
    done = project.run(*ONNX, prefix=["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"])
    assert done.status not in (0, 5), done.output
    assert "a file cannot be written" in done.output
    assert "No space left on device" in done.output
    assert "INTERNALERROR" not in done.output


def test_workers_that_would_measure_each_other_are_refused(project: Project) -> None:
    done = project.run("-n", "2")  # pytest-xdist's
    assert done.status == 4
    assert "does not take -n" in done.output
