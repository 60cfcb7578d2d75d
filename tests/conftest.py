"""What this machine does not allow is skipped with its reason, and said at the end: a skip is no pass."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.support.namespaces import NamespacesRefused

REFUSED = pytest.StashKey[list[str]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Skip a test that needs namespaces where none can be made."""
    report = yield
    if call.excinfo is not None and isinstance(error := call.excinfo.value, NamespacesRefused):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {error}")
        item.config.stash.setdefault(REFUSED, []).append(str(error))
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Count them."""
    for reason in dict.fromkeys(refused := config.stash.get(REFUSED, [])):
        terminalreporter.write_line(f"{refused.count(reason)} tests were skipped: {reason}", yellow=True)
