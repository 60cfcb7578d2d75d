"""An outage in the middle of a measurement: the loop goes on, each call ends in its time, and none is dropped."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from harness.agent.failure import KINDS, NEVER, Failures
from harness.agent.remote import resolving
from harness.agent.timing import timed_loop
from tests.support.faulty_server import FaultyServer

from .test_remote_faults import X, calling, resolve_with

# Of nine calls the three in the middle meet it.
CALLS, FIRST, LAST = 9, 3, 6
TIMEOUT_S = 0.5


def cable(server: FaultyServer, *, gone: bool) -> None:
    """Pulled: what is sent is answered by nobody."""
    server.fault = "silence" if gone else ""


def killed(server: FaultyServer, *, gone: bool) -> None:
    """Ended: connections are reset."""
    server.fault = "reset" if gone else ""


NAMES = {"gone": False}


def names(server: FaultyServer, *, gone: bool) -> None:
    """No name is resolved any more."""
    NAMES["gone"] = gone


@pytest.mark.parametrize(("outage", "kind"), [(cable, "late"), (killed, "unreachable"), (names, "unreachable")])
def test_the_loop_goes_on_and_says_how_each_call_failed(
    outage: Callable[..., None], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve() -> None:
        if NAMES["gone"]:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    resolve_with(monkeypatch, resolve)
    monkeypatch.setattr(resolving, "REMEMBERED_S", 0.0)
    failures, number = Failures(CALLS), 0
    with FaultyServer("") as server, calling(f"http://robot-server.test:{server.port}", timeout_s=TIMEOUT_S) as client:

        def run(prepared: Any) -> Any:
            nonlocal number
            number += 1
            if number - 1 in (FIRST, LAST):
                outage(server, gone=number - 1 == FIRST)
                client.connection.close()  # as an idle one is: else its name is not asked for
            return client.infer(prepared)

        start = time.monotonic()
        durations = timed_loop(run, lambda count: [[X]] * count, CALLS, 10**11, failures)
    assert time.monotonic() - start < 3 * TIMEOUT_S + 5
    assert (durations == NEVER).nonzero()[0].tolist() == [*range(FIRST, LAST)], failures.texts
    assert failures.counts == {kind: LAST - FIRST}
    (codes,) = failures.tensors(CALLS)
    assert codes.tolist() == [0] * FIRST + [KINDS.index(kind) + 1] * (LAST - FIRST) + [0] * (CALLS - LAST)
