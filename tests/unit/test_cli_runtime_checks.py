"""What `hilgate doctor` makes of a backend that this host cannot build."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.doctor_check import FAILED, WARNING
from harness.cli.runtime_checks import runtimes
from harness.device.device import Device
from tests.support.facts import board_facts


@pytest.mark.parametrize(
    ("optional", "mark"),
    [pytest.param(("libtorch",), WARNING, id="optional"), pytest.param((), FAILED, id="asked-for")],
)
def test_it_is_a_failure_unless_a_run_leaves_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optional: tuple[str, ...], mark: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    device = Device(
        name="d", path=Path("d.toml"), description="a machine", link="local", backends=("libtorch",), optional=optional
    )
    facts = board_facts(arch="x86_64", packages={"torch": "2.13.0"}, folders={"torch": "/usr/lib"})
    (check,) = runtimes(device, facts, offline=False)
    assert (check.mark, "there is no C++ compiler for it" in check.found) == (mark, True)
    assert ("leaves it out" in check.found) is bool(optional)
