"""What is said of a process that died of an illegal instruction."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import cast

import pytest

from harness.agent.illegal import MARK
from harness.isa.diagnosis import illegal_instruction
from harness.links import Channel, stderr_of
from harness.protocol import BoardFacts
from tests.support.facts import board_facts

RUNTIME = f"/home/pi/.cache/hilgate/runtimes/{'a18c' * 16}"
LDADDAL, SDOT, NOP, UDF, NOTHING = "1600f6f8df1240f1", "2094824e", "1f2003d5", "00000000", "ffffffff"
PI4 = board_facts(cpu="cortex-a72", features=["fp", "asimd", "crc32", "cpuid"])
PI5 = board_facts(cpu="cortex-a76", features=["fp", "asimd", "atomics", "asimddp"])
PC = board_facts(arch="x86_64", cpu="Intel(R) Xeon(R)", features=["sse2", "avx2"])


def said(path: str, offset: int | None, code: str) -> str:
    """A process's stderr."""
    return f"loading\n{MARK} {json.dumps({'path': path, 'offset': offset, 'code': code})}\nIllegal instruction\n"


@pytest.mark.parametrize(
    ("path", "code", "facts", "found"),
    [
        pytest.param(
            f"{RUNTIME}/torch/lib/libc10.so",
            LDADDAL,
            PI4,
            "ldaddal x22, x22, [x0] at torch/lib/libc10.so+0x4d0fec: it needs LSE (ARMv8.1's atomics), which this "
            "cortex-a72 lacks",
            id="torch-2.10.0-on-a-Pi-4",
        ),
        pytest.param(
            "/opt/venv/lib/python3.11/site-packages/numpy/core.so",
            SDOT,
            PI4,
            "sdot v0.4s, v1.16b, v2.16b at numpy/core.so+0x4d0fec: it needs DotProd (dot product), which this "
            "cortex-a72 lacks",
            id="in-an-environment",
        ),
        pytest.param(
            "/usr/lib/libz.so",
            LDADDAL,
            PI5,
            "ldaddal x22, x22, [x0] at /usr/lib/libz.so+0x4d0fec: it needs LSE (ARMv8.1's atomics), which this "
            "cortex-a76 has by its kernel's list of features: it may need a later version of that",
            id="that-the-CPU-has",
        ),
        pytest.param(
            "",
            SDOT,
            PI4,
            "sdot v0.4s, v1.16b, v2.16b in code that was made in memory: it needs DotProd (dot product), which this "
            "cortex-a72 lacks",
            id="made-in-memory",
        ),
        pytest.param(
            "/a.so",
            UDF,
            PI4,
            "udf #0 at /a.so+0x4d0fec: a trap, which the program runs into on purpose when it cannot go on; the CPU "
            "lacks nothing",
            id="a-trap",
        ),
        pytest.param(
            "/a.so",
            NOP,
            PI4,
            "nop at /a.so+0x4d0fec: this cortex-a72 lacks it; which extension has it is not known here",
            id="of-an-extension-that-is-not-known",
        ),
        pytest.param(
            "/a.so",
            NOTHING,
            PI4,
            "ffffffff (unknown) at /a.so+0x4d0fec: no instruction that is known here, and none of this cortex-a72's",
            id="no-instruction",
        ),
        pytest.param(
            "/a.so",
            "62f1fd4858c0",
            PC,
            "vaddpd zmm0, zmm0, zmm0 at /a.so+0x4d0fec: it needs AVX512 (x86's AVX512), which this Intel(R) Xeon(R) "
            "lacks",
            id="x86",
        ),
    ],
)
def test_it_names_instruction_place_need_and_cpu(path: str, code: str, facts: BoardFacts, found: str) -> None:
    cause = illegal_instruction(said(path, 0x4D0FEC, code), facts, {"torch": "2.10.0"})
    assert cause is not None
    assert cause.found == f"killed by SIGILL: illegal instruction {found}"


def test_of_torch_it_says_which_versions_run() -> None:
    cause = illegal_instruction(said(f"{RUNTIME}/torch.libs/libarm.so", 8, LDADDAL), PI4, {"torch": "2.4.0"})
    assert cause is not None
    assert cause.hint == (
        "Known to run without LSE: torch 2.9.1, 2.8.0, 2.7.1, 2.5.1, 2.4.1; this is 2.4.0. "
        "Pin another version of torch in the device file: [runtime] packages"
    )


def test_a_place_without_an_address_is_named_by_its_file() -> None:
    cause = illegal_instruction(said("/tmp/code.bin", None, SDOT), PI4, {})
    assert cause is not None
    assert "at /tmp/code.bin: it needs DotProd" in cause.found


@pytest.mark.parametrize(
    "stderr",
    [
        pytest.param("", id="nothing"),
        pytest.param("Illegal instruction (core dumped)\n", id="only-the-shell"),
        pytest.param(f"{MARK} {{broken}}\n", id="no-json"),
        pytest.param(f'{MARK} {{"path": 7, "offset": "x", "code": "zz"}}\n', id="other-types"),
        pytest.param(f'{MARK} {{"code": "00"}}\n', id="parts-missing"),
        pytest.param(f'{MARK} {{"path": "", "offset": -1, "code": "00"}}\n', id="negative-offset"),
        pytest.param(f'{MARK} {{"path": "", "offset": {2**70}, "code": "00"}}\n', id="offset-over-64-bits"),
        pytest.param(f'{MARK} {{"path": {"[" * 30000}}}\n', id="nested-too-deep"),
    ],
)
def test_where_the_process_did_not_say_it_nothing_is_made_up(stderr: str) -> None:
    assert illegal_instruction(stderr, PI4, {}) is None


@pytest.mark.parametrize(
    ("stderr", "quoted"),
    [
        pytest.param(f"{MARK} {{}}\n", "it wrote nothing to stderr", id="nothing-else"),
        pytest.param(f"loading\n{MARK} {{}}\n", "its stderr ends:\nloading", id="something-before-it"),
    ],
)
def test_what_it_said_for_us_is_not_quoted(stderr: str, quoted: str) -> None:
    channel = cast(Channel, SimpleNamespace(stderr_tail=lambda: stderr))
    assert stderr_of(channel, without=MARK) == quoted
