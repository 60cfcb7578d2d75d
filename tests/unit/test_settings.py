"""What all backends set alike: a backend that is set otherwise is not compared."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from harness.agent.operations import flushes_denormals
from harness.backends.onnxruntime import Engine
from harness.deploy.explaining import check_settings
from harness.errors import DeploymentError

WANTED = {"threads": 1, "interop_threads": 1, "flush_denormals": False}


def test_what_is_set_as_wanted_may_say_more_beside() -> None:
    check_settings(WANTED, {**WANTED, "providers": ["CPUExecutionProvider"]}, "a cell")


@pytest.mark.parametrize(
    ("found", "named"),
    [
        pytest.param({**WANTED, "threads": 2}, ["threads = 1", "threads = 2"], id="threads"),
        pytest.param({**WANTED, "interop_threads": 4}, ["interop_threads = 4"], id="interop-threads"),
        pytest.param({**WANTED, "flush_denormals": True}, ["flush_denormals = false", "= true"], id="denormals"),
        pytest.param({"threads": 1}, ["flush_denormals = not said"], id="not-said"),
    ],
)
def test_another_setting_is_refused_by_name(found: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(DeploymentError) as raised:
        check_settings(WANTED, found, "a cell")
    assert all(word in str(raised.value) for word in [*named, "cannot be compared", "a cell"])


def test_whether_denormals_are_flushed_is_tried() -> None:
    import torch

    before = flushes_denormals()
    try:
        assert torch.set_flush_denormal(True)
        assert flushes_denormals()
        assert np.float32(2e-38) * np.float32(0.1) == 0
    finally:
        torch.set_flush_denormal(False)
    assert not flushes_denormals()
    assert not before


def test_onnxruntime_is_given_them() -> None:
    options = Engine({**WANTED, "threads": 3, "interop_threads": 2, "flush_denormals": True}, {}).session_options
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
    assert str(options.execution_mode).endswith("ORT_PARALLEL")
    assert options.get_session_config_entry("session.set_denormal_as_zero") == "1"
    assert "onnxruntime" in sys.modules
