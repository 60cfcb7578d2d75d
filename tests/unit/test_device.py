"""Device files: what they may say, how one extends another, and what a message says when they are wrong."""

import copy
import pickle
import traceback
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.checks.limits import Limit, Metric
from harness.device import Device, Measure, Rules, Runtime, device_names, load_device
from harness.device.tables import KEYS
from harness.errors import DeviceError

METRICS = [
    Metric("memory_peak_mib", "MiB", "peak resident memory", device_limit=True),
    Metric("artifact_mib", "MiB", "size of the artifact", device_limit=True),
    Metric("load_time_s", "s", "time to the first inference", device_limit=True),
    Metric("power_mean_w", "W", "mean power", device_limit=True),
    Metric("temperature_max_c", "°C", "highest temperature", device_limit=True),
    Metric("latency_p99_ms", "ms", "99th percentile", wall_clock=True, parameters=("deadline_ms",)),
    Metric("accuracy", "", "top-1", bound="min"),
]
SHIPPED = Path(__file__).parents[2] / "devices"

LOCAL = """
[device]
description = "this machine"
link = "local"
backends = ["torchscript", "onnxruntime"]
"""
BOARD = """
[device]
description = "a board"
link = "ssh"
host = "me@board:22"
arch = "aarch64"
cpu = "cortex-a72"
memory_mib = 4096
backends = ["torchscript", "onnxruntime"]
threads = 2
"""
FULL = (
    BOARD
    + """
[runtime]
python = "3.11"
packages = ["torch==2.9.1", "onnxruntime==1.32.0"]

[limits]
memory_peak_mib = 1024
artifact_mib = 99.5

[limits.onnxruntime]
memory_peak_mib = 512

[options.onnxruntime]
providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
session = { arena = true }

[rules]
offline = true

[measure]
block_ms = 50
"""
)

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a device file into the user's folder, ``mine``, or that of hilgate, ``shipped``, below the current one."""
    monkeypatch.chdir(tmp_path)

    def write_file(name: str, text: str | bytes, folder: str = "mine") -> None:
        Path(folder).mkdir(exist_ok=True)
        Path(folder, f"{name}.toml").write_bytes(text if isinstance(text, bytes) else text.encode())

    return write_file


def load(name: str = "board", *folders: str) -> Device:
    return load_device(name, [Path(folder) for folder in folders or ("mine", "shipped")], METRICS)


def refused(name: str = "board", *folders: str) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        load(name, *folders)
    return caught.value


def board(line: str) -> str:
    """BOARD with this line in place of the one with the same key, or else added to [device]."""
    key = line.split("=", maxsplit=1)[0].strip()
    lines = [old for old in BOARD.splitlines() if not old.startswith(f"{key} =")]
    return "\n".join([*lines, line, ""])


# What a file says


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("name", "board", id="name"),
        pytest.param("description", "a board", id="description"),
        pytest.param("link", "ssh", id="link"),
        pytest.param("host", "me@board:22", id="host"),
        pytest.param("arch", "aarch64", id="arch"),
        pytest.param("cpu", "cortex-a72", id="cpu"),
        pytest.param("memory_mib", 4096, id="memory"),
        pytest.param("backends", ("torchscript", "onnxruntime"), id="backends"),
        pytest.param("threads", 2, id="threads"),
        pytest.param("runtime", Runtime(python="3.11", packages=("torch==2.9.1", "onnxruntime==1.32.0")), id="runtime"),
        pytest.param(
            "limits",
            (
                Limit("memory_peak_mib", 1024.0, "mine/board.toml: limits.memory_peak_mib"),
                Limit("artifact_mib", 99.5, "mine/board.toml: limits.artifact_mib"),
            ),
            id="limits",
        ),
        pytest.param(
            "backend_limits",
            {"onnxruntime": (Limit("memory_peak_mib", 512.0, "mine/board.toml: limits.onnxruntime.memory_peak_mib"),)},
            id="backend-limits",
        ),
        pytest.param(
            "options",
            {
                "onnxruntime": {
                    "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
                    "session": {"arena": True},
                }
            },
            id="options",
        ),
        pytest.param("rules", Rules(offline=True), id="rules"),
        pytest.param("measure", Measure(block_ms=50), id="measure"),
    ],
)
def test_a_full_file_is_read(write: Write, name: str, value: object) -> None:
    write("board", FULL)
    assert getattr(load(), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("host", None, id="host"),
        pytest.param("arch", None, id="arch"),
        pytest.param("cpu", None, id="cpu"),
        pytest.param("memory_mib", None, id="memory"),
        pytest.param(
            "settings", {"threads": 1, "interop_threads": 1, "flush_denormals": False}, id="what-backends-set-alike"
        ),
        pytest.param("runtime", Runtime(python=None, packages=(), environment=None), id="runtime"),
        pytest.param("limits", (), id="limits"),
        pytest.param("backend_limits", {}, id="backend-limits"),
        pytest.param("options", {}, id="options"),
        pytest.param("rules", Rules(offline=False), id="rules"),
        pytest.param("measure", Measure(block_ms=100), id="measure"),
    ],
)
def test_what_a_file_leaves_out_has_a_default(write: Write, name: str, value: object) -> None:
    write("here", LOCAL)
    assert getattr(load("here"), name) == value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(board('arch = "x86_64"'), id="x86-64"),
        pytest.param(board('host = "pi4"'), id="ssh-config-name"),
        pytest.param(board('link = "some_link2"'), id="any-style-of-link"),
        pytest.param(board('backends = ["libtorch", "onnxruntime-cpp"]'), id="backend-with-a-dash"),
        pytest.param(BOARD + '[runtime]\npython = "/usr/bin/python3"', id="python-path"),
        pytest.param(BOARD + '[runtime]\npython = "3.9"\nenvironment = "/opt/venv"', id="environment"),
        pytest.param(BOARD + '[runtime]\npackages = ["torch==2.9.1+cpu", "a-b.c_d==1!2.0rc1"]', id="odd-versions"),
        pytest.param(BOARD + "[limits.sagemaker]\nmemory_peak_mib = 1", id="limits-of-an-unlisted-backend"),
        pytest.param(BOARD + "[options.sagemaker]\nregion = 'x'", id="options-of-an-unlisted-backend"),
        pytest.param(LOCAL + '[runtime]\nenvironment = "/opt/venv"', id="local-environment"),
        pytest.param(LOCAL + "[runtime]\npackages = []", id="local-no-packages"),
        pytest.param("\ufeff" + BOARD, id="byte-order-mark"),
        pytest.param(BOARD.replace("\n", "\r\n"), id="windows-line-ends"),
    ],
)
def test_a_right_file_is_accepted(write: Write, text: str) -> None:
    write("board", text)
    assert load().name == "board"


@pytest.mark.parametrize(
    ("link", "emulated"),
    [pytest.param("qemu", True, id="qemu"), pytest.param("ssh", False, id="ssh")],
)
def test_a_device_is_emulated_exactly_when_its_link_is_qemu(write: Write, link: str, emulated: bool) -> None:
    write("board", board(f'link = "{link}"'))
    assert load().emulated is emulated


@pytest.mark.parametrize(
    ("backend", "values"),
    [
        pytest.param("onnxruntime", [1024.0, 99.5, 512.0], id="general-and-own"),
        pytest.param("torchscript", [1024.0, 99.5], id="general-only"),
    ],
)
def test_all_limits_of_a_backend_count(write: Write, backend: str, values: list[float]) -> None:
    write("board", FULL)
    assert [limit.value for limit in load().limits_for(backend)] == values


def test_a_device_cannot_be_changed(write: Write) -> None:
    write("board", FULL)
    with pytest.raises(FrozenInstanceError):
        load().threads = 3  # type: ignore[misc]


def test_a_devices_runtime_cannot_be_changed(write: Write) -> None:
    write("board", FULL)
    with pytest.raises(ValidationError):
        load().runtime.python = "3.12"  # type: ignore[misc]


def test_a_device_can_be_a_key(write: Write) -> None:
    write("board", FULL)
    assert {load(): 1}[load()] == 1


@pytest.mark.parametrize(
    "duplicate",
    [
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(lambda device: pickle.loads(pickle.dumps(device)), id="pickle"),  # noqa: S301 - our own bytes
    ],
)
def test_a_device_can_be_copied(write: Write, duplicate: Callable[[Device], Device]) -> None:
    write("board", FULL)
    assert duplicate(load()) == load()


def test_metrics_may_come_from_a_generator(write: Write) -> None:
    write("board", FULL)
    assert load_device("board", [Path("mine")], (metric for metric in METRICS)).limits


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in device_names([SHIPPED])])
def test_every_shipped_device_loads(name: str) -> None:
    assert load_device(name, [SHIPPED], METRICS).path == SHIPPED / f"{name}.toml"


def test_the_default_device_is_shipped() -> None:
    assert "local" in device_names([SHIPPED])


# Which file it is


def test_the_first_folder_that_has_the_file_wins(write: Write) -> None:
    write("board", board("threads = 3"), "mine")
    write("board", board("threads = 4"), "shipped")
    assert load().threads == 3


def test_a_later_folder_is_looked_into(write: Write) -> None:
    write("board", BOARD, "shipped")
    assert load().path == Path.cwd() / "shipped" / "board.toml"


def test_the_path_is_that_of_the_file_that_was_named(write: Write) -> None:
    write("board", BOARD)
    write("child", 'extends = "board"')
    assert load("child").path == Path.cwd() / "mine" / "child.toml"


def test_device_names_are_sorted_and_each_there_once(write: Write) -> None:
    write("b", BOARD)
    write("a.b", BOARD, "shipped")
    write("b", BOARD, "shipped")
    assert device_names([Path("mine"), Path("shipped"), Path("absent")]) == ["a.b", "b"]


def test_device_names_are_only_those_that_can_be_loaded(write: Write) -> None:
    write("not a name", BOARD)
    Path("mine/folder.toml").mkdir()
    Path("mine/known_hosts").touch()
    assert device_names([Path("mine")]) == []


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../mine/board", id="parent-folder"),
        pytest.param("sub/board", id="separator"),
        pytest.param("/etc/board", id="absolute"),
        pytest.param("a\\b", id="backslash"),
        pytest.param("", id="empty"),
        pytest.param("..", id="dots"),
        pytest.param(".hidden", id="hidden"),
        pytest.param("-x", id="option"),
        pytest.param("a b", id="space"),
        pytest.param("a\n", id="line-end"),
        pytest.param("a\0", id="nul"),
        pytest.param("bräd", id="not-ascii"),
    ],
)
def test_an_unsafe_name_is_refused(write: Write, name: str) -> None:
    write("board", BOARD)
    assert (refused(name).what, refused(name).found) == ("this is not a device's name", repr(name))


@pytest.mark.parametrize("name", [pytest.param("pi-4_b.v2", id="all-signs"), pytest.param("4", id="digit")])
def test_a_safe_name_is_accepted(write: Write, name: str) -> None:
    write(name, BOARD)
    assert load(name).name == name


def test_an_unknown_device_is_said_to_be_looked_for_in_every_folder(write: Write) -> None:
    write("board", BOARD)
    assert refused("toaster").found == "looked for mine/toaster.toml, shipped/toaster.toml"


def test_an_unknown_device_lists_those_that_exist(write: Write) -> None:
    write("board", BOARD)
    write("arm", BOARD, "shipped")
    assert refused("toaster").wanted == "one of arm, board"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("p4", id="typo"),
        pytest.param("PI4", id="case"),
        pytest.param("pi4.toml", id="with-suffix"),
    ],
)
def test_an_unknown_device_suggests_the_nearest(write: Write, name: str) -> None:
    write("pi4", BOARD)
    assert refused(name).hint == "did you mean 'pi4'?"


def test_without_a_near_one_the_way_to_a_new_device_is_shown(write: Write) -> None:
    write("board", BOARD)
    assert "extends" in refused("toaster").hint


def test_without_folders_there_is_no_device() -> None:
    with pytest.raises(DeviceError, match="no device 'board'"):
        load_device("board", [], METRICS)


# One file extends another


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("description", "a board", id="taken-over"),
        pytest.param("threads", 8, id="scalar-replaced"),
        pytest.param("backends", ("libtorch",), id="list-replaced"),
        pytest.param("runtime", Runtime(python="3.11", packages=("torch==2.8.0",)), id="nested-list-replaced"),
        pytest.param(
            "options",
            {"onnxruntime": {"providers": ["CPUExecutionProvider"], "session": {"arena": True, "spin": False}}},
            id="tables-merged-at-every-depth",
        ),
    ],
)
def test_what_an_extending_file_says_counts(write: Write, name: str, value: object) -> None:
    write("board", FULL)
    write(
        "child",
        """
        extends = "board"
        device = { threads = 8, backends = ["libtorch"] }
        runtime.packages = ["torch==2.8.0"]
        options.onnxruntime = { providers = ["CPUExecutionProvider"], session.spin = false }
        """,
    )
    assert getattr(load("child"), name) == value


def test_a_chain_of_three_ends_with_the_nearest_word(write: Write) -> None:
    write("a", BOARD)
    write("b", 'extends = "a"\n[device]\nthreads = 3\ncpu = "b"')
    write("c", 'extends = "b"\n[device]\nthreads = 4')
    assert (load("c").threads, load("c").cpu, load("c").host) == (4, "b", "me@board:22")


def test_a_base_need_not_be_complete(write: Write) -> None:
    write("base", '[device]\nlink = "ssh"\nbackends = ["libtorch"]')
    write("child", 'extends = "base"\n[device]\ndescription = "x"\nhost = "h"')
    assert load("child").backends == ("libtorch",)


def test_packages_of_a_base_are_taken_away_with_an_empty_list(write: Write) -> None:
    write("board", FULL)
    write("child", 'extends = "board"\n[runtime]\npackages = []\nenvironment = "/opt/venv"')
    assert load("child").runtime == Runtime(python="3.11", environment="/opt/venv")


def test_what_may_be_left_out_says_the_devices_own_file_and_no_base(write: Write) -> None:
    write("base", LOCAL + 'optional = ["onnxruntime"]\n')
    write("child", 'extends = "base"\n[device]\nbackends = ["torchscript"]')
    assert (load("base").optional, load("child").optional) == (("onnxruntime",), ())


def test_limits_of_a_base_stay_beside_those_of_the_extending_file(write: Write) -> None:
    write("board", FULL)
    write("child", 'extends = "board"\n[limits]\nmemory_peak_mib = 7\n[limits.libtorch]\nload_time_s = 9')
    device = load("child")
    assert {limit.source: limit.value for limit in device.limits + device.backend_limits["libtorch"]} == {
        "mine/child.toml: limits.memory_peak_mib": 7,
        "mine/board.toml: limits.artifact_mib": 99.5,
        "mine/child.toml: limits.libtorch.load_time_s": 9,
    }


def test_the_base_may_be_in_another_folder(write: Write) -> None:
    write("board", BOARD, "shipped")
    write("child", 'extends = "board"')
    assert load("child").description == "a board"


def test_a_shipped_file_extends_the_users_file_of_that_name(write: Write) -> None:
    write("board", board("threads = 3"), "mine")
    write("board", board("threads = 4"), "shipped")
    write("child", 'extends = "board"', "shipped")
    assert load("child").threads == 3


def test_a_file_that_extends_its_own_name_refines_the_one_in_a_later_folder(write: Write) -> None:
    write("local", 'extends = "local"\n[device]\nthreads = 4', "mine")
    write("local", LOCAL, "shipped")
    assert (load("local").threads, load("local").description) == (4, "this machine")


def test_a_file_of_its_own_name_can_itself_extend_any_device(write: Write) -> None:
    write("local", 'extends = "local"', "mine")
    write("base", LOCAL, "mine")
    write("local", 'extends = "base"', "shipped")
    assert load("local").description == "this machine"


def test_own_names_can_go_through_three_folders(write: Write) -> None:
    write("local", 'extends = "local"\n[device]\nthreads = 4', "one")
    write("local", 'extends = "local"\n[device]\nthreads = 3\ncpu = "x"', "two")
    write("local", LOCAL, "three")
    assert (load("local", "one", "two", "three").threads, load("local", "one", "two", "three").cpu) == (4, "x")


@pytest.mark.parametrize(
    "folders",
    [
        pytest.param(("mine",), id="one-folder"),
        pytest.param(("mine", "shipped"), id="no-such-file-later"),
        pytest.param(("mine", "shipped/../mine"), id="the-same-folder-twice"),
    ],
)
def test_a_file_that_extends_its_own_name_needs_another_one(write: Write, folders: tuple[str, ...]) -> None:
    write("other", LOCAL, "shipped")
    write("local", 'extends = "local"', "mine")
    error = refused("local", *folders)
    assert ("local -> local" in error.what, error.where) == (True, "mine/local.toml: extends")


@pytest.mark.parametrize(
    ("name", "names"),
    [
        pytest.param("a", "a -> b -> a", id="two"),
        pytest.param("x", "x -> a -> b -> a", id="entered-from-outside"),
    ],
)
def test_a_circle_is_shown(write: Write, name: str, names: str) -> None:
    write("x", 'extends = "a"')
    write("a", 'extends = "b"')
    write("b", 'extends = "a"')
    error = refused(name)
    assert (error.found, error.where) == (names, "mine/b.toml: extends")


def test_a_circle_through_an_own_name_is_shown(write: Write) -> None:
    write("a", 'extends = "a"', "mine")
    write("a", 'extends = "b"', "shipped")
    write("b", 'extends = "a"', "shipped")
    assert refused("a").found == "a -> a -> b -> a"


def test_a_missing_base_names_the_file_that_wants_it(write: Write) -> None:
    write("a", 'extends = "b"')
    write("b", 'extends = "bord"')
    write("board", BOARD)
    error = refused("a")
    assert (error.what, error.where, error.hint) == (
        "'b' extends 'bord', which does not exist",
        "mine/b.toml: extends",
        "did you mean 'board'?",
    )


@pytest.mark.parametrize(
    "value",
    [
        pytest.param('"../board"', id="separator"),
        pytest.param('["board"]', id="list"),
        pytest.param("3", id="number"),
        pytest.param('""', id="empty"),
    ],
)
def test_what_extends_names_must_be_a_devices_name(write: Write, value: str) -> None:
    write("board", BOARD)
    write("child", f"extends = {value}")
    error = refused("child")
    assert (error.what, error.where) == ("this is not a device's name", "mine/child.toml: extends")


# What can be wrong in a file


@pytest.mark.parametrize(
    ("text", "key", "found"),
    [
        pytest.param(board("description = 3"), "device.description", "3", id="description-number"),
        pytest.param(board('description = ""'), "device.description", "''", id="description-empty"),
        pytest.param(board("link = true"), "device.link", "True", id="link-bool"),
        pytest.param(board('link = "S S H"'), "device.link", "'S S H'", id="link-style"),
        pytest.param(board('host = ""'), "device.host", "''", id="host-empty"),
        pytest.param(board('host = "-oProxyCommand=x"'), "device.host", "'-oProxyCommand=x'", id="host-an-option"),
        pytest.param(board('host = "a b"'), "device.host", "'a b'", id="host-space"),
        pytest.param(board('arch = "arm64"'), "device.arch", "'arm64'", id="arch-unknown"),
        pytest.param(board("cpu = 72"), "device.cpu", "72", id="cpu-number"),
        pytest.param(board('memory_mib = "4096"'), "device.memory_mib", "'4096'", id="memory-text"),
        pytest.param(board("memory_mib = 0"), "device.memory_mib", "0", id="memory-none"),
        pytest.param(board('backends = "libtorch"'), "device.backends", "'libtorch'", id="backends-text"),
        pytest.param(board('backends = ["a", 3]'), "device.backends.1", "3", id="backend-number"),
        pytest.param(board('backends = ["A B"]'), "device.backends.0", "'A B'", id="backend-style"),
        pytest.param(board('backends = ["a\\n"]'), "device.backends.0", "'a\\n'", id="backend-line-end"),
        pytest.param(board('threads = "2"'), "device.threads", "'2'", id="threads-text"),
        pytest.param(board("threads = 2.0"), "device.threads", "2.0", id="threads-float"),
        pytest.param(board("threads = true"), "device.threads", "True", id="threads-bool"),
        pytest.param(board("threads = 0"), "device.threads", "0", id="threads-none"),
        pytest.param(BOARD + "[runtime]\npython = 3.11", "runtime.python", "3.11", id="python-float"),
        pytest.param(BOARD + "[runtime]\npython = '3'", "runtime.python", "'3'", id="python-no-minor"),
        pytest.param(BOARD + "[runtime]\npython = 'bin/py'", "runtime.python", "'bin/py'", id="python-relative"),
        pytest.param(BOARD + "[runtime]\npackages = 'a==1'", "runtime.packages", "'a==1'", id="packages-text"),
        pytest.param(BOARD + "[runtime]\npackages = ['a']", "runtime.packages.0", "'a'", id="package-unpinned"),
        pytest.param(BOARD + "[runtime]\npackages = ['a>=1']", "runtime.packages.0", "'a>=1'", id="package-range"),
        pytest.param(BOARD + "[runtime]\npackages = ['a==1.*']", "runtime.packages.0", "'a==1.*'", id="package-star"),
        pytest.param(BOARD + "[runtime]\npackages = ['a==1', 2]", "runtime.packages.1", "2", id="package-number"),
        pytest.param(BOARD + "[runtime]\nenvironment = '~/v'", "runtime.environment", "'~/v'", id="environment-home"),
        pytest.param(BOARD + "[rules]\noffline = 'yes'", "rules.offline", "'yes'", id="offline-text"),
        pytest.param(BOARD + "[rules]\noffline = 1", "rules.offline", "1", id="offline-number"),
        pytest.param(BOARD + "[measure]\nblock_ms = 0", "measure.block_ms", "0", id="block-of-nothing"),
        pytest.param(BOARD + "[measure]\nblock_ms = -1", "measure.block_ms", "-1", id="block-negative"),
        pytest.param(BOARD + "[measure]\nblock_ms = nan", "measure.block_ms", "nan", id="block-nan"),
        pytest.param(BOARD + "[measure]\nblock_ms = inf", "measure.block_ms", "inf", id="block-infinite"),
        pytest.param(BOARD + "[measure]\nblock_ms = true", "measure.block_ms", "True", id="block-true"),
        pytest.param(BOARD + "[measure]\nblock_ms = '20'", "measure.block_ms", "'20'", id="block-text"),
        pytest.param(BOARD + "[options]\nproviders = 3", "options.providers", "3", id="options-without-a-backend"),
        pytest.param(BOARD + "[options.'A B']", "options.A B", "'A B'", id="options-style"),
        pytest.param("options = 3\n" + BOARD, "options", "3", id="options-no-table"),
        pytest.param("limits = 3\n" + BOARD, "limits", "3", id="limits-no-table"),
        pytest.param("rules = [1]\n" + BOARD, "rules", "[1]", id="rules-a-list"),
        pytest.param("device = 'pi4'", "device", "'pi4'", id="device-no-table"),
    ],
)
def test_a_wrong_value_is_shown_with_its_file_and_key(write: Write, text: str, key: str, found: str) -> None:
    write("board", text)
    error = refused()
    assert (error.what, error.found, error.where) == (f"{key!r} is wrong", found, f"mine/board.toml: {key}")


def test_a_wrong_value_says_what_was_wanted_and_what_to_write(write: Write) -> None:
    write("board", board('threads = "2"'))
    error = refused()
    assert (error.wanted, error.hint) == ("a whole number ≥ 1", "write, for instance: threads = 4")


@pytest.mark.parametrize("key", [pytest.param(key, id=key) for key in KEYS])
def test_every_key_has_its_wanted_and_its_example(key: str) -> None:
    wanted, _, example = KEYS[key].partition(": ")
    assert wanted
    assert example.startswith((f"{key.rpartition('.')[2]} = ", f"[{key}]", f"[{key}."))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param("", "device", id="empty-file"),
        pytest.param('[device]\nlink = "local"\nbackends = ["a"]', "device.description", id="description"),
        pytest.param('[device]\ndescription = "x"\nbackends = ["a"]', "device.link", id="link"),
        pytest.param('[device]\ndescription = "x"\nlink = "local"', "device.backends", id="backends"),
    ],
)
def test_a_missing_key_is_named(write: Write, text: str, key: str) -> None:
    write("board", text)
    error = refused()
    assert (error.what, error.where) == (f"{key!r} is missing", f"mine/board.toml: {key}")


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        pytest.param(board("thread = 2"), "device.thread", "did you mean 'threads'?", id="in-device"),
        pytest.param(BOARD + "[runtme]", "runtme", "did you mean 'runtime'?", id="a-table"),
        pytest.param("extend = 'a'\n" + BOARD, "extend", "did you mean 'extends'?", id="at-the-top"),
        pytest.param(BOARD + "[rules]\nofline = true", "rules.ofline", "did you mean 'offline'?", id="in-rules"),
        pytest.param(board("extends = 'a'"), "device.extends", "its place is 'extends'", id="extends-in-a-table"),
        pytest.param("threads = 2\n" + BOARD, "threads", "its place is 'device.threads'", id="not-in-its-table"),
        pytest.param(board("zzz = 2"), "device.zzz", "take it out", id="like-nothing"),
    ],
)
def test_an_unknown_key_suggests_what_was_meant(write: Write, text: str, key: str, hint: str) -> None:
    write("board", text)
    error = refused()
    assert (error.what, error.hint, error.where) == (f"unknown key {key!r}", hint, f"mine/board.toml: {key}")


@pytest.mark.parametrize(
    ("text", "wanted", "keys"),
    [
        pytest.param(
            BOARD.replace('host = "me@board:22"', ""),
            'a host, as link = "ssh"',
            ["device.host", "device.link"],
            id="ssh-without-host",
        ),
        pytest.param(
            board('link = "local"'), 'no host, as link = "local"', ["device.host", "device.link"], id="local-with-host"
        ),
        pytest.param(
            LOCAL + '[runtime]\npackages = ["a==1"]',
            'environment or nothing, as link = "local"',
            ["runtime.packages", "device.link"],
            id="local-with-packages",
        ),
        pytest.param(
            BOARD + '[runtime]\npackages = ["a==1"]\nenvironment = "/opt"',
            "packages or environment, not both",
            ["runtime.packages", "runtime.environment"],
            id="packages-and-environment",
        ),
        pytest.param(board("backends = []"), "at least one backend", ["device.backends"], id="no-backend"),
        pytest.param(
            board('backends = ["a", "b", "a"]'), "each backend once", ["device.backends"], id="a-backend-twice"
        ),
        pytest.param(
            LOCAL + 'optional = ["libtorch"]',
            "some of the backends",
            ["device.optional", "device.backends"],
            id="optional-and-not-listed",
        ),
    ],
)
def test_keys_that_exclude_each_other_are_named(write: Write, text: str, wanted: str, keys: list[str]) -> None:
    write("board", text)
    error = refused()
    assert (error.wanted, error.where.splitlines()) == (wanted, [f"mine/board.toml: {key}" for key in keys])


def test_of_keys_that_exclude_each_other_only_those_that_are_there_are_found(write: Write) -> None:
    write("board", BOARD.replace('host = "me@board:22"', ""))
    assert refused().found == "device.link = 'ssh'"


@pytest.mark.parametrize(
    ("table", "key", "what"),
    [
        pytest.param("latency_p99_ms = 33", "latency_p99_ms", "a device cannot limit 'latency_p99_ms'", id="latency"),
        pytest.param("deadline_ms = 33", "deadline_ms", "a device cannot limit 'deadline_ms'", id="deadline"),
        pytest.param("accuracy_min = 1", "accuracy_min", "a device cannot limit 'accuracy_min'", id="accuracy"),
        pytest.param("memory = 1", "memory", "unknown limit 'memory'", id="unknown"),
        pytest.param(
            "memory_peak_mib = -1", "memory_peak_mib", "limit 'memory_peak_mib' is not a usable number", id="negative"
        ),
        pytest.param(
            "memory_peak_mib = nan", "memory_peak_mib", "limit 'memory_peak_mib' is not a usable number", id="nan"
        ),
        pytest.param(
            "memory_peak_mib = '1'", "memory_peak_mib", "limit 'memory_peak_mib' is not a usable number", id="text"
        ),
        pytest.param(
            "memory_peak_mib = {}", "memory_peak_mib", "limit 'memory_peak_mib' is not a usable number", id="a-table"
        ),
        pytest.param("'A B' = {}", "A B", "unknown limit 'A B'", id="no-name-of-a-backend"),
        pytest.param(
            "libtorch.latency_p99_ms = 3",
            "libtorch.latency_p99_ms",
            "a device cannot limit 'latency_p99_ms'",
            id="latency-for-one-backend",
        ),
        pytest.param("libtorch.a.b = 3", "libtorch.a", "unknown limit 'a'", id="too-deep"),
    ],
)
def test_a_limit_that_a_device_cannot_set_is_refused(write: Write, table: str, key: str, what: str) -> None:
    write("board", f"{BOARD}[limits]\n{table}")
    error = refused()
    assert (error.what, error.where) == (what, f"mine/board.toml: limits.{key}")


def test_an_unknown_limit_suggests_one_that_a_device_can_set(write: Write) -> None:
    write("board", f"{BOARD}[limits]\nmemory_peak_mb = 3")
    assert refused().hint == "did you mean 'memory_peak_mib'?"


def test_an_unknown_limit_does_not_suggest_one_that_only_a_model_can_set(write: Write) -> None:
    write("board", f"{BOARD}[limits]\nlatency_p9_ms = 3")
    assert refused().hint == ""


def test_all_errors_are_shown_at_once(write: Write) -> None:
    write("board", BOARD.replace("2", "'2'").replace("4096", "0") + "foo = 1\n" + "[limits]\nlatency_p99_ms = 3")
    text = str(refused())
    for line in (
        "device 'board': 4 errors",
        "'device.threads' is wrong",
        "'device.memory_mib' is wrong",
        "unknown key 'device.foo'",
        "a device cannot limit 'latency_p99_ms'",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("text", "key", "file"),
    [
        pytest.param("", "device.cpu", "a", id="in-the-base"),
        pytest.param('[device]\ncpu = ""', "device.cpu", "c", id="in-the-file-that-was-named"),
        pytest.param("[device]\ncpu = 'x'\nthread = 3", "device.thread", "c", id="unknown-key-in-a-shared-table"),
        pytest.param("[device]\ncpu = 'x'\n[rules]\noffline = 1", "rules.offline", "c", id="in-a-table-of-its-own"),
        pytest.param("[device]\ncpu = 'x'\nthreads = 0", "device.threads", "c", id="over-a-right-value-below"),
        pytest.param("device = 3", "device", "c", id="a-table-replaced-by-a-number"),
    ],
)
def test_an_error_names_the_file_that_wrote_the_key(write: Write, text: str, key: str, file: str) -> None:
    write("a", board("cpu = 72"))
    write("b", 'extends = "a"\n[device]\nthreads = 4')
    write("c", 'extends = "b"\n' + text)
    assert refused("c").where == f"mine/{file}.toml: {key}"


def test_a_wrong_item_names_the_file_that_wrote_the_list(write: Write) -> None:
    write("a", BOARD)
    write("b", 'extends = "a"\n[device]\nbackends = ["A"]')
    write("c", 'extends = "b"')
    assert refused("c").where == "mine/b.toml: device.backends.0"


def test_a_wrong_limit_names_the_file_that_wrote_it(write: Write) -> None:
    write("a", BOARD + "[limits.libtorch]\nfoo = 1")
    write("b", 'extends = "a"\n[limits.libtorch]\nmemory_peak_mib = 1')
    assert refused("b").where == "mine/a.toml: limits.libtorch.foo"


def test_a_key_that_no_file_wrote_is_missing_in_the_one_that_was_named(write: Write) -> None:
    write("a", '[device]\nlink = "local"\nbackends = ["a"]')
    write("b", 'extends = "a"')
    assert refused("b").where == "mine/b.toml: device.description"


def test_keys_of_two_files_that_exclude_each_other_name_both(write: Write) -> None:
    write("a", BOARD)
    write("b", 'extends = "a"\n[device]\nlink = "local"')
    assert refused("b").where.splitlines() == ["mine/a.toml: device.host", "mine/b.toml: device.link"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("[device]\nlink = ssh", "(at line 2, column 8)", id="malformed"),
        pytest.param("[device]\na = 1\na = 2\n", "(at line 3, column", id="a-key-twice"),
        pytest.param(b"# caf\xe9\n", "byte 0xe9", id="not-utf-8"),
        pytest.param("x = " + "[" * 100_000, "", id="too-deep"),
        pytest.param("x = " + "9" * 5_000, "digits", id="too-long-a-number"),
    ],
)
def test_a_file_that_is_not_toml_is_refused(write: Write, text: str | bytes, found: str) -> None:
    write("board", text)
    error = refused()
    assert (error.where, found in error.found) == ("mine/board.toml", True)


def test_a_malformed_base_is_named(write: Write) -> None:
    write("board", "[device")
    write("child", 'extends = "board"')
    assert refused("child").where == "mine/board.toml"


def test_a_file_that_cannot_be_read_is_refused(write: Write) -> None:
    write("other", BOARD)
    Path("mine/board.toml").mkdir()
    error = refused()
    assert ("Is a directory" in error.found, error.where) == (True, "mine/board.toml")


def test_a_broken_file_does_not_give_way_to_a_later_one(write: Write) -> None:
    write("board", "[device", "mine")
    write("board", BOARD, "shipped")
    assert refused().where == "mine/board.toml"


def test_a_file_outside_the_current_folder_is_shown_with_its_whole_path(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("board", "")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert refused("board", str(tmp_path / "mine")).where == f"{tmp_path}/mine/board.toml: device"


@pytest.mark.parametrize(
    "word",
    [pytest.param("pydantic", id="name"), pytest.param("https://", id="url"), pytest.param("Input should", id="text")],
)
def test_pydantics_own_words_are_not_shown(write: Write, word: str) -> None:
    write("board", board("threads = '2'\nfoo = 1"))
    lines: list[Any] = traceback.format_exception(refused())
    assert word not in "".join(lines)
