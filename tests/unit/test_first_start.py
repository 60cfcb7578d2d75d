"""First start: the verdict by what was measured, by how much stayed in the page cache, and by what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.agent.frames import Array
from harness.checks.check import Check, Verdict, judge
from harness.checks.limits import Limit
from harness.deploy import plausibility
from harness.deploy.call import Call
from harness.deploy.deployment import LoadReport
from harness.errors import AgentDied, DaemonFailure, HilgateError, ImpossibleReport, LinkLost, ProtocolError
from harness.measure.first_start import FIRST_START, FirstStarts, first_start, take_first_starts, unasked
from harness.protocol.page_cache import Dropped

MS, S = 1_000_000, 1_000_000_000
STATE = {
    "boot": "one",
    "governor": ["performance"],
    "throttled_bits": None,
    "throttle_events": 0,
    "swapped_pages": 0,
    "swapped_kib": 0,
}


def load(seconds: float) -> LoadReport:
    nothing: tuple[Array, ...] = ()
    call = Call(seconds, int((seconds - 0.1) * S))
    known: dict[str, Any] = {"memory_kib": {}, "outputs": ("y",), "runtime": {}, "settings": {}, "first": nothing}
    return LoadReport(load_ns=int(seconds * S), first_ns=MS, call=call, host_s=seconds + 0.3, **known)


def report(before: int = 1000, after: int = 0, untold: int = 0, **more: Any) -> Dropped:
    plain = {"page_bytes": 4096, "files": 9, "unreadable": 0, "pages": 5000, "before": before, "after": after}
    holders = [{"pid": 7, "name": "python3"}] if after else []
    return Dropped.model_validate({**plain, "untold": untold, "kept": [], "holders": holders, "hidden": 0, **more})


def starts(*seconds: float, dropped: Dropped | None = None, **more: Any) -> FirstStarts:
    reports = [dropped or report()] * len(seconds)
    states = [STATE] * (len(seconds) + 1)
    read = [(each.before - each.after) * each.page_bytes for each in reports]
    known: dict[str, Any] = {"loads": [*map(load, seconds)], "dropped": reports, "states": states, "read_bytes": read}
    return FirstStarts(**{**known, "idle_s": [0.001] * len(seconds), **more})


def judged(found: FirstStarts, limit: float) -> Check:
    return judge(first_start(found), [Limit(FIRST_START.limit_key, limit, "net.py: limits")])


THREE = (2.0, 4.0, 3.0)


@pytest.mark.parametrize(
    ("found", "limit", "verdict", "said"),
    [
        pytest.param(starts(*THREE), 4.0, Verdict.PASS, "", id="the-worst-counts"),
        pytest.param(starts(*THREE), 3.9, Verdict.FAIL, "found at least 4 s", id="the-worst-is-over"),
        pytest.param(
            starts(*THREE, dropped=report(after=200)), 5.1, Verdict.PASS, "", id="fifth-stayed-and-allowed-for"
        ),
        pytest.param(
            starts(*THREE, dropped=report(after=200)),
            4.9,
            Verdict.INCONCLUSIVE,
            "20% of what the start needs did not come from the disk; of files that stayed in the page cache parts are "
            "mapped by python3 (7). Had that to be read like all else, the start could take 5 s",
            id="a-fifth-stayed",
        ),
        pytest.param(
            starts(*THREE, dropped=report(after=300)),
            1e9,
            Verdict.INCONCLUSIVE,
            "30% of what the start needs did not come from the disk; of files that stayed in the page cache parts are "
            "mapped by python3 (7). A robot reads all of it",
            id="too-much-stayed",
        ),
        pytest.param(starts(*THREE, dropped=report(after=1000)), 1e9, Verdict.INCONCLUSIVE, "100%", id="all-stayed"),
        pytest.param(
            starts(*THREE, dropped=report(after=1000, holders=[])),
            1e9,
            Verdict.INCONCLUSIVE,
            "100% of what the start needs did not come from the disk. A robot",
            id="in-memory-alone",
        ),
        pytest.param(starts(*THREE, dropped=report(after=1000)), 3.9, Verdict.FAIL, "at least 4 s", id="fails-warm"),
        pytest.param(
            starts(*THREE, dropped=report(before=600, untold=400)),
            1e9,
            Verdict.INCONCLUSIVE,
            "40% of what the start needs did not come from the disk. A robot",
            id="not-told",
        ),
        pytest.param(starts(*THREE, dropped=report(before=900, untold=100)), 4.5, Verdict.PASS, "", id="few-not-told"),
        pytest.param(
            starts(*THREE, read_bytes=[1000 * 4096, 100 * 4096, 1000 * 4096]),
            1e9,
            Verdict.INCONCLUSIVE,
            "90% of what the start needs did not come from the disk. A robot",
            id="others-had-read-it-again-before-one-start",
        ),
        pytest.param(starts(*THREE, read_bytes=[0] * 3), 1e9, Verdict.INCONCLUSIVE, "100%", id="a-cache-elsewhere"),
        pytest.param(starts(*THREE, read_bytes=[0] * 3), 3.9, Verdict.FAIL, "at least 4 s", id="fails-with-a-cache"),
        pytest.param(
            starts(*THREE, read_bytes=[5000 * 4096] * 3), 4.0, Verdict.PASS, "", id="more-than-needed-was-read"
        ),
        pytest.param(
            starts(*THREE, read_bytes=[4096_000, None, 4096_000]),
            1e9,
            Verdict.INCONCLUSIVE,
            "the device's kernel does not say what a process reads from disks",
            id="not-accounted-for",
        ),
        pytest.param(starts(2.0, 3.0), 1e9, Verdict.INCONCLUSIVE, "2 of 3 processes in the time", id="two"),
        pytest.param(starts(2.0, 3.0), 2.9, Verdict.FAIL, "at least 3 s", id="two-and-over"),
        pytest.param(
            starts(2.0, interruption="the connection dropped during 'load'"),
            1e9,
            Verdict.INCONCLUSIVE,
            "the connection dropped during 'load'",
            id="lost",
        ),
        pytest.param(starts(), 1e9, Verdict.INCONCLUSIVE, "no process was started", id="none"),
        pytest.param(
            starts(interruption="the program that drops the page cache ended"),
            1e9,
            Verdict.INCONCLUSIVE,
            "the program that drops the page cache ended",
            id="nothing-could-be-dropped",
        ),
        pytest.param(
            starts(*THREE, states=[STATE, STATE, {**STATE, "throttle_events": 3}, STATE]),
            1e9,
            Verdict.INCONCLUSIVE,
            "the CPU was throttled 3 times",
            id="throttled",
        ),
        pytest.param(
            starts(*THREE, states=[STATE, {**STATE, "boot": "two"}, {**STATE, "boot": "two"}]),
            1e9,
            Verdict.INCONCLUSIVE,
            "the board was restarted",
            id="restarted",
        ),
        pytest.param(
            starts(2.0, 3.0, loads=[load(2.0), replace(load(3.0), host_s=1.0)]),
            1e9,
            Verdict.INCONCLUSIVE,
            "the device's report is impossible: wanted a load time of at most 1 s",
            id="longer-than-the-host-saw",
        ),
    ],
)
def test_verdict(found: FirstStarts, limit: float, verdict: Verdict, said: str) -> None:
    check = judged(found, limit)
    assert check.verdict is verdict, check.reason
    assert said in check.reason


def test_what_a_start_reads_is_what_is_resident_after_one() -> None:
    """Before the first drop everything may be, for it was just stored or hashed: that must not hide what stayed."""
    found = starts(*THREE, dropped=report(after=100))
    found.dropped = [report(before=4000, after=100), *found.dropped[1:]]
    assert found.spared == [0.1, 0.1, 0.1]


def test_a_share_is_never_above_all() -> None:
    """Another process may map more while pages are counted."""
    found = starts(*THREE)
    found.dropped = [report(before=10), report(before=1000, after=20), report()]
    assert max(found.spared) == 1.0


def test_details_say_how_much_stayed() -> None:
    kept = [{"path": "/usr/lib/libc.so.6", "pages": 256}]
    details = first_start(starts(*THREE, dropped=report(before=1024, after=256, kept=kept))).details
    assert details["each_s"] == list(THREE)
    assert details["page_cache"] == "cold"
    assert details["spared_share"] == [0.25, 0.25, 0.25]
    assert details["mapped_by"] == ["python3 (7)"]
    assert details["dropped"][2] == {
        "files": 9,
        "unreadable": 0,
        "resident_mib": 4.0,
        "stayed_mib": 1.0,
        "untold_mib": 0.0,
        "read_mib": 3.0,
        "kept": {"/usr/lib/libc.so.6": 1.0},
        "pages": [1024, 256, 0],
        "page_bytes": 4096,
        "read_bytes": 3 << 20,
    }


def test_without_a_limit_nobody_asks_and_with_an_emulated_clock_nobody_believes() -> None:
    check = judge(unasked(), [])
    assert (check.verdict, check.finding.unasked) == (Verdict.NOT_APPLICABLE, True)
    limits = [Limit(FIRST_START.limit_key, 1.0, "here")]
    emulated = judge(unasked(), limits, emulated=True)
    assert (emulated.verdict, emulated.finding.unasked) == (Verdict.NOT_APPLICABLE, False)
    assert "emulated" in emulated.reason


@pytest.mark.parametrize(
    ("dropped", "said"),
    [
        pytest.param(report(), "", id="honest"),
        pytest.param(report(after=1000, before=900), "", id="more-came-meanwhile"),
        pytest.param(report(pages=100, before=9), "pages of at least the artifact, 245 of 4096 bytes", id="too-few"),
        pytest.param(report(before=0), "resident pages of what the model's process has just used", id="none-before"),
        pytest.param(report(before=0, untold=1), "", id="none-told"),
        pytest.param(report(before=5001), "at most 5000 resident pages, as many as there are, before", id="before"),
        pytest.param(report(after=5001), "as many as there are, after dropping; found 5001", id="after"),
        pytest.param(report(after=5, kept=[{"path": "/a", "pages": 6}]), "at most 5 pages in the files", id="kept"),
    ],
)
def test_a_report_that_cannot_be_is_named(dropped: Dropped, said: str) -> None:
    reason = plausibility.why_dropped_impossible(dropped, 1_000_000)
    assert (said in reason) if said else (reason == "")


BROKEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pages-of-no-size": lambda plain: {**plain, "page_bytes": 0},
    "negative": lambda plain: {**plain, "after": -1},
    "float": lambda plain: {**plain, "after": 0.5},
    "text": lambda plain: {**plain, "before": "many"},
    "missing": lambda plain: {key: value for key, value in plain.items() if key != "after"},
    "many-holders": lambda plain: {**plain, "holders": [{"pid": 1, "name": "a"}] * 5000},
    "a-path-with-a-line-end": lambda plain: {**plain, "kept": [{"path": "/a\nb", "pages": 1}]},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_report_of_another_form_is_refused(name: str) -> None:
    plain = report().model_dump(mode="json")
    assert Dropped.model_validate(plain) == report()
    with pytest.raises(ValueError, match="validation error"):
        Dropped.model_validate(BROKEN[name](plain))


class Deployer:
    """Starts processes that say what the table has; the page cache of none is dropped."""

    def __init__(self) -> None:
        self.seconds = [3.0, 2.0, 4.0]

    def shared(self) -> tuple[Any, LoadReport]:
        answers = {"measure": lambda *_: (None, {"after": STATE}), "memory_kib": dict, "last_call": Call(0.01, 1)}
        return SimpleNamespace(**answers), load(1.0)

    def fresh(self) -> tuple[Any, LoadReport]:
        return self.shared()[0], load(self.seconds.pop(0))


class Dropper:
    """Drops nothing; says so where no error is to come."""

    errors: list[Exception | None]
    open: int

    read_bytes = 4096_000

    @classmethod
    def start(cls, _: object) -> Dropper:
        Dropper.open += 1
        return cls()

    def drop(self) -> Dropped:
        if (error := self.errors.pop(0)) is not None:
            raise error
        return report()

    def close(self) -> None:
        Dropper.open -= 1


def take(monkeypatch: pytest.MonkeyPatch, errors: list[Exception | None], time_limit_s: float = 60.0) -> FirstStarts:
    Dropper.errors, Dropper.open = errors, 0
    monkeypatch.setattr("harness.measure.first_start.Dropper", Dropper)
    return take_first_starts(cast(Any, Deployer()), [], time_limit_s, lambda done: None)


def test_three_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    found = take(monkeypatch, [None] * 3)
    assert (found.seconds, found.interruption, len(found.states)) == ([3.0, 2.0, 4.0], "", 4)


def test_one_is_started_where_there_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert take(monkeypatch, [None] * 3, 0.0).seconds == [3.0]


@pytest.mark.parametrize("kind", [LinkLost, DaemonFailure, ProtocolError, ImpossibleReport])
def test_what_says_nothing_of_the_model_leaves_it_open(
    monkeypatch: pytest.MonkeyPatch, kind: type[HilgateError]
) -> None:
    found = take(monkeypatch, [None, kind("no luck", found="it stalled\nmore")])
    assert (found.seconds, found.interruption) == ([3.0], "no luck: it stalled more")
    check = judged(found, 1e9)
    assert (check.verdict, check.reason) == (Verdict.INCONCLUSIVE, "no luck: it stalled more")


def test_a_process_that_dies_ends_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AgentDied):
        take(monkeypatch, [None, AgentDied("the agent died")])
