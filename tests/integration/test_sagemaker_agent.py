"""The backend sagemaker in the agent's own process: credentials stay in its memory, and sign; first parts are timed."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.agent.failure import NEVER
from harness.agent.frames import Frame
from harness.deploy.first_parts import FIRST_PARTS
from harness.deploy.timing import read_kept
from tests.integration.test_remote_agent import Agent, X
from tests.support.certificates import Authority
from tests.support.signed_server import KEY, SignedServer, error

GIVEN = {"access_key": KEY.access_key, "secret_key": KEY.secret_key, "token": KEY.token}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: Authority) -> Iterator[SignedServer]:
    with SignedServer(authority.server()) as started:
        yield started


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    started = Agent(tmp_path, "sagemaker")
    yield started
    started.close()


def read(frame: Frame, samples: int) -> tuple[Any, dict[str, Any]]:
    """Read the reply to a measuring call as the host does."""
    session: Any = SimpleNamespace(
        exchange=SimpleNamespace(where="tests"),
        is_paced=False,
        samples=samples,
        device_time=SimpleNamespace(seconds=0.0),
        has_fallback=False,
        refuse_tensors=lambda _, found: AssertionError(found),
    )
    return read_kept(session, frame)


def test_credentials_come_before_loading_and_stay_in_memory(
    agent: Agent, server: SignedServer, authority: Authority
) -> None:
    refused = agent.load(server.description(authority.pem)).header
    assert "NoCredentials: this process has no credentials of AWS" in refused["error"]
    found = agent.ask("credentials", **{**GIVEN, "token": "with a space"})
    assert "wanted access_key" in found.header["error"]
    assert set(agent.ask("credentials", **GIVEN).header) == {"elapsed_ns"}
    loaded = agent.load(server.description(authority.pem)).header
    assert (loaded["outputs"], [*loaded["runtime"]]) == (["y"], ["numpy", "botocore"])
    np.testing.assert_array_equal(agent.ask("infer", X).tensors[0], 2 * X)

    server.fault = 403, *error("ExpiredTokenException", f"expired: {KEY.token}")[1:]
    said = repr([loaded, refused, agent.ask("infer", X).header])
    assert "ExpiredTokenException: expired: [redacted]" in said
    process = Path(f"/proc/{agent.process.pid}")
    said += (process / "cmdline").read_text() + (process / "environ").read_text()
    said += "".join(path.read_text("latin-1") for path in agent.folder.rglob("*") if path.is_file())
    assert not [secret for secret in KEY[:3] if secret in said]
    assert resource.prlimit(agent.process.pid, resource.RLIMIT_CORE) == (0, 0)
    assert (
        process / "mem"
    ).stat().st_uid == 0  # not its user's, where that is another: no other process of it reads it


def test_a_streaming_endpoint_times_first_parts(agent: Agent, server: SignedServer, authority: Authority) -> None:
    agent.ask("credentials", **GIVEN)
    agent.load(server.description(authority.pem, stream=True))
    server.delay_s = 0.05
    durations, account = read(agent.ask("measure", X, samples=5, budget_ns=10**10), 5)
    first = account[FIRST_PARTS]
    assert (first >= 50_000_000).all()
    assert (first <= durations - 50_000_000).all()
    server.fault = 503, *error("ServiceUnavailable", None)[1:]
    durations, account = read(agent.ask("measure", X, samples=2, budget_ns=10**10), 2)
    assert account[FIRST_PARTS].tolist() == durations.tolist() == [NEVER, NEVER]


def test_an_endpoint_that_does_not_stream_reports_none(
    agent: Agent, server: SignedServer, authority: Authority
) -> None:
    agent.ask("credentials", **GIVEN)
    agent.load(server.description(authority.pem))
    found = agent.ask("measure", X, samples=3, budget_ns=10**10)
    assert FIRST_PARTS not in read(found, 3)[1]
    assert "first_parts" not in found.header
