"""The command `hilgate` itself: what it loads, where it looks, how it says what is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import cli
from harness.cli.doctor_check import FAILED, OK, Check, shown
from harness.cli.project import find_project
from harness.cli.text import say, size, table
from harness.host.shipped import DEVICES

COMMANDS = (
    "add",
    "clean",
    "devices",
    "doctor",
    "fault",
    "gate",
    "image",
    "key",
    "lock",
    "report",
    "schema",
    "serve",
    "trust",
    "verify",
)


def run(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(cli, list(arguments), input=text)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_names_every_command_and_loads_no_library() -> None:
    program = "import sys; from harness.cli import cli; cli(['--help'], standalone_mode=False); "
    program += "slow = {'torch', 'onnxruntime', 'fabric', 'paramiko', 'pytest', 'cryptography', 'securesystemslib'}; "
    program += "print(*(slow & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stderr.strip() == ""
    assert [line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line] == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    assert run(command, "--help").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["nonsense"], id="unknown command"),
        pytest.param(["add", "rig"], id="argument missing"),
        pytest.param(["trust", "rig", "--yes"], id="no blind yes"),
    ],
)
def test_wrong_usage_is_exit_status_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_an_error_of_ours_is_said_on_stderr_without_a_traceback(project: Path) -> None:
    result = run("doctor", "nobody")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("there is no device 'nobody'\n  wanted: ")
    assert "Traceback" not in result.stderr


def test_the_project_is_that_of_the_nearest_pytest_ini_above(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").touch()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_project(below, None).folder == tmp_path / "devices"
    assert find_project(below, None).folders[1] == DEVICES


def test_a_folder_of_devices_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").touch()
    assert find_project(tmp_path, Path("boards")).folder == tmp_path / "boards"
    assert find_project(tmp_path, Path("/boards")).folder == Path("/boards")


def test_without_a_pytest_ini_it_is_the_current_folder() -> None:
    assert find_project(Path("/proc/self"), None).folder == Path("/proc/self/devices")


@pytest.mark.parametrize("name", ["../escape", "-x", "a/b", "", "ä"])
def test_a_name_that_is_no_file_name_is_refused_before_anything_is_connected(project: Path, name: str) -> None:
    result = run("add", "--", name, "nowhere.invalid")
    assert result.exit_code == 1
    assert "this is not a device's name" in result.stderr


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "two words", ""])
def test_a_host_that_is_none_is_refused(project: Path, host: str) -> None:
    result = run("add", "rig", "--", host)
    assert result.exit_code == 1
    assert "this is not a host" in result.stderr


def test_an_existing_file_is_not_overwritten(project: Path) -> None:
    path = project / "devices" / "rig.toml"
    path.parent.mkdir()
    path.write_text("mine")
    result = run("add", "rig", "nowhere.invalid")
    assert result.exit_code == 1
    assert "--force" in result.stderr
    assert path.read_text() == "mine"


def test_a_board_that_is_not_there_leaves_nothing_behind(project: Path) -> None:
    result = run("add", "rig", "nowhere.invalid")
    assert result.exit_code == 1
    assert "does not resolve" in result.stderr
    assert not (project / "devices").exists()


def test_devices_without_a_probe_lists_the_projects_and_ours(project: Path) -> None:
    (project / "devices").mkdir()
    (project / "devices" / "mine.toml").write_text('extends = "pi4"\n[device]\nhost = "me@mine"\n')
    rows = [line.split() for line in run("devices", "--no-probe").stdout.splitlines()]
    backends = ["torchscript,", "libtorch,", "onnxruntime,", "onnxruntime-cpp"]
    assert ["mine", "ssh", "me@mine", *backends, "project"] in rows
    assert ["local", "local", *backends, "hilgate"] in rows


def test_a_wrong_device_file_is_a_row_with_its_error_below(project: Path) -> None:
    (project / "devices").mkdir()
    (project / "devices" / "bad.toml").write_text('[device]\nlinc = "ssh"\n')
    result = run("devices", "--no-probe")
    assert result.exit_code == 0
    table_text, _, below = result.stdout.partition("\n\n")
    assert any(line.startswith("bad ") and "the file is wrong" in line for line in table_text.splitlines())
    assert "unknown key 'device.linc'" in below


def test_trust_is_for_ssh_only(project: Path) -> None:
    result = run("trust", "local")
    assert result.exit_code == 1
    assert "local has no host key" in result.stderr


def test_doctor_skips_what_depends_on_what_failed(project: Path) -> None:
    (project / "devices").mkdir()
    (project / "devices" / "far.toml").write_text('extends = "pi4"\n[device]\nhost = "nowhere.invalid"\n')
    result = run("doctor", "far")
    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert lines[0].split()[:2] == ["✗", "name"]
    skipped = [line for line in lines if line.lstrip().startswith("–")]
    assert len(skipped) == 21
    assert all("skipped: name failed" in line for line in skipped)


def test_doctor_of_this_machine_needs_no_network(project: Path) -> None:
    result = run("doctor", "local")
    assert result.exit_code == 0, result.output
    assert "TCP" not in result.stdout
    assert "✓ runtime of onnxruntime" in result.stdout


def test_the_last_column_is_not_padded() -> None:
    assert table([("a", "bb"), ("ccc", "d")], indent="  ") == ["  a    bb", "  ccc  d"]
    assert table([]) == []


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (5 << 20, "5 MiB"), (3 << 29, "1.5 GiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_a_check_is_one_line_and_what_to_do_stands_below() -> None:
    assert [line.split() for line in shown(Check("lock", OK, "free"))] == [["✓", "lock", "free"]]
    lines = shown(Check("lock", FAILED, "held", "wait\nor ask"))
    assert [line.strip() for line in lines[1:]] == ["next: wait", "or ask"]


def test_a_terminal_without_these_letters_gets_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ascii:
        encoding = "ascii"

        def write(self, text: str) -> int:
            said.append(text.encode("ascii").decode())
            return len(text)

        def flush(self) -> None:
            pass

    said: list[str] = []
    monkeypatch.setattr(sys, "stdout", Ascii())
    say("✓ a → b – 20 °C")
    assert "".join(said) == "+ a -> b - 20 ?C\n"


@pytest.mark.parametrize("command", [("add", "rig", "bench"), ("trust", "rig")])
def test_a_fingerprint_of_another_form_is_a_usage_error(project: Path, command: tuple[str, ...]) -> None:
    result = run(*command, "--fingerprint", "MD5:nonsense")
    assert result.exit_code == 2
    assert "SHA256: and 43 characters" in result.output
