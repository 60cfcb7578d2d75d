"""Progress lines are logged, and shown by whoever runs hilgate."""

from __future__ import annotations

import logging
import threading

import pytest

from harness.host.progress_log import progress_logger, show_waiting, showing_progress

LOG = progress_logger("harness.somewhere")


def log_elsewhere(line: str) -> None:
    thread = threading.Thread(target=LOG.info, args=(line,))
    thread.start()
    thread.join()


def test_a_line_is_shown_and_logged_under_its_modules_name(caplog: pytest.LogCaptureFixture) -> None:
    shown: list[str] = []
    with showing_progress(shown.append):
        LOG.info("100 % of app-1.0.whl")
    assert shown == ["100 % of app-1.0.whl"]
    assert caplog.record_tuples == [("harness.somewhere", logging.INFO, "100 % of app-1.0.whl")]


def test_where_nobody_shows_progress_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    LOG.info("fetching torch")
    with showing_progress(lambda line: None):
        pass
    LOG.info("fetching torch")
    assert caplog.records == []


def test_lines_of_another_thread_wait_for_the_one_that_shows(caplog: pytest.LogCaptureFixture) -> None:
    shown: list[str] = []
    with showing_progress(shown.append):
        log_elsewhere("booting")
        assert shown == []
        LOG.info("measuring")
        log_elsewhere("booted")
        show_waiting()
    assert shown == ["booting", "measuring", "booted"]
    assert len(caplog.records) == 3


def test_what_another_thread_has_logged_is_shown_at_the_end() -> None:
    shown: list[str] = []
    with showing_progress(shown.append):
        log_elsewhere("booted")
    assert shown == ["booted"]


def test_no_handler_is_given_what_a_terminal_obeys(caplog: pytest.LogCaptureFixture) -> None:
    with showing_progress(lambda line: None):
        LOG.warning("\x1b[2Jall is well")
    assert caplog.messages == ["\\x1b[2Jall is well"]
