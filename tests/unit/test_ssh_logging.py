"""What paramiko logs is raised as well: nobody is shown its tracebacks beside our message."""

from __future__ import annotations

import importlib
import logging

import pytest


def test_paramiko_logs_no_tracebacks_unless_somebody_wants_them(caplog: pytest.LogCaptureFixture) -> None:
    importlib.import_module("harness.links.ssh.connection")  # which sees to it
    logger = logging.getLogger("paramiko.transport")
    logger.error("Traceback (most recent call last)")
    assert caplog.text == ""
    with caplog.at_level(logging.ERROR, logger="paramiko.transport"):
        logger.error("Traceback (most recent call last)")
    assert "Traceback" in caplog.text
