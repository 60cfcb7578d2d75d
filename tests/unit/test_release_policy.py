"""gate.toml: what it may say, and that every mistake in it is told, by name, with what would be right."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.device import Device, load_device
from harness.errors import InputError
from harness.host.shipped import DEVICES
from harness.measure import known_metrics
from harness.release.policy import Policy, load_policy

METRICS = known_metrics()
GOOD = """
[release]
name = "digits"
model = "digits"
[evidence]
devices = ["local"]
require = ["parity", "latency_p99_ms"]
[target]
devices = ["pi4"]
[signers]
keys = ["keys/team.pub"]
"""
NO_LIMITS = "limits stand in the model file, limits={…}, and in device files, [limits]; here evidence.require names the"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/team.pub").write_text("a key")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(folder: Path, text: str | bytes) -> Policy:
    path = folder / "gate.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def device(name: str) -> Device:
        return load_device(name, (folder / "devices", DEVICES), METRICS.values())

    return load_policy(path, devices=device, metrics=[*METRICS, "parity"], backends=["onnxruntime", "torchscript"])


def with_line(table: str, line: str) -> str:
    """Return the good policy with a line in one of its tables, in place of the one of that key."""
    key = line.partition(" ")[0]
    lines = list[str]()
    current = ""
    for each in GOOD.splitlines():
        current = each.strip("[]") if each.startswith("[") else current
        if current == table and each.startswith(f"{key} ="):
            continue
        lines.append(each)
        if each == f"[{table}]":
            lines.append(line)
    return "\n".join(lines)


def refusal(folder: Path, text: str | bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        load(folder, text)
    assert caught.value.__cause__ is None
    return caught.value


def test_what_a_policy_does_not_say_is_the_strict_choice(folder: Path) -> None:
    policy = load(folder, GOOD)
    assert policy.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
    assert (policy.release.backend, policy.evidence.emulated, policy.evidence.commit) == ("decision", False, "HEAD")
    assert policy.evidence.max_age_days == 14
    assert policy.target.same == ("board", "arch", "cpu", "memory_mib", "libc", "python")
    assert policy.target.latency_p50_ratio_max is None
    assert policy.signers.keys == (folder / "keys/team.pub",)
    assert (policy.evidence.signed_by, policy.signers.revoked) == ((), ())
    assert {name: device.link for name, device in policy.machines.items()} == {"local": "local", "pi4": "ssh"}


def test_the_example_of_the_issue_is_a_policy(folder: Path) -> None:
    (folder / "devices").mkdir()
    for name in ("rig", "robot"):
        (folder / f"devices/{name}.toml").write_text('extends = "pi4"\n')
    policy = load(
        folder,
        f"""
        [release]
        name = "digits"
        model = "digits"
        backend = "decision"
        [evidence]
        devices = ["rig"]
        require = ["parity", "latency_p99_ms", "memory_peak_mib"]
        max_age_days = 14
        commit = "HEAD"
        signed_by = []
        [target]
        devices = ["robot"]
        same = ["board", "arch", "cpu", "memory_mib", "libc", "python"]
        latency_p50_ratio_max = 1.25
        [signers]
        keys = ["keys/team.pub"]
        revoked = ["{"a" * 64}"]
        """,
    )
    assert policy.target.latency_p50_ratio_max == 1.25
    assert policy.signers.revoked == ("a" * 64,)


def test_conditions_have_neither_paths_nor_signers(folder: Path) -> None:
    conditions = load(folder, with_line("evidence", 'signed_by = ["keys/team.pub"]')).conditions
    assert conditions == {
        "release": {"name": "digits", "model": "digits", "backend": "decision"},
        "evidence": {
            "devices": ["local"],
            "emulated": False,
            "require": ["parity", "latency_p99_ms"],
            "max_age_days": 14.0,
            "commit": "HEAD",
            "signed": True,
        },
        "target": {
            "devices": ["pi4"],
            "same": ["board", "arch", "cpu", "memory_mib", "libc", "python"],
            "latency_p50_ratio_max": None,
        },
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            GOOD + "[limits]\nlatency_p99_ms = 3\n",
            ["a policy has no limits", "found:  limits = {'latency_p99_ms': 3}", f"next:   {NO_LIMITS}"],
        ),
        (
            with_line("evidence", "latency_p99_ms = 3"),
            ["a policy has no limits", "found:  latency_p99_ms = 3", "where:  gate.toml: evidence.latency_p99_ms"],
        ),
        (with_line("evidence", "accuracy_min = 0.9"), ["a policy has no limits"]),
        (
            with_line("evidence", "requires = []"),
            [
                "unknown key 'evidence.requires'",
                "wanted: one of devices, emulated, require, max_age_days, commit, signed_by",
                "next:   did you mean 'require'?",
            ],
        ),
        (with_line("release", "revoked = []"), ["unknown key 'release.revoked'", "its place is 'signers.revoked'"]),
        (GOOD + "[deploy]\n", ["unknown key 'deploy'", "wanted: one of release, evidence, target, signers"]),
        (
            with_line("evidence", 'devices = ["locla"]'),
            ["there is no device 'locla'", "where:  gate.toml: evidence.devices.0", "next:   did you mean 'local'?"],
        ),
        (with_line("target", 'devices = ["../x"]'), ["this is not a device's name", "gate.toml: target.devices.0"]),
        (with_line("target", "devices = []"), ["'target.devices' is wrong", "a list of devices, at least one"]),
        (
            with_line("evidence", 'devices = ["local", "local"]'),
            ["the same is named twice", "found:  'local'", "where:  gate.toml: evidence.devices"],
        ),
        (
            with_line("evidence", 'require = ["latency_p99"]'),
            ["there is no metric 'latency_p99'", "gate.toml: evidence.require.0", "did you mean 'latency_p99_ms'?"],
        ),
        (with_line("evidence", "require = []"), ["'evidence.require' is wrong", "a list of metrics, at least one"]),
        (with_line("evidence", 'require = "parity"'), ["'evidence.require' is wrong", "found:  'parity'"]),
        (
            with_line("release", 'backend = "onnx"'),
            ["there is no backend 'onnx'", "wanted: one of decision, onnxruntime, torchscript"],
        ),
        (with_line("release", 'name = ".."'), ["'release.name' is wrong", "its folder on the robot"]),
        (with_line("release", 'name = "a/b"'), ["'release.name' is wrong"]),
        (with_line("release", 'name = "a\\nb"'), ["'release.name' is wrong"]),
        (with_line("release", f'name = "{"a" * 65}"'), ["'release.name' is wrong"]),
        (with_line("release", "model = 3"), ["'release.model' is wrong", "found:  3"]),
        (
            GOOD.replace('model = "digits"\n', ""),
            ["'release.model' is missing", 'write, for instance: model = "digits"'],
        ),
        (with_line("evidence", 'commit = "head"'), ["'evidence.commit' is wrong", "did you mean 'HEAD'?"]),
        (with_line("evidence", "max_age_days = 0"), ["'evidence.max_age_days' is wrong", "days, above 0"]),
        (with_line("evidence", "max_age_days = inf"), ["'evidence.max_age_days' is wrong"]),
        (with_line("evidence", "max_age_days = true"), ["'evidence.max_age_days' is wrong", "found:  True"]),
        (with_line("evidence", 'emulated = "yes"'), ["'evidence.emulated' is wrong", "true or false"]),
        (with_line("target", 'same = ["bord"]'), ["'target.same.0' is wrong", "next:   did you mean 'board'?"]),
        (with_line("target", "same = []"), ["'target.same' is wrong", "a list, at least one of board, arch"]),
        (with_line("target", "latency_p50_ratio_max = nan"), ["'target.latency_p50_ratio_max' is wrong"]),
        (
            with_line("signers", 'keys = ["team.pub"]'),
            ["there is no such key", "found:  'team.pub': nothing of that name", "where:  gate.toml: signers.keys.0"],
        ),
        (with_line("signers", 'keys = ["keys"]'), ["there is no such key", "found:  'keys': a folder"]),
        (with_line("signers", 'keys = ["keys/team.pub", "keys/../keys/team.pub"]'), ["the same is named twice"]),
        (with_line("signers", "keys = []"), ["'signers.keys' is wrong", "at least one"]),
        (with_line("evidence", 'signed_by = ["none.pub"]'), ["there is no such key", "evidence.signed_by.0"]),
        (with_line("signers", 'revoked = ["AA"]'), ["'signers.revoked.0' is wrong", "64 digits of 0-9a-f"]),
        ("release = 3\n" + GOOD[GOOD.index("[evidence]") :], ["'release' is wrong", "a table with name and model"]),
        ("[release", ["the policy cannot be read", "wanted: TOML in UTF-8"]),
        (b"\xff", ["the policy cannot be read", "wanted: TOML in UTF-8"]),
        ("#" * ((1 << 20) + 1), ["the policy is too large", "wanted: at most 1 MiB"]),
    ],
)
def test_each_mistake_has_a_message_of_its_own(folder: Path, text: str | bytes, message: Sequence[str]) -> None:
    said = str(refusal(folder, text))
    assert "errors" not in said
    assert said.startswith(message[0])
    for part in message:
        assert part in said


def test_all_mistakes_are_told_at_once_and_none_twice(folder: Path) -> None:
    said = str(refusal(folder, GOOD.replace("local", "locla").replace("parity", "paritty").replace("team", "taem")))
    assert said.startswith("the policy has 3 errors")
    for part in ("there is no device 'locla'", "there is no metric 'paritty'", "there is no such key"):
        assert said.count(part) == 1
    assert "pydantic" not in said


def test_a_device_whose_own_file_is_wrong_is_told_with_that_file(folder: Path) -> None:
    (folder / "devices").mkdir()
    (folder / "devices/robot.toml").write_text('extends = "pi4"\n[device]\nthreads = 0\n')
    said = str(refusal(folder, with_line("target", 'devices = ["robot"]')))
    assert "'device.threads' is wrong" in said
    assert "gate.toml: target.devices.0" in said
    assert "devices/robot.toml: device.threads" in said


@pytest.mark.parametrize("name", ["none.toml", "keys"])
def test_a_policy_that_is_not_there_is_told(folder: Path, name: str) -> None:
    def no_device(name: str) -> Any:
        raise AssertionError(name)

    with pytest.raises(InputError, match="the policy cannot be read"):
        load_policy(folder / name, devices=no_device, metrics=[], backends=[])
