"""500 evidences changed at random: the gate passes only where what was changed is not judged.

What is not judged is listed here, by hand, with the reason for it; what the gate thinks does not matter. And what
passes is released as the honest evidence is: the same cell, the same figures, the same bytes, loaded alike.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.evidence.schema import RunEntry
from harness.release.examine import Examined
from harness.release.refusal import Refused
from tests.support.gate_project import GateProject, make_project
from tests.support.gating import examined, load, share_model_processes
from tests.support.mutations import Mutation, Restorer, mutate

# The first of them in `make test`, all in `make test-slow`.
FEW, COUNT, SEED = 60, 500, 21
METRICS = "parity|accuracy|latency_p50_ms|latency_p90_ms|latency_p99_ms|latency_p999_ms|latency_max_ms|"
METRICS += "deadline_miss_rate|load_time_s|memory_peak_mib|memory_growth_kib_per_1000|artifact_mib"
NOT_JUDGED = {
    "which hilgate ran, and when it did what; a person reads it": r"tool|asked\.(time_limit_s|seed)|harness.*",
    "texts": rf"cell\.notes.*|cell\.({METRICS})\.(reason|limit_source|counts|compared|raw)",
    # Where a policy wants more, evidence must be signed: evidence.signed_by.
    "the device's own word, which nothing else vouches for": r"cell\.fingerprint\.(cpu|cores|memory_mib|board|serial|"
    r"kernel|libc|executable|governor.*|runtime.*|warm_up.*|state_(before|after)\..*)",
    "likewise; what in them speaks against the figures is judged": r"cell\.timed\.states.*",
    "a constant of inputs that are no samples": r"cell\.timed\.contents\[\]\.samples_per_call",
    "how the artifact was exported": r"cell\.artifact\.(exporter|warnings.*)",
    "told to people; the bytes are vouched for by the manifest": r"cell\.(model_sha256|measure\..*|instructions.*)",
    "names that the release's own check tries out on the robot": r"cell\.load\.(inputs|outputs|operators).*",
    "how near the release's own answers must come: the run's word, as is parity": r"cell\.answers\.allowed.*",
    "of metrics without raw samples, beside what is judged": r"cell\.memory_peak_mib\.(after_mib|peaks_kib|cap)\..*|"
    r"cell\.memory_peak_mib\.peaks_kib.*|cell\.parity\.(seed|samples|fixed_list\..*)|cell\.load_time_s\.each_s.*",
    "a metric of another name is a test of the user's own; none with a limit": r"cell\.(accuracy|latency_p50_ms|"
    r"latency_p90_ms|latency_p999_ms|latency_max_ms|memory_growth_kib_per_1000|artifact_mib)\.metric",
    "why the decision took what it took; which is decided again": r"decision\[\]\.(emulated|model_sha256|prefer.*|"
    r"within_percent|sentence|order.*|without_limit.*|steps.*|headroom.*|changes.*|cells|out.*|notes.*)",
    "other cells": r"other\..*|(samples|answers)/net-rig-torchscript\..*",
}
LISTED = re.compile("|".join(f"(?:{pattern})" for pattern in NOT_JUDGED.values()))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateProject]:
    with pytest.MonkeyPatch.context() as patch:
        share_model_processes(patch)
        made = make_project(tmp_path_factory.mktemp("honest"), backends=("onnxruntime", "torchscript"), samples=600)
        patch.setenv("HILGATE_CACHE", str(made.cache))
        yield made


def figures(found: Examined) -> list[tuple[Any, ...]]:
    """What was judged of a cell: verdicts and figures, but for metrics that a test of the user's own has."""
    checks = [each for each in found.judged["rig"] if each.metric in METRICS.split("|")]
    return [
        (each.metric, each.check.verdict, each.check.finding.value, each.check.finding.bound, each.check.limit)
        for each in checks
        if each.check.limit is not None
    ]


@pytest.mark.parametrize("count", [FEW, pytest.param(COUNT, marks=pytest.mark.slow)])
def test_false_verdicts(project: GateProject, count: int) -> None:
    """One value, one file, one time, one committed file; each seeded, so that a failure comes again."""
    restorer, draw, passed = Restorer(project), random.Random(SEED), Counter[str]()
    policy = load(project)
    honest, unsaid = examined(project, policy), list[str]()
    for number in range(count):
        mutation = mutate(project, restorer.content, draw)
        try:
            found = examined(project, load(project) if mutation.place.startswith(("commit", "tree")) else policy)
        except (InputError, Refused) as error:
            unsaid += [str(error)] if "next: " not in str(error) else []
            continue
        finally:
            changed = read(project)
            restorer.restore(mutation)
        pattern = mutation.pattern(restorer.content)
        assert may_pass(mutation, pattern, restorer.content, changed), (number, mutation, pattern)
        assert figures(found) == figures(honest), (number, mutation)
        assert (key_of(found), found.parts) == (key_of(honest), honest.parts), (number, mutation)
        passed[pattern] += 1
    assert unsaid == []  # what would satisfy it
    # Neither all nor none: the table of what is not judged is looked at, and so is the gate.
    assert count // 20 < passed.total() < count // 2, passed
    assert figures(examined(project, policy)) == figures(honest)


def key_of(found: Examined) -> tuple[str, ...]:
    return found.cell.model, found.cell.device, found.cell.backend


def read(project: GateProject) -> Any:
    return json.loads((project.evidence / "evidence.json").read_text())


def may_pass(mutation: Mutation, pattern: str, before: Any, after: Any) -> bool:
    """Decide whether the gate may let a change through, without asking it."""
    if mutation.place.startswith("time: "):
        started, finished = (datetime.fromisoformat(after[key]) for key in ("started", "finished"))
        now = datetime.now(UTC)
        return now - timedelta(days=14) < started <= finished < now + timedelta(hours=1)
    if LISTED.fullmatch(pattern):
        return True
    if mutation.place.startswith("bundles/"):
        return mutation.place != f"bundles/{before['cells'][0]['bundle']['sha256']}.json"
    return bool(before != after and _meaning(after) == _meaning(before))


def _meaning(content: Any) -> Any:
    """Return evidence as its schema reads it: a key that was taken out and has its default means the same."""
    return RunEntry.model_validate(content).model_dump()


def test_list_names_no_figure(project: GateProject) -> None:
    """What must be judged is not on the list: it would hide a hole."""
    judged = ["verdict", "commit", "started", "finished", "cell.verdict", "cell.emulated", "cell.bundle.sha256"]
    judged += ["asked.narrowed", "asked.selected", "files[].sha256", "cell.artifact.sha256", "decision[].taken"]
    judged += [f"cell.latency_p99_ms.{key}" for key in ("value", "bound", "limit", "samples", "verdict", "raw_sha256")]
    judged += [f"cell.memory_peak_mib.{key}" for key in ("value", "bound", "limit", "verdict", "metric")]
    judged += [f"cell.load.{key}" for key in ("threads", "options", "library", "artifact")]
    judged += ["cell.fingerprint.arch", "cell.fingerprint.python", "cell.answers.sha256", "cell.timed.block_ms"]
    assert [each for each in judged if LISTED.fullmatch(each)] == []


def test_files_are_those_of_the_evidence(project: GateProject) -> None:
    """The project is whole after all that, and its evidence names files that are there."""
    content = read(project)
    assert content["cells"][0]["backend"] == "onnxruntime"
    for check in content["cells"][0]["checks"]:
        assert check["raw"] is None or Path(project.evidence / check["raw"]).is_file()
