"""The cap: where a group can be made, what the kernel's files and a device say, and what that does to the verdict."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from harness.agent.capped import group
from harness.agent.capped.group import Unavailable, cgroup2_mount, events_of, make_group, own_path, places
from harness.agent.capped.launcher import MARK, NO_GROUP, runtime_folder
from harness.agent.pacing import NEVER
from harness.agent.remote.credentials import Credentials
from harness.agent.wire import read_head
from harness.bundle import Bundle
from harness.checks.check import Verdict, judge
from harness.checks.limits import Limit
from harness.deploy.deployer import Deployer
from harness.deploy.deployment import DeviceTime, Timeouts
from harness.deploy.handed import handed_script
from harness.deploy.memory_cap import HINTS, MODULES, CappedBoard, capped_deployer, is_limit
from harness.links.local import Process
from harness.measure.measurement import MEMORY, Measurement
from harness.measure.memory import PEAK, memory_peak
from harness.measure.memory_cap import MemoryCap, _infer, _outcome, _slower
from harness.network import Network
from harness.protocol.border import parse_text
from harness.protocol.memory_cap import Counted, NoGroup
from tests.support.pythons import PYTHONS
from tests.unit.test_remote_cells import cell_of

MIB = 1 << 20
V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "31 24 0:27 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory"
NOWHERE = {
    "no mount": ("", "no_cgroup2", "no cgroup2 among the mounts"),
    "version 1 alone": (V1, "no_cgroup2", "with version 1"),
    "both versions": (f"{V2}\n{V1}", "no_cgroup2", "has cpuset cpu io: the memory controller is version 1's"),
    "a folder named so": (V2.replace("- cgroup2 cgroup2", "- tmpfs cgroup2"), "no_cgroup2", "no cgroup2"),
    "switched off": (V2, "no_controller", "cgroup.controllers has cpuset cpu io, and cgroup_disable=memory"),
}
MANY_EVENTS = json.dumps(dict.fromkeys(map(str, range(65)), 0))
EVENTS = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 1\noom_group_kill 0\n"


def counted(limit: int = 100 * MIB, peak: int | None = 60 * MIB, **events: int) -> Counted:
    return Counted.model_validate({"limit_bytes": limit, "peak_bytes": peak, "events": events})


@pytest.mark.parametrize(
    ("mountinfo", "found"),
    [
        ("", None),
        (V1, None),
        (V2, ("/sys/fs/cgroup", "/")),
        (f"{V1}\n{V2.replace('/sys/fs/cgroup', '/sys/fs/cgroup/unified')}", ("/sys/fs/cgroup/unified", "/")),
        (V2.replace(" / /sys/fs/cgroup", r" /a\040b /my\040groups"), ("/my groups", "/a b")),
        ("no line of it - cgroup2", None),
    ],
)
def test_the_mount_is_found(mountinfo: str, found: tuple[str, str] | None) -> None:
    assert cgroup2_mount(mountinfo) == found


@pytest.mark.parametrize(
    ("cgroup", "root", "path"),
    [
        ("0::/user.slice/session-1.scope\n", "/", "/user.slice/session-1.scope"),
        ("9:name=systemd:/\n4:memory:/x\n0::/\n", "/", ""),
        ("0::/docker/a/b\n", "/docker/a", "/b"),
        ("0::/docker/ab\n", "/docker/a", None),
        ("0::/../other\n", "/", None),
        ("4:memory:/x\n", "/", None),
        ("", "/", None),
    ],
)
def test_the_own_group_is_found(cgroup: str, root: str, path: str | None) -> None:
    assert own_path(cgroup, root) == path


def test_a_place_is_looked_for_from_the_own_group_upwards() -> None:
    assert [*places("/a/b")] == ["/a/b", "/a", ""]
    assert [*places("")] == [""]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (EVENTS, {"low": 0, "high": 0, "max": 12, "oom": 3, "oom_kill": 1, "oom_group_kill": 0}),
        ("", {}),
        ("oom -1\noom_kill many\nmax 1 2\nalone\nhigh 4", {"high": 4}),
    ],
)
def test_events_are_read(text: str, found: Mapping[str, int]) -> None:
    assert events_of(text) == found


@pytest.mark.parametrize("case", NOWHERE)
def test_why_there_is_no_group_is_said(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mountinfo, reason, found = NOWHERE[case]
    files = {
        "/proc/self/mountinfo": mountinfo,
        "/proc/cmdline": "quiet cgroup_disable=memory",
        "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io",
    }
    monkeypatch.setattr(group, "_read", lambda path: files.get(path, ""))
    with pytest.raises(Unavailable) as refused:
        make_group(MIB, scoped=False)
    assert refused.value.reason == reason
    assert reason in HINTS
    assert found in refused.value.found


def test_the_hint_names_what_to_add_on_a_raspberry_pi() -> None:
    assert "cgroup_enable=memory" in HINTS["no_controller"]


def test_a_users_systemd_is_found_by_its_socket(tmp_path: Any) -> None:
    (tmp_path / "systemd").mkdir()
    assert runtime_folder({"XDG_RUNTIME_DIR": str(tmp_path)}, 12345) is None
    (tmp_path / "systemd" / "private").touch()
    uid = (tmp_path / "systemd" / "private").stat().st_uid
    assert runtime_folder({"XDG_RUNTIME_DIR": str(tmp_path)}, uid) == str(tmp_path)
    assert runtime_folder({"XDG_RUNTIME_DIR": str(tmp_path)}, uid + 1) is None


@pytest.mark.parametrize("python", PYTHONS)
def test_the_program_answers_on_this_machine(python: str) -> None:
    """With a group that it has made and removed, or with why it could not; never with a traceback."""
    board = SimpleNamespace(facts=SimpleNamespace(executable=python))
    script = handed_script(cast("Any", board), MODULES, json.dumps({"limit_bytes": 64 * MIB, "script": None}))
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr, done.stderr
    if not done.stdout:  # systemd-run went on in its place, and failed
        assert done.returncode
        assert done.stderr
        return
    answer = io.BytesIO(done.stdout)
    header = read_head(lambda size: bytearray(answer.read(size))).header
    known = NoGroup if done.returncode == NO_GROUP else Counted
    assert known.model_validate(header)


def test_without_a_group_the_script_is_not_run() -> None:
    script = "echo it ran; exit 5"
    board = SimpleNamespace(facts=SimpleNamespace(executable=sys.executable))
    command = handed_script(cast("Any", board), MODULES, json.dumps({"limit_bytes": 64 * MIB, "script": script}))
    process = Process.start(["/bin/sh", "-c", command])
    status = process.finish(60)
    told = [line for line in process.stderr_tail().splitlines() if line.startswith(MARK)]
    if not told:
        pytest.skip(f"systemd-run went on in its place, and failed: {process.stderr_tail()}")
    if (refused := parse_text(NoGroup, told[-1].removeprefix(MARK))) is not None:
        assert status == NO_GROUP
        assert refused.found
    else:
        assert status == 5
        assert parse_text(Counted, told[-1].removeprefix(MARK))


def test_the_agent_is_the_launchers_and_no_forkservers() -> None:
    """For what it shares with a forkserver is counted in another's group."""
    facts = SimpleNamespace(executable="/usr/bin/python3")
    link = SimpleNamespace(snapshots=object())
    lease = SimpleNamespace(facts=facts, link=link, store="/store", run="run", device=SimpleNamespace(counting=False))
    runtime = SimpleNamespace(runner=None, archives=())
    bundle = cast("Bundle", SimpleNamespace(name="bundles/b", foundation="f" * 64, runtime=runtime))
    script = CappedBoard(lease=cast("Any", lease), limit_bytes=MIB)._agent_script(bundle)
    assert "/store/forkservers/none" in script
    assert "f" * 16 not in script
    assert f'"limit_bytes": {MIB}' in script


@pytest.mark.parametrize(
    ("stderr", "found"),
    [
        (f'{MARK}{{"limit_bytes": 1, "peak_bytes": null, "events": {{}}}}\n', True),
        (f'noise\n{MARK}nonsense\n{MARK}{{"limit_bytes": 1, "peak_bytes": 2, "events": {{"oom": 1}}}}', True),
        ("noise", False),
        (f"{MARK}nonsense", False),
        (f'{MARK}{{"limit_bytes": -1, "peak_bytes": 2, "events": {{}}}}', False),
        (f'{MARK}{{"limit_bytes": 1, "peak_bytes": 1e300, "events": {{}}}}', False),
        (f'{MARK}{{"limit_bytes": 1, "peak_bytes": NaN, "events": {{}}}}', False),
        (f'{MARK}{{"limit_bytes": 1, "peak_bytes": 2, "events": {{"oom": "1"}}}}', False),
        (f'{MARK}{{"limit_bytes": 1, "peak_bytes": 2, "events": {{"{"x" * 65}": 1}}}}', False),
        (f'{MARK}{{"limit_bytes": 1, "peak_bytes": 2, "events": {MANY_EVENTS}}}', False),
        (f'{MARK}{{"unavailable": "no_place", "found": "x"}}', False),
        (f"{MARK}{'[' * 20_000}", False),
    ],
)
def test_what_a_device_says_was_counted_is_checked(stderr: str, found: bool) -> None:
    channel = cast("Any", SimpleNamespace(stderr_tail=lambda: stderr))
    board = CappedBoard(lease=cast("Any", None), limit_bytes=MIB, channels=[channel])
    assert (board.counted() is not None) is found


@pytest.mark.parametrize(
    ("limit", "peak", "true"),
    [
        (100 * MIB, 60 * MIB, True),
        (100 * MIB, None, True),
        (100 * MIB - 4096, 100 * MIB - 4096, True),
        (100 * MIB, 101 * MIB, False),
        (99 * MIB, 60 * MIB, False),
        (101 * MIB, 60 * MIB, False),
        (1 << 62, 60 * MIB, False),  # "max": it has no limit
    ],
)
def test_a_limit_is_the_one_that_was_asked_for(limit: int, peak: int | None, true: bool) -> None:
    assert is_limit(counted(limit, peak), 100 * MIB) is true


@pytest.mark.parametrize(
    ("told", "lost", "killed", "doubt"),
    [
        (counted(), "", False, ""),
        (counted(oom=1, oom_kill=1), "the agent died", True, ""),
        (counted(oom=1, oom_kill=1), "", True, ""),  # a process that the agent had started
        (counted(oom=0, oom_kill=1), "the agent died", False, "not for the limit"),
        (counted(), "the agent died", False, "the agent died"),
        (counted(max=9), "the agent did not answer", False, "the agent did not answer"),
        (counted(peak=0), "", False, "cannot be true"),
        (counted(limit=1 << 62, oom=1, oom_kill=1), "the agent died", False, "cannot be true"),
        (None, "the connection dropped", False, "the connection dropped"),
        (None, "", False, "was not told"),
    ],
)
def test_a_try_is_judged_by_what_the_kernel_counted(told: Counted | None, lost: str, killed: bool, doubt: str) -> None:
    found = MemoryCap(limit_mib=100, **_outcome(told, 100 * MIB, lost))
    assert found.killed is killed
    assert doubt in found.doubt
    assert bool(doubt) is bool(found.doubt)


FITS = MemoryCap(limit_mib=100, peak_mib=70.0, slower=1.2, inferences=20, events={"oom_kill": 0})
KILLED = MemoryCap(limit_mib=100, killed=True, peak_mib=100.0, events={"oom": 1, "oom_kill": 1, "low": 0})
UNKNOWN = MemoryCap(limit_mib=100, doubt="the agent died")
NOT_TRIED = MemoryCap(limit_mib=100, unavailable="no memory cgroup of the user's own")


@pytest.mark.parametrize(
    ("cap", "peak_mib", "verdict", "reason"),
    [
        (None, 60, Verdict.PASS, ""),
        (FITS, 60, Verdict.PASS, ""),
        (FITS, 120, Verdict.FAIL, ""),  # the verdict is VmHWM's
        (KILLED, 60, Verdict.FAIL, "memory.events: oom 1, oom_kill 1"),
        (KILLED, 120, Verdict.FAIL, "limited to 100 MiB"),
        (UNKNOWN, 60, Verdict.INCONCLUSIVE, "limited to 100 MiB: the agent died"),
        (UNKNOWN, 120, Verdict.FAIL, ""),
        (NOT_TRIED, 60, Verdict.PASS, ""),
        (NOT_TRIED, 120, Verdict.FAIL, ""),
        (KILLED, None, Verdict.FAIL, "oom_kill 1"),
        (FITS, None, Verdict.INCONCLUSIVE, "no process came to its end"),
    ],
)
def test_the_verdict(cap: MemoryCap | None, peak_mib: int | None, verdict: Verdict, reason: str) -> None:
    measured = Measurement()
    if peak_mib is not None:
        measured = Measurement(memory_peak_kib=[peak_mib * 1024], memory_steps_kib=[{"first": 1024}])
    check = judge(memory_peak(measured, cap), [Limit(PEAK.limit_key, 100, "net.py: limits")])
    assert check.verdict is verdict
    assert reason in check.reason
    assert check.finding.details.get("cap") == (cap.described if cap else None)
    assert json.dumps(dict(check.finding.details), allow_nan=False)


def test_killed_is_a_fail_also_where_the_report_of_memory_is_impossible() -> None:
    measured = Measurement(impossible={MEMORY: "the device's report is impossible"})
    check = judge(memory_peak(measured, KILLED), [Limit(PEAK.limit_key, 100, "net.py: limits")])
    assert check.verdict is Verdict.FAIL


SHAPED = Network(
    name="lte", path=Path("lte.toml"), description="LTE", source="measured here", measured=True, delay_ms=25.0
)


def test_a_client_that_signs_its_calls_does_so_under_a_limit_too() -> None:
    def supply() -> Credentials:
        raise AssertionError("nothing is started")

    board = CappedBoard(lease=cast("Any", None), limit_bytes=MIB)
    parts: dict[str, Any] = {"board": board, "bundle": None, "timeouts": Timeouts(), "device_time": DeviceTime()}
    deployer = Deployer(cell=cell_of(network=SHAPED), credentials=supply, **parts)
    capped = capped_deployer(deployer, board)
    assert (capped.credentials, capped.cell.network) == (supply, None)


def test_a_call_is_not_compared_with_one_through_another_network() -> None:
    unshaped = replace(SHAPED, delay_ms=0.0)
    assert [_slower(6.0, 3.0, network) for network in (None, unshaped, SHAPED)] == [2.0, 2.0, None]
    assert _slower(0.0, 3.0, None) is None


def test_a_call_that_failed_has_no_duration_to_compare() -> None:
    def median_of(*durations: int) -> float:
        measured = SimpleNamespace(measure=lambda *words: (np.array(durations), {}))
        return _infer(cast("Any", measured), [], 1.0)[0]

    assert median_of(5, NEVER, 7, NEVER, NEVER, NEVER, NEVER) == 6.0
    assert median_of(NEVER, NEVER) == 0.0
