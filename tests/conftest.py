"""What every test session of the project shares: what was skipped is counted, and workers share the tests by file."""

from __future__ import annotations

import gc
import os
import signal
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

from harness.plugin import RUN
from tests.support.namespaces import NamespacesRefused


def pytest_configure(config: pytest.Config) -> None:
    """Let runs that tests start be as a user's: no workers, for which pytest-benchmark switches itself off."""
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
        del os.environ[name]
    # A job in the background has Ctrl-C ignored, and so had what its tests start: some of that is to be ended by it.
    if config.option.markexpr != "hil" and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Hand out whole files where workers share the tests, as in `make test`."""
    from tests.support.workers import FileByFile

    return FileByFile(config, log)


@pytest.fixture(scope="module", autouse=True)
def _nothing_old_is_looked_through(pytestconfig: pytest.Config) -> None:
    """Leave thousands of collected tests, and torch, out of each look for garbage, which takes a quarter of a second:
    hilgate has Python look for it before whatever it times. Anew for each file, for harness/agent/growth.py ends it.

    Not in a HIL run.
    """
    if pytestconfig.stash.get(RUN, None) is None:
        gc.collect()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Skip a test that needs namespaces where none can be made."""
    report = yield
    if call.excinfo is not None and isinstance(error := call.excinfo.value, NamespacesRefused):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {error}")
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Count what was skipped, by its reason: a skip is no pass. Workers hand over reports and nothing else.

    Not of a HIL run of this clone's suite, whose table says why.
    """
    if terminalreporter.config.stash.get(RUN, None) is not None:
        return
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", []) if report.when != "collect"]
    reasons = Counter(str(found[2]).removeprefix("Skipped: ") for found in skipped if isinstance(found, tuple))
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} tests were skipped: {reason}", yellow=True)
