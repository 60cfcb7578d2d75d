"""What a policy asks of evidence: each thing that is not so is told, by name and with figures, and once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.decision import decide_all
from harness.device import Device, load_device
from harness.host.shipped import DEVICES
from harness.measure import known_metrics
from harness.release.conditions import cells_of, refusals_of, same_of
from harness.release.policy import Policy, load_policy
from harness.release.refusal import Refusal
from tests.support.evidences import make_cell, make_check, make_run, read

METRICS = known_metrics()
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
AGAIN = "run the tests again"
Content = dict[str, Any]

FINGERPRINT = {
    "arch": "aarch64",
    "python": "3.11.2",
    "cpu": "cortex-a72",
    "cores": 4,
    "memory_mib": 3792,
    "board": "Raspberry Pi 4 Model B Rev 1.4",
    "serial": "10000000abcdef01",
    "kernel": "6.1.0",
    "libc": "glibc-2.36",
}
PARTS = {
    "fingerprint": FINGERPRINT,
    "artifact": {"sha256": "b" * 64, "bytes": 10},
    "bundle": {"sha256": "c" * 64},
    "load": {"artifact": "artifact/model.onnx", "inputs": ["x"], "outputs": ["y"]},
    "answers": {"path": "answers/net.npz", "sha256": "d" * 64, "allowed": []},
}
NAME = "net/pi4/onnxruntime"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "devices").mkdir()
    (tmp_path / "key.pub").write_text("a key")
    for name in ("rig", "robot"):
        (tmp_path / f"devices/{name}.toml").write_text('extends = "pi4"\n')
    (tmp_path / "devices/pc.toml").write_text('extends = "pi4"\n[device]\narch = "x86_64"\ncpu = "zen3"\n')
    return tmp_path


def policy(
    folder: Path, *, release: str = "", evidence: str = "", target: str = 'devices = ["robot"]', devices: str = '"pi4"'
) -> Policy:
    text = f"""
[release]
name = "net"
model = "net"
{release}
[evidence]
devices = [{devices}]
require = ["parity", "latency_p99_ms"]
{evidence}
[target]
{target}
[signers]
keys = ["key.pub"]
"""
    (folder / "gate.toml").write_text(text)

    def device(name: str) -> Device:
        return load_device(name, (folder / "devices", DEVICES), METRICS.values())

    names = ["onnxruntime", "torchscript"]
    return load_policy(folder / "gate.toml", devices=device, metrics=[*METRICS, "parity"], backends=names)


def good_cell(backend: str = "onnxruntime", p99: float = 3.0, **keys: Any) -> Content:
    checks = [make_check("parity", 0.5, 30.0), make_check("latency_p99_ms", p99, 10.0)]
    return make_cell(backend, checks, **{**copy.deepcopy(PARTS), **keys})


def good_run(*cells: Content, **keys: Any) -> Content:
    run = make_run(cells or [good_cell()], **keys)
    decided = decide_all(read(run).cells)
    return {**run, "decision": [entry.as_json() for entry in decided], **keys}


def judge(policy: Policy, run: Mapping[str, Any], **keys: Any) -> list[Refusal]:
    entry = read(run)
    cells, refusals = cells_of(policy, entry)
    return [*refusals, *refusals_of(policy, entry, cells, **{"now": NOW, **keys})]


def reasons(found: list[Refusal]) -> list[str]:
    assert all(each.remedy for each in found)
    assert len({each.reason for each in found}) == len(found)
    return [each.reason for each in found]


def test_what_has_everything_is_not_refused(folder: Path) -> None:
    assert judge(policy(folder), good_run()) == []
    assert judge(policy(folder, release='backend = "onnxruntime"'), good_run()) == []


# What is done to a run that passes, and the one reason that follows.
CHANGES: dict[str, tuple[Callable[[Content], None], str]] = {
    "-k": (
        lambda run: run["asked"].update(selected="latency", narrowed=True),
        "the run was narrowed to some tests: -k 'latency'",
    ),
    "a test's path": (lambda run: run["asked"].update(narrowed=True), "the run was narrowed to some tests"),
    "-k alone": (lambda run: run["asked"].update(selected=""), "the run was narrowed to some tests: -k ''"),
    "asked for nothing known": (
        lambda run: run.update(asked={}),
        "the evidence does not say whether all tests were asked for",
    ),
    "asked is null": (
        lambda run: run.update(asked=None),
        "the evidence does not say whether all tests were asked for",
    ),
    "not ended": (lambda run: run.update(finished=None), "the run has not ended: it goes on, or was killed"),
    "ended at no time": (
        lambda run: run.update(finished="yesterday"),
        "the evidence's finished is no time in UTC: 'yesterday'",
    ),
    "a time without a zone": (
        lambda run: run.update(finished="2026-11-27T10:05:00"),
        "the evidence's finished is no time in UTC: '2026-11-27T10:05:00'",
    ),
    "a day that no month has": (
        lambda run: run.update(started="2026-11-31T10:05:00Z"),
        "the evidence's started is no time in UTC: '2026-11-31T10:05:00Z'",
    ),
    "digits of another script": (
        lambda run: run.update(started="2026-11-2\u0667T10:05:00Z"),
        "the evidence's started is no time in UTC: '2026-11-2\u0667T10:05:00Z'",
    ),
    "ended before it began": (
        lambda run: run.update(finished="2026-11-27T09:00:00Z"),
        "the run ended before it began: 2026-11-27T10:00:00Z, 2026-11-27T09:00:00Z",
    ),
    "too old": (
        lambda run: run.update(started="2026-11-14T11:59:00Z"),
        "the evidence is 14.0 days old, and may be 14: 2026-11-14T11:59:00Z",
    ),
    "from the future": (
        lambda run: run.update(finished="2026-11-28T13:00:01Z"),
        "the evidence is from the future: finished 2026-11-28T13:00:01Z, and it is 2026-11-28T12:00:00Z",
    ),
    "another verdict of the run": (
        lambda run: run.update(verdict="MEASURED"),
        "the evidence's verdict is MEASURED, although PASS follows from its cells",
    ),
    "a bound beyond the limit": (
        lambda run: run["cells"][0]["checks"][1].update(bound=11.0),
        f"{NAME}: latency_p99_ms: PASS, although its bound of 11 breaks the limit of 10",
    ),
    "no label of emulation": (
        lambda run: run["cells"][0]["fingerprint"].update(emulator={"qemu": "7.2", "image": "pi4"}),
        f"{NAME}: the cell: PASS of a board, although its fingerprint has an emulator",
    ),
    "no parts": (
        lambda run: run["cells"][0].update(fingerprint=None, load=None, answers=None),
        f"{NAME}: the evidence does not say which device it was; how the artifact was loaded; what it should answer "
        "(as after a parity that passed)",
    ),
    "no bundle": (
        lambda run: run["cells"][0].update(bundle=None),
        f"{NAME}: the evidence does not say which bundle was tested",
    ),
    "another memory": (
        lambda run: run["cells"][0]["fingerprint"].update(memory_mib=7800),
        "the target robot has memory_mib 4096 by its device file, and pi4 has 7800",
    ),
    "another Python": (
        lambda run: run["cells"][0]["fingerprint"].update(python="3.12.1"),
        "the target robot has python 3.11 by its device file, and pi4 has 3.12.1",
    ),
    "a Python of more digits": (
        lambda run: run["cells"][0]["fingerprint"].update(python="3.111.1"),
        "the target robot has python 3.11 by its device file, and pi4 has 3.111.1",
    ),
    "another CPU": (
        lambda run: run["cells"][0]["fingerprint"].update(cpu="cortex-a76"),
        "the target robot has cpu cortex-a72 by its device file, and pi4 has cortex-a76",
    ),
    "no memory told": (
        lambda run: run["cells"][0]["fingerprint"].update(memory_mib=0),
        "target.same has memory_mib, and pi4 did not say its own",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_each_change_has_one_reason_of_its_own(folder: Path, what: str) -> None:
    run = good_run()
    change, reason = CHANGES[what]
    change(run)
    found = reasons(judge(policy(folder, release='backend = "onnxruntime"'), run))
    if what == "no label of emulation":
        assert found.pop() == f"{NAME}: pi4 was emulated, and a real device is asked for"
    assert found == [reason]


NOT_PASSED: dict[str, tuple[Content, list[str]]] = {
    "a failed check": (
        good_cell(p99=12.0),
        [f"{NAME}: latency_p99_ms is FAIL: wanted 10.0; found 12.0"],
    ),
    "an inconclusive one": (
        make_cell(
            "onnxruntime",
            [make_check("parity", 0.5, 30.0), make_check("latency_p99_ms", 9.0, 10.0, bound=None)],
            **PARTS,
        ),
        [f"{NAME}: latency_p99_ms is INCONCLUSIVE: wanted 10.0; found None"],
    ),
    "only measured": (
        make_cell("onnxruntime", [make_check("parity", 0.5, 30.0), make_check("latency_p99_ms", 3.0)], **PARTS),
        [f"{NAME}: latency_p99_ms is required to PASS, and is only MEASURED (3.0 ms)"],
    ),
    "not checked": (
        make_cell("onnxruntime", [make_check("parity", 0.5, 30.0)], **PARTS),
        [f"{NAME}: latency_p99_ms is required, and was not checked"],
    ),
    "not applicable": (
        make_cell(
            "onnxruntime",
            [
                make_check("parity", 0.5, 30.0),
                make_check("latency_p99_ms", None, verdict="NOT_APPLICABLE", reason="an emulated clock"),
            ],
            **PARTS,
        ),
        [f"{NAME}: latency_p99_ms is required to PASS, and is NOT_APPLICABLE: an emulated clock"],
    ),
    "an error": (
        good_cell(error="the agent died", verdict="FAIL"),
        [f"{NAME}: it could not run to its end: the agent died"],
    ),
    "an error before there was anything": (
        {**good_cell(error="the agent died", verdict="FAIL"), **dict.fromkeys(PARTS)},
        [f"{NAME}: it could not run to its end: the agent died"],
    ),
    "interrupted": (
        good_cell(error="the link was lost", interruptions=["the link was lost"], verdict="INCONCLUSIVE"),
        [f"{NAME}: it could not run to its end: the link was lost"],
    ),
    "interrupted, and its error taken out": (
        good_cell(interruptions=["the link was lost"]),
        [f"{NAME}: it could not run to its end: the link was lost"],
    ),
    "tests without a check": (
        good_cell(unfinished=["test_a", "test_b"], verdict="INCONCLUSIVE"),
        [f"{NAME}: tests came to no check: test_a, test_b"],
    ),
    "not built": (
        good_cell(not_built="no compiler", verdict="NOT_APPLICABLE"),
        [f"{NAME}: its backend was not built: no compiler"],
    ),
    "a rule forbids it": (
        good_cell(forbidden="rules.onboard: no computer outside", verdict="INELIGIBLE"),
        [f"{NAME}: rules.onboard: no computer outside"],
    ),
    "on another computer": (
        good_cell(endpoint={"name": "laptop", "url": "http://10.0.0.2", "model": "net"}),
        [f"{NAME}: the model is not on the device, onnxruntime calls another computer (http://10.0.0.2)"],
    ),
    "on another computer, and its endpoint taken out": (
        good_cell(artifact={"sha256": "b" * 64, "bytes": 10, "exporter": "description"}),
        [f"{NAME}: the model is not on the device, onnxruntime calls another computer"],
    ),
    "with answers of another computer, and its endpoint taken out": (
        good_cell(fallback={"backend": "onnxruntime", "artifact": {"sha256": "b" * 64}}),
        [f"{NAME}: the model is not on the device, onnxruntime calls another computer"],
    ),
    "in an emulated service": (
        good_cell(endpoint={"name": "emulated", "url": "https://127.0.0.1", "model": "net"}, service_emulated=True),
        [
            f"{NAME}: the model is not on the device, onnxruntime calls another computer (https://127.0.0.1)",
            f"{NAME}: its service was emulated by the run: nothing of a cloud was measured",
        ],
    ),
    "a metric twice, once without a limit": (
        make_cell(
            "onnxruntime",
            [*good_cell()["checks"], make_check("latency_p99_ms", 4.0)],
            **PARTS,
        ),
        [f"{NAME}: latency_p99_ms is required to PASS, and is only MEASURED (4.0 ms)"],
    ),
}


@pytest.mark.parametrize("what", NOT_PASSED)
def test_a_cell_that_did_not_pass_is_told_with_everything_that_keeps_it(folder: Path, what: str) -> None:
    """Also where --allow-inconclusive made the run green: the policy names the backend, so that this cell is meant."""
    cell, expected = NOT_PASSED[what]
    assert reasons(judge(policy(folder, release='backend = "onnxruntime"'), good_run(cell))) == expected


def test_what_only_has_no_limits_at_all_is_no_pass(folder: Path) -> None:
    cell = make_cell("onnxruntime", [make_check("parity", 0.5), make_check("latency_p99_ms", 3.0)], **PARTS)
    assert reasons(judge(policy(folder, release='backend = "onnxruntime"'), good_run(cell))) == [
        f"{NAME}: it had no limit to keep",
        f"{NAME}: parity is required to PASS, and is only MEASURED (0.5)",
        f"{NAME}: latency_p99_ms is required to PASS, and is only MEASURED (3.0 ms)",
    ]


def test_all_reasons_are_told_at_once(folder: Path) -> None:
    run = good_run(good_cell(p99=12.0), asked={"selected": "x", "narrowed": True}, started="2026-10-01T00:00:00Z")
    found = reasons(judge(policy(folder, release='backend = "onnxruntime"'), run))
    assert len(found) == 3
    assert found[0].startswith("the run was narrowed")
    assert found[1] == "the evidence is 58.5 days old, and may be 14: 2026-10-01T00:00:00Z"
    assert found[2].startswith(f"{NAME}: latency_p99_ms is FAIL")


def test_an_hour_ahead_is_a_clock_and_the_last_day_still_counts(folder: Path) -> None:
    times = {"started": "2026-11-14T12:00:00Z", "finished": "2026-11-28T13:00:00Z"}
    assert judge(policy(folder), good_run(**times)) == []


def test_a_model_that_did_not_run_is_one_reason(folder: Path) -> None:
    found = judge(policy(folder, devices='"pi4", "rig"'), good_run(good_cell(model="nets")))
    assert reasons(found) == ["the model net did not run; nets did"]
    assert found[0].remedy == "did you mean 'nets'?"


def test_a_device_without_a_cell_is_told_and_the_other_is_judged(folder: Path) -> None:
    found = reasons(judge(policy(folder, devices='"pi4", "rig"'), good_run(good_cell(answers=None))))
    assert found[0] == "net did not run on rig, only on pi4"
    assert found[1].startswith(f"{NAME}: the evidence does not say what it should answer")


def test_a_backend_that_did_not_run_is_told(folder: Path) -> None:
    found = judge(policy(folder, release='backend = "torchscript"'), good_run())
    assert reasons(found) == ["net on pi4 did not run with torchscript, only with onnxruntime"]


def test_where_nothing_is_taken_each_backend_is_told_with_its_reason(folder: Path) -> None:
    found = judge(policy(folder), good_run(good_cell(p99=12.0), good_cell("torchscript", p99=11.0)))
    assert len(found) == 1
    assert found[0].reason.startswith("the decision takes no backend of net on pi4: onnxruntime: latency_p99_ms")
    assert "torchscript: latency_p99_ms" in found[0].reason


def test_a_decision_that_does_not_follow_from_its_cells_is_refused(folder: Path) -> None:
    run = good_run(good_cell(p99=3.0), good_cell("torchscript", p99=6.0))
    run["decision"][0]["taken"] = "torchscript"
    reason = (
        "the evidence's decision for net on pi4 takes torchscript (its order: onnxruntime, "
        "torchscript), and by its cells it takes onnxruntime (its order: onnxruntime, torchscript)"
    )
    assert reasons(judge(policy(folder), run)) == [reason]
    run["decision"] = []
    reason = (
        "the evidence's decision for net on pi4 has no decision, and by its cells it takes onnxruntime "
        "(its order: onnxruntime, torchscript)"
    )
    assert reasons(judge(policy(folder), run)) == [reason]


def test_the_decision_is_made_by_what_the_run_preferred(folder: Path) -> None:
    checks = [make_check("parity", 0.5, 30.0), make_check("latency_p99_ms", 9.0, 10.0), make_check("artifact_mib", 1.0)]
    small = make_cell("torchscript", checks, **PARTS)
    large = good_cell()
    large["checks"].append(make_check("artifact_mib", 5.0))
    run = make_run([small, large])
    decided = decide_all(read(run).cells, prefer=["artifact_mib"], within_percent=1)
    run["decision"] = [entry.as_json() for entry in decided]
    cells, refusals = cells_of(policy(folder), read(run))
    assert (refusals, cells["pi4"].backend) == ([], "torchscript")


def test_another_model_of_the_run_does_not_matter_but_for_what_contradicts_itself(folder: Path) -> None:
    other = good_cell(model="other", p99=12.0)
    assert judge(policy(folder), good_run(good_cell(), other)) == []
    other["checks"][1]["verdict"] = "PASS"
    found = reasons(judge(policy(folder), good_run(good_cell(), other)))
    assert found[0].startswith("other/pi4/onnxruntime: latency_p99_ms: PASS, although")


def two(**keys: Any) -> tuple[Content, Content]:
    return good_cell(), good_cell(device="rig", **keys)


APART: dict[str, tuple[Content, str]] = {
    "model": (
        {"model_sha256": "e" * 64},
        "the devices did not test one model: aaaaaaaaaaaa… on pi4, eeeeeeeeeeee… on rig",
    ),
    "no model": ({"model_sha256": None}, "the devices did not test one model: aaaaaaaaaaaa… on pi4, no hash on rig"),
    "artifact": (
        {"artifact": {"sha256": "e" * 64}, "bundle": {"sha256": "f" * 64}},
        "the devices did not test one artifact: bbbbbbbbbbbb… on pi4, eeeeeeeeeeee… on rig",
    ),
    "runtime": (
        {"bundle": {"sha256": "f" * 64}},
        "the devices did not test one bundle: cccccccccccc… on pi4, ffffffffffff… on rig",
    ),
}


@pytest.mark.parametrize("what", APART)
def test_what_is_released_must_have_been_tested_on_each_device(folder: Path, what: str) -> None:
    keys, reason = APART[what]
    assert judge(policy(folder, devices='"pi4", "rig"'), good_run(*two())) == []
    assert reasons(judge(policy(folder, devices='"pi4", "rig"'), good_run(*two(**keys)))) == [reason]


def test_another_decision_on_each_device_is_one_reason(folder: Path) -> None:
    cells = [
        good_cell(),
        good_cell("torchscript", p99=9.0),
        good_cell("torchscript", device="rig", bundle={"sha256": "f" * 64}),
    ]
    found = judge(policy(folder, devices='"pi4", "rig"'), good_run(*cells))
    reason = "the decision takes another backend of net on each device: onnxruntime on pi4, torchscript on rig"
    assert reasons(found) == [reason]
    assert "release.backend" in found[0].remedy


def test_cells_of_two_models_of_one_name_are_refused(folder: Path) -> None:
    found = judge(policy(folder), good_run(good_cell(), good_cell("torchscript", model_sha256="e" * 64)))
    reason = (
        "the cells of net on pi4 are not of one model and one kind of device: real aaaaaaaaaaaa…, real eeeeeeeeeeee…"
    )
    assert reasons(found) == [reason]


def test_devices_that_differ_in_what_a_target_must_share_are_refused(folder: Path) -> None:
    fingerprint = {**FINGERPRINT, "serial": "other", "memory_mib": 3800}
    run = good_run(*two(fingerprint=fingerprint))
    assert judge(policy(folder, devices='"pi4", "rig"'), run) == []
    asked = policy(folder, devices='"pi4", "rig"', target='devices = ["robot"]\nsame = ["serial"]')
    reason = (
        "no target can have the same serial as all devices of the evidence: '10000000abcdef01' of pi4, 'other' of rig"
    )
    assert reasons(judge(asked, run)) == [reason]


def test_no_policy_sends_a_build_to_another_architecture(folder: Path) -> None:
    asked = policy(folder, target='devices = ["robot", "pc"]\nsame = ["board"]')
    reason = "the target pc has arch x86_64 by its device file, and pi4 has aarch64"
    assert reasons(judge(asked, good_run())) == [reason]


def test_a_board_without_a_name_has_that_in_common_and_an_empty_serial_nothing(folder: Path) -> None:
    run = good_run(good_cell(fingerprint={**FINGERPRINT, "board": "", "serial": ""}))
    assert judge(policy(folder), run) == []
    asked = policy(folder, target='devices = ["robot"]\nsame = ["serial"]')
    assert reasons(judge(asked, run)) == ["target.same has serial, and pi4 did not say its own"]


def test_what_a_target_must_share_is_of_the_evidence(folder: Path) -> None:
    asked = policy(folder, target='devices = ["robot"]\nsame = ["cpu", "libc"]')
    cells, _ = cells_of(asked, read(good_run()))
    assert same_of(asked, cells) == {"cpu": "cortex-a72", "libc": "glibc-2.36"}


def emulated(device: str) -> Content:
    emulator = {"qemu": "7.2", "image": "pi4", "state": None}
    checks = [make_check("parity", 0.5, 30.0), make_check("memory_peak_mib", 5.0, 10.0)]
    return make_cell(
        "onnxruntime",
        checks,
        **{**PARTS, "fingerprint": {**FINGERPRINT, "emulator": emulator}},
        device=device,
        emulated=True,
    )


def test_an_emulated_device_is_refused_unless_the_policy_says_so(folder: Path) -> None:
    run = good_run(emulated("qemu-pi4"))
    named = {"devices": '"qemu-pi4"', "target": 'devices = ["qemu-pi4"]\nsame = ["arch"]'}
    found = reasons(judge(policy(folder, **named), run))
    assert found[0] == "net/qemu-pi4/onnxruntime: qemu-pi4 was emulated, and a real device is asked for"
    assert found[1] == "net/qemu-pi4/onnxruntime: latency_p99_ms is required, and was not checked"
    assert len(found) == 2
    found = reasons(judge(policy(folder, **named, evidence="emulated = true"), run))
    assert found == ["net/qemu-pi4/onnxruntime: latency_p99_ms is required, and was not checked"]


def test_a_device_that_is_emulated_by_its_file_is_not_called_real(folder: Path) -> None:
    """With the emulator taken out of its fingerprint nothing of the cell alone tells."""
    run = good_run(good_cell(device="qemu-pi4"))
    found = reasons(judge(policy(folder, devices='"qemu-pi4"', evidence="emulated = true"), run))
    assert found == ["net/qemu-pi4/onnxruntime: qemu-pi4 is real by the evidence, and emulated by its file (link qemu)"]


def test_keys_that_an_older_hilgate_did_not_write_are_named_once(folder: Path) -> None:
    cell = good_cell(load=None, answers=None)
    del cell["fingerprint"]["libc"]
    lacks = ("asked", "cells[0].notes", "cells[1].load", "cells[1].answers")
    run = good_run(good_cell("torchscript", p99=9.0), cell)
    found = judge(policy(folder, release='backend = "onnxruntime"'), run, lacks=lacks)
    keys = f"asked, {NAME}: load, {NAME}: answers, {NAME}: fingerprint.libc"
    assert reasons(found) == [
        f"the evidence is of an older hilgate (hilgate 0.1.0), and lacks {keys}",
        "target.same has libc, and pi4 did not say its own",
    ]


def test_evidence_must_be_signed_where_the_policy_names_keys(folder: Path) -> None:
    asked = policy(folder, evidence='signed_by = ["key.pub"]')
    (key,) = asked.evidence.signed_by
    assert judge(asked, good_run(), signed_by=key) == []
    for wrong in (None, folder / "other.pub"):
        found = judge(asked, good_run(), signed_by=wrong, unsigned="there is no evidence.sigstore.json")
        assert reasons(found) == [
            "the evidence is not signed by a key of evidence.signed_by (key.pub): there is no evidence.sigstore.json"
        ]
        assert "--sign KEY" in found[0].remedy
    assert judge(policy(folder), good_run(), signed_by=None) == []
