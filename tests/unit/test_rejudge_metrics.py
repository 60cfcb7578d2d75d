"""Evidence judged again, metric by metric: those that have samples of their own kind, and those that have none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.checks.check import Verdict
from harness.checks.finding import Finding
from harness.checks.limits import Limit, Metric
from harness.deploy.content import SAMPLES, UNIFORM, Timed
from harness.deploy.deployment import LoadReport
from harness.instructions.baseline import BY_CONTENT, VALUE, Comparison
from harness.instructions.counting import Count
from harness.measure.accuracy import ACCURACY, score_finding
from harness.measure.against import against, not_asked, raw_durations, undecided
from harness.measure.artifact_size import size_finding
from harness.measure.first_start import FirstStarts, first_start, unasked
from harness.measure.growth import memory_growth
from harness.measure.instructions import instructions, not_counted
from harness.measure.load_time import load_time
from harness.measure.measurement import Measurement
from harness.measure.memory import memory_peak
from harness.measure.memory_cap import MemoryCap
from harness.measure.memory_series import MemorySeries
from harness.measure.pairs import Pairs, Plan
from harness.parity import PARITY
from harness.protocol.page_cache import Dropped
from harness.release.rejudge import Rejudged, rejudge
from tests.support.rejudging import CALM, PARITY_LIMIT, draw, limits_of, measure, read_run, write_cell

MS = 1_000_000
Cell = dict[str, Any]


class Evidence:
    """One finding's evidence in a folder, and what it is judged to be again."""

    def __init__(self, folder: Path, finding: Any, limits: dict[str, float], **keys: Any) -> None:
        self.folder, self.limits = folder, limits_of(limits)
        make = finding if callable(finding) else lambda raw: [finding]
        tolerance = Limit(PARITY.limit_key, PARITY_LIMIT, "net.py: tolerance")
        self.cell = write_cell(folder, make, (*self.limits, tolerance), **keys)
        self.check: dict[str, Any] = self.cell["checks"][0]
        self.files: list[dict[str, Any]] = []

    def judged(self) -> Rejudged:
        run, cells = read_run(self.cell, files=self.files)
        (result,) = rejudge(self.folder, run, cells[0], self.limits, PARITY_LIMIT)
        return result

    def is_honest(self) -> Verdict:
        """Check that there is no problem, and return the verdict, which is the stored one."""
        result = self.judged()
        assert result.problem == ""
        assert result.check.verdict == self.check["verdict"]
        return result.check.verdict

    def changed(self, key: str, value: Any) -> str:
        """Change one key of the check, say what the problem is, and change it back."""
        before = self.check.get(key)
        self.check[key] = value
        result = self.judged()
        self.check[key] = before
        return result.problem


# Memory


def peaks(cap: MemoryCap | None = None) -> Finding:
    return memory_peak(measure(count=30), cap)


def test_memory_follows_from_its_processes_peaks(tmp_path: Path) -> None:
    cap = MemoryCap(limit_mib=100.0, peak_mib=60.0, slower=1.02, inferences=20, events={"max": 3})
    evidence = Evidence(tmp_path, peaks(cap), {"memory_peak_mib": 100.0}, measured=measure(count=30))
    assert evidence.is_honest() is Verdict.PASS
    assert evidence.changed("value", 80.0).startswith("value: the evidence says 80.0, and 87.89")
    assert "bound: the evidence says 80.0" in evidence.changed("bound", 80.0)
    assert evidence.changed("samples", 4) == "samples: the evidence says 4, and 3 follows"
    assert "details: they are not what hilgate writes" in evidence.changed("peaks_kib", None)
    assert "value: the evidence says 87.89" in evidence.changed("peaks_kib", [90_000, 200_000, 90_000])
    assert "cap: the limit of 100 MiB was to be tried out, and 300 MiB was" in evidence.changed(
        "cap", {**evidence.check["cap"], "limit_mib": 300.0}
    )


def test_a_process_that_was_killed_under_its_limit_stays_failed(tmp_path: Path) -> None:
    cap = MemoryCap(limit_mib=100.0, killed=True, events={"oom_kill": 1, "oom": 1})
    evidence = Evidence(tmp_path, peaks(cap), {"memory_peak_mib": 100.0}, measured=measure(count=30))
    assert evidence.is_honest() is Verdict.FAIL
    assert "verdict: the evidence says PASS, and FAIL (the kernel killed it" in evidence.changed("verdict", "PASS")
    evidence.check.pop("cap")
    assert "cap: the limit of 100 MiB was to be tried out, and nothing was" in evidence.judged().problem


def test_what_nobody_knows_of_a_try_is_read_from_the_doubt(tmp_path: Path) -> None:
    cap = MemoryCap(limit_mib=100.0, doubt="the kernel did not say")
    evidence = Evidence(tmp_path, peaks(cap), {"memory_peak_mib": 100.0}, measured=measure(count=30))
    assert evidence.is_honest() is Verdict.INCONCLUSIVE
    assert "verdict: the evidence says PASS, and INCONCLUSIVE" in evidence.changed("verdict", "PASS")


def grown(kib_per_1000: float, processes: int = 2) -> Finding:
    series = []
    for process in range(processes):
        places = np.arange(1, 201) * 50
        noise = np.random.default_rng(process).integers(-8, 9, 200) * 4
        kib = 90_000 + noise + kib_per_1000 * places / 1000
        series.append(MemorySeries(count=10_000, inferences=places.tolist(), kib=kib.astype(int).tolist()))
    return memory_growth(Measurement(memory_series=series))


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        pytest.param(grown(0), Verdict.PASS, id="flat"),
        pytest.param(grown(200), Verdict.FAIL, id="leaks"),
        pytest.param(grown(200, processes=1), Verdict.INCONCLUSIVE, id="once"),
    ],
)
def test_growth_follows_from_the_readings_that_were_fitted(tmp_path: Path, finding: Finding, verdict: Verdict) -> None:
    evidence = Evidence(tmp_path, finding, {"memory_growth_kib_per_1000": 100.0})
    assert evidence.is_honest() is verdict
    assert evidence.changed("bound", 1.0).startswith("bound: the evidence says 1.0, and ")
    less = [{**each, "fitted": each["fitted"][:30]} for each in evidence.check["by_process"]]
    assert "bound: the evidence says " in evidence.changed("by_process", less)


# Starts


def test_load_times_follow_from_each_process(tmp_path: Path) -> None:
    made = measure(count=30)
    evidence = Evidence(tmp_path, load_time(made), {"load_time_s": 9.0}, measured=made)
    assert evidence.is_honest() is Verdict.PASS
    assert evidence.changed("value", 1.0) == "value: the evidence says 1.0, and 1.23456789 follows"
    assert "bound: the evidence says 1.23456789, and null follows" in evidence.changed("each_s", [1.23456789])


def starts(stayed: int = 10, states: Sequence[Any] = (CALM,) * 4) -> FirstStarts:
    known: dict[str, Any] = {"memory_kib": {}, "outputs": (), "runtime": {}, "settings": {}, "first": ()}
    counts = {"page_bytes": 4096, "files": 9, "unreadable": 0, "pages": 1000, "before": 1000, "after": stayed}
    report = Dropped.model_validate({**counts, "untold": 3, "kept": [], "holders": [], "hidden": 0})
    return FirstStarts(
        loads=[LoadReport(load_ns=3_141_592_653 + each, first_ns=1, **known) for each in range(3)],
        dropped=[report] * 3,
        read_bytes=[4096 * 987] * 3,
        states=list(states),
    )


def test_first_starts_follow_from_what_was_read_from_the_disk(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path, first_start(starts()), {"first_start_s": 5.0})
    assert evidence.is_honest() is Verdict.PASS
    assert evidence.changed("bound", 3.0).startswith("bound: the evidence says 3.0, and 3.1")
    stayed = [{**each, "pages": [1000, 200, 3]} for each in evidence.check["dropped"]]
    assert "spared_share: the evidence says [0.0" in evidence.changed("dropped", stayed)
    doubtful = Evidence(
        tmp_path, first_start(starts(states=[CALM, *[{**CALM, "boot": "two"}] * 3])), {"first_start_s": 5.0}
    )
    assert doubtful.is_honest() is Verdict.INCONCLUSIVE
    assert "verdict: the evidence says PASS" in doubtful.changed("verdict", "PASS")
    assert Evidence(tmp_path, unasked(), {}).is_honest() is Verdict.NOT_APPLICABLE


# What has no samples


def manifest(folder: Path, size: int) -> str:
    content = json.dumps(
        {"files": {"artifact/a": {"bytes": size - 1}, "artifact/b": {"bytes": 1}, "agent": {"bytes": 9}}}
    )
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    (folder / "bundles").mkdir()
    (folder / f"bundles/{sha256}.json").write_text(content)
    return sha256


def test_the_artifacts_size_follows_from_the_manifest(tmp_path: Path) -> None:
    size = 12_345
    keys = {"bundle": {"sha256": manifest(tmp_path, size)}, "artifact": {"sha256": "a" * 64, "bytes": size}}
    evidence = Evidence(tmp_path, size_finding(size), {"artifact_mib": 1.0}, **keys)
    assert evidence.is_honest() is Verdict.PASS
    assert evidence.changed("value", 0.01) == f"value: the evidence says 0.01, and {size / 2**20} follows"
    evidence.cell["artifact"]["bytes"] = 1
    assert evidence.judged().problem == f"artifact: bytes: the evidence says 1, and its bundle's manifest {size}"
    evidence.cell["bundle"]["sha256"] = "0" * 64
    assert evidence.judged().problem == "bundle: the bytes of its manifest are not there"
    evidence.cell["bundle"] = None
    assert evidence.judged().check.verdict is Verdict.INCONCLUSIVE


def test_accuracy_is_judged_where_all_samples_were_taken(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path, score_finding(0.9, taken=100, given=100, eager=0.91), {"accuracy_min": 0.8})
    assert evidence.is_honest() is Verdict.PASS
    assert evidence.judged().remark != ""
    assert "bound: the evidence says 0.9, and 0.95 follows" in evidence.changed("value", 0.95)
    assert "verdict: the evidence says PASS, and NOT_APPLICABLE" in evidence.changed("samples", 60)
    assert "samples: 200 were scored of 100" in evidence.changed("samples", 200)
    none = Evidence(tmp_path, Finding(ACCURACY, not_applicable="the model file has no samples"), {})
    assert none.is_honest() is Verdict.NOT_APPLICABLE


def test_parity_is_judged_by_the_tolerance_that_is_handed_in(tmp_path: Path) -> None:
    details = {"seed": 0, "tolerance": PARITY_LIMIT, "fixed_list": {"tried": 3, "of": 3}}
    evidence = Evidence(tmp_path, Finding(PARITY, 2.5, 2.5, samples=300, details=details), {})
    assert evidence.is_honest() is Verdict.PASS
    assert "tolerance: the evidence says 900, and 64.0 follows" in evidence.changed("tolerance", 900)
    assert "limit: the evidence says 900.0, and 64.0 follows" in evidence.changed("limit", 900.0)
    assert "verdict: the evidence says PASS, and INCONCLUSIVE (no input was tried)" in evidence.changed("samples", 0)
    assert "4 inputs were tried of a list of 3" in evidence.changed("fixed_list", {"tried": 4, "of": 3})
    assert evidence.changed("raw", "samples/x.npy") == 'raw: the evidence says "samples/x.npy", and null follows'
    assert "verdict: the evidence says PASS, and FAIL" in evidence.changed("value", 65.0)
    assert "verdict: the evidence says PASS, and FAIL" in evidence.changed("replay", "replay/net")
    evidence.check.pop("fixed_list")
    assert "verdict: the evidence says PASS, and FAIL" in evidence.judged().problem


def test_a_parity_that_failed_stays_failed(tmp_path: Path) -> None:
    details = {"seed": 0, "tolerance": PARITY_LIMIT, "input": "x"}
    failed = Finding(PARITY, float("inf"), float("inf"), samples=9, failure="wrong", details=details)
    evidence = Evidence(tmp_path, failed, {})
    assert evidence.is_honest() is Verdict.FAIL
    details = {"seed": 0, "tolerance": PARITY_LIMIT, "fixed_list": {"tried": 1, "of": 3}}
    doubtful = replace(failed, value=2.0, bound=2.0, failure="", invalid_reason="an odd input", details=details)
    evidence = Evidence(tmp_path, doubtful, {})
    assert evidence.is_honest() is Verdict.INCONCLUSIVE
    assert "verdict: the evidence says PASS, and INCONCLUSIVE (an odd input)" in evidence.changed("verdict", "PASS")


def test_a_metric_of_the_users_own_is_judged_by_its_numbers(tmp_path: Path) -> None:
    metric = Metric("grip_force_n", "N", "how hard it grips", bound="min")
    evidence = Evidence(tmp_path, Finding(metric, 5.0, 4.5, samples=3), {"grip_force_n_min": 4.0})
    assert evidence.is_honest() is Verdict.PASS
    assert "user's own" in evidence.judged().remark
    assert "verdict: the evidence says PASS, and FAIL" in evidence.changed("bound", 3.0)
    assert "limit: the evidence says 1.0, and 4.0 follows" in evidence.changed("limit", 1.0)
    own = Evidence(tmp_path, Finding(metric, 5.0, 4.5, limits=(Limit("grip_force_n_min", 4.2, "the test"),)), {})
    assert own.is_honest() is Verdict.PASS
    for finding in (
        Finding(metric, 5.0, 4.5, samples=3, failure="it slipped"),
        Finding(metric, 5.0, samples=3, undecided_reason="too few"),
        Finding(metric, 5.0, 5.0, samples=3, invalid_reason="a cold gripper"),
        Finding(metric, not_applicable="no gripper"),
        Finding(metric, 5.0, 5.0, not_judged_reason="a toy"),
        Finding(metric, no_bound_reason="nothing came"),
    ):
        Evidence(tmp_path, finding, {"grip_force_n_min": 4.0}).is_honest()


# Counts, and pairs of builds

LOAD = LoadReport(load_ns=1, memory_kib={}, outputs=(), runtime={}, settings={}, first=(), first_ns=1)


def counted(given: int = 0) -> Count:
    values = np.random.default_rng(1).integers(1_000_000, 1_002_000, 300)
    contents = [Timed(name=UNIFORM, processes=[values], numbers=[np.arange(300)], unit=1)]
    if given:
        numbers = np.arange(300) % given
        contents.append(Timed(name=SAMPLES, given=given, step=2, processes=[values + 9], numbers=[numbers], unit=1))
    return Count(contents=contents, load=LOAD, described={"icount_shift": 0, "cpus": 1})


@pytest.mark.parametrize("given", [0, 5, 300])
@pytest.mark.parametrize("baseline", [None, 1_000_000, 900_000, 0])
def test_counts_are_made_again(tmp_path: Path, given: int, baseline: int | None) -> None:
    count, comparison = counted(given), None
    if baseline is not None:
        by_content = {BY_CONTENT: {UNIFORM: baseline, SAMPLES: baseline + 500}} if given else {}
        entry = {VALUE: baseline, **by_content, "context": {}}
        comparison = Comparison(entry if baseline else None, {"context": {}}, 2.0, "baselines/qemu.json")
    samples = tuple(
        np.concatenate([getattr(each, key)[0] for each in count.contents]) for key in ("processes", "numbers")
    )
    evidence = Evidence(
        tmp_path, lambda raw: [instructions(count, raw, comparison)], {}, samples=samples, emulated=True
    )
    evidence.is_honest()
    assert "value: the evidence says 7.0, and " in evidence.changed("value", 7.0)
    assert "raw: " in evidence.changed("raw_sha256", "0" * 64)
    if baseline == 900_000:
        assert evidence.check["verdict"] == "FAIL"
        assert "limit: the evidence says 1200000.0" in evidence.changed("limit", 1_200_000.0)
        evidence.check.pop("baseline")
        evidence.files = [{"kind": "baseline", "name": "pi4", "path": "baselines/pi4.json", "sha256": "a" * 64}]
        assert evidence.judged().problem.startswith("baseline: the run read one")


def test_what_is_not_counted_here_is_not_applicable(tmp_path: Path) -> None:
    assert Evidence(tmp_path, not_counted(), {}).is_honest() is Verdict.NOT_APPLICABLE


def pairs(ratio: float, given: int = 0, count: int = 101) -> Pairs:
    def process(seed: int, ms: float) -> Measurement:
        numbers = [np.arange(count)]
        made = Measurement(uniform=Timed(name=UNIFORM, processes=[draw(count, seed, ms)], numbers=numbers))
        made.samples = Timed(name=SAMPLES, given=given)
        if given:
            made.samples = Timed(name=SAMPLES, given=given, processes=[draw(count, seed + 99, ms)], numbers=numbers)
        return made

    done = [(process(2 * each, 1.0), process(2 * each + 1, ratio)) for each in range(8)]
    return Pairs(plan=Plan(pairs=8, inferences=count, step=9, expected_s=30.0), done=done)


@pytest.mark.parametrize("given", [0, 4])
@pytest.mark.parametrize(("ratio", "verdict"), [(0.9, Verdict.PASS), (1.2, Verdict.FAIL), (1.03, Verdict.INCONCLUSIVE)])
def test_pairs_are_made_again(tmp_path: Path, ratio: float, verdict: Verdict, given: int) -> None:
    made = pairs(ratio, given)
    evidence = Evidence(
        tmp_path,
        lambda raw: [
            against(made, None, raw=raw, label="old", artifact_bytes=(9, 10), details={"other": {"path": "x"}})
        ],
        {},
        samples=(raw_durations(made), None),
    )
    assert evidence.is_honest() is verdict
    assert "bound: the evidence says 1.0, and " in evidence.changed("bound", 1.0)
    assert "samples: the evidence says 7, and 8 follows" in evidence.changed("samples", 7)
    assert "raw: " in evidence.changed("pairs", 7)
    assert "limit: the evidence says 900.0, and 3.0 follows" in evidence.changed("limit", 900.0)


def test_a_comparison_that_came_to_nothing_or_was_not_asked_for(tmp_path: Path) -> None:
    assert Evidence(tmp_path, undecided("no time", None), {}).is_honest() is Verdict.INCONCLUSIVE
    assert Evidence(tmp_path, not_asked(3.0), {"latency_over_other_percent": 3.0}).is_honest() is Verdict.NOT_APPLICABLE


def test_limits_of_the_evidence_are_not_believed_where_nothing_was_measured(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path, Finding(ACCURACY, no_bound_reason="lost"), {"accuracy_min": 0.8})
    assert evidence.is_honest() is Verdict.INCONCLUSIVE
    assert evidence.changed("limit", 0.1) == "limit: the evidence says 0.1, and 0.8 follows"
