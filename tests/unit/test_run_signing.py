"""A run that signs its evidence: what is signed, that it is the last thing, and that the key is nowhere else."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import Input, Model
from harness.backends import load_backend
from harness.bundle import Bundle
from harness.bundle.runtime import Runtime
from harness.cell import Cell
from harness.checks.check import Check, Verdict
from harness.checks.finding import Finding
from harness.checks.limits import Metric
from harness.device.device import Device
from harness.errors import InputError
from harness.evidence.folder import SIGNATURE
from harness.evidence.schema import FileEntry, RunEntry
from harness.evidence.writer import Evidence
from harness.model.model_file import ModelFile
from harness.run.signing import KEY, PASSPHRASE, describe_result, hide_key, open_signer, sign_evidence
from harness.signing.envelope import read_sealed
from harness.signing.keys import PublicKey, Signer, load_public, make_key
from harness.signing.statement import EVIDENCE_PREDICATE, subjects_of
from tests.support.evidences import make_cell, make_check, make_run

SECRET = "correct horse battery staple"  # noqa: S105
P99 = Metric("latency_p99_ms", "ms", "99th percentile", wall_clock=True)
BUNDLE = Bundle(backend="onnxruntime", agent={}, artifact={}, runtime=Runtime(described={"python": "3"}, packages={}))


def build() -> Any:
    """What a model file has; never called here."""


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key's file, without a passphrase."""
    make_key(tmp_path / "signing", None)
    return tmp_path / "signing"


@pytest.fixture
def public(key: Path) -> PublicKey:
    """Its public half."""
    return load_public(key.with_name("signing.pub"))


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """Evidence of a cell that passed, ended."""
    model = Model(build=build, inputs=[Input("x", shape=(1,))], name="net")
    keys: dict[str, Any] = {"description": "a board", "link": "ssh", "host": "h", "backends": ("onnxruntime",)}
    device = Device(name="pi4", path=tmp_path / "pi4.toml", **keys)
    cell = Cell(ModelFile(tmp_path / "net.py", model, ()), device, load_backend("onnxruntime"))
    made = Evidence(tmp_path / "hil", [cell])
    made.files = [FileEntry(kind="model", name="net", path="net.py", sha256="a" * 64)]
    made.begin()
    made.add_bundle(cell, BUNDLE)
    made.add_check(cell, Check(Finding(P99, 1.5, 1.5), None, Verdict.PASS, ""))
    made.finish(keep=[cell])
    made.write()
    return made


# What is signed


def test_the_evidence_and_its_manifests_are_signed_as_they_are(
    evidence: Evidence, key: Path, public: PublicKey
) -> None:
    signer = open_signer(str(key))
    assert signer is not None
    line, is_signed = sign_evidence(evidence, signer, allow_inconclusive=False)
    assert (line.startswith("signed: "), public.fingerprint in line, is_signed) == (True, True, True)
    opened = read_sealed(evidence.folder / SIGNATURE, [public], EVIDENCE_PREDICATE)
    subjects = subjects_of(opened.statement)
    assert sorted(subjects) == [f"bundles/{BUNDLE.sha256}.json", "evidence.json"]
    for name, sha256 in subjects.items():
        assert hashlib.sha256((evidence.folder / name).read_bytes()).hexdigest() == sha256
    assert opened.statement["predicate"] == {
        "result": "PASSED",
        "configuration": [{"name": "net.py", "digest": {"sha256": "a" * 64}}],
        "passedTests": ["net/pi4/onnxruntime/latency_p99_ms"],
        "warnedTests": [],
        "failedTests": [],
    }


def test_a_note_that_was_not_written_yet_is_signed_too(evidence: Evidence, key: Path, public: PublicKey) -> None:
    (record,) = evidence.records.values()
    record.add_notes(["said late"])
    signer = open_signer(str(key))
    assert signer is not None
    sign_evidence(evidence, signer, allow_inconclusive=False)
    content = (evidence.folder / "evidence.json").read_bytes()
    assert b"said late" in content
    opened = read_sealed(evidence.folder / SIGNATURE, [public], EVIDENCE_PREDICATE)
    assert subjects_of(opened.statement)["evidence.json"] == hashlib.sha256(content).hexdigest()


def run_of(*verdicts: str, over_all: str) -> RunEntry:
    """A run of one cell with these checks, each of a metric of its own."""
    checks = [make_check(f"m{place}", 1.0, verdict=verdict) for place, verdict in enumerate(verdicts)]
    return RunEntry.model_validate({**make_run([make_cell("onnxruntime", checks)]), "verdict": over_all})


@pytest.mark.parametrize(
    ("verdicts", "over_all", "allowed", "result", "lists"),
    [
        pytest.param(["PASS", "MEASURED", "NOT_APPLICABLE"], "PASS", False, "PASSED", ["m0", "", ""], id="passed"),
        pytest.param(["PASS", "FAIL"], "FAIL", False, "FAILED", ["m0", "", "m1"], id="failed"),
        pytest.param(["PASS", "INCONCLUSIVE"], "INCONCLUSIVE", False, "FAILED", ["m0", "", "m1"], id="open"),
        pytest.param(["PASS", "INCONCLUSIVE"], "INCONCLUSIVE", True, "WARNED", ["m0", "m1", ""], id="allowed"),
        pytest.param(["FAIL", "INCONCLUSIVE"], "FAIL", True, "FAILED", ["", "m1", "m0"], id="failed all the same"),
        pytest.param(["MEASURED"], "MEASURED", False, "WARNED", ["", "", ""], id="no limit"),
        pytest.param(["PASS"], "FAIL", False, "FAILED", ["m0", "", ""], id="an error beside it"),
    ],
)
def test_the_result_is_what_the_run_ends_with(
    verdicts: list[str], over_all: str, allowed: bool, result: str, lists: list[str]
) -> None:
    found = describe_result(run_of(*verdicts, over_all=over_all), allowed)
    names = [[name.rpartition("/")[2] for name in found[f"{kind}Tests"]] for kind in ("passed", "warned", "failed")]
    assert (found["result"], names) == (result, [[name] if name else [] for name in lists])


def test_a_metric_that_was_judged_twice_counts_as_the_worse() -> None:
    checks = [make_check("parity", 1.0, verdict=verdict) for verdict in ("PASS", "FAIL", "PASS")]
    found = describe_result(RunEntry.model_validate(make_run([make_cell("onnxruntime", checks)])), False)
    assert (found["passedTests"], len(found["failedTests"])) == ([], 1)


# What cannot be signed


class Broken(Signer):
    """Hardware that was pulled out."""

    __slots__ = ()

    def sign(self, data: bytes) -> bytes:
        raise InputError("the key's store did not sign", found="no token")


def test_a_key_that_does_not_sign_any_more_is_a_line_and_leaves_nothing(evidence: Evidence, public: PublicKey) -> None:
    line, is_signed = sign_evidence(
        evidence, Broken(cast(Any, SimpleNamespace()), public, "hsm:"), allow_inconclusive=False
    )
    assert (line.startswith("not signed: the key's store did not sign"), is_signed) == (True, False)
    assert not (evidence.folder / SIGNATURE).exists()


def test_evidence_that_could_not_be_written_is_not_signed(evidence: Evidence, key: Path) -> None:
    evidence.unwritable = "the disk is full"
    signer = open_signer(str(key))
    assert signer is not None
    assert sign_evidence(evidence, signer, allow_inconclusive=False) == (
        "not signed: the evidence cannot be written",
        False,
    )
    assert not (evidence.folder / SIGNATURE).exists()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        pytest.param("signing.pub", "public", id="the public half"),
        pytest.param("nowhere", "nowhere", id="no file"),
        pytest.param(KEY, f"\\${KEY}", id="an empty variable"),
        pytest.param("", "no name", id="no name"),
    ],
)
def test_a_key_that_is_none_is_said(key: Path, monkeypatch: pytest.MonkeyPatch, name: str, found: str) -> None:
    key.with_name("signing.pub").chmod(0o600)
    monkeypatch.chdir(key.parent)
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(InputError, match=found):
        open_signer(name)


def test_nothing_is_signed_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "-----BEGIN PRIVATE KEY-----")
    assert open_signer(None) is None


def test_the_key_may_be_the_variables(key: Path, public: PublicKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, key.read_text())
    signer = open_signer(KEY)
    assert signer is not None
    assert signer.public.fingerprint == public.fingerprint


def test_programs_of_a_run_inherit_neither_key_nor_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY, PASSPHRASE):
        monkeypatch.setenv(name, "secret")
    hide_key()
    assert not {KEY, PASSPHRASE} & {*os.environ}


# The command line


def run_pytest(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A HIL run that comes no further than its planning: it has no model file."""
    (folder / "pytest.ini").write_text("[pytest]\nhil_model = none.py\nhil_device = local\n")
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-m", "hil", *words]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # without a terminal
    )


@pytest.mark.parametrize(
    ("key_file", "found"),
    [
        pytest.param("locked", PASSPHRASE, id="no passphrase"),
        pytest.param("signing", "no such model file", id="a good one, and what is wrong next"),
    ],
)
def test_a_key_that_cannot_be_used_ends_the_run_before_anything_is_measured(
    tmp_path: Path, key: Path, key_file: str, found: str
) -> None:
    make_key(tmp_path / "locked", SECRET.encode())
    done = run_pytest(tmp_path, "--sign", key_file)
    assert done.returncode == 4
    assert found in done.stdout + done.stderr
    assert not (tmp_path / "build").exists()


def test_a_wrong_passphrase_is_said_and_never_shown(tmp_path: Path) -> None:
    make_key(tmp_path / "locked", SECRET.encode())
    done = run_pytest(tmp_path, "--sign", "locked", "--full-trace", "--showlocals", **{PASSPHRASE: "a wrong one"})
    assert done.returncode == 4
    assert "passphrase" in done.stdout + done.stderr
    assert "a wrong one" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("typed", "status", "found"),
    [
        pytest.param(SECRET + "\n", 4, "no such model file", id="right"),
        pytest.param("x\n", 4, "wrong", id="wrong"),
        pytest.param("\x03", 2, "Interrupted", id="Ctrl-C"),
    ],
)
def test_a_passphrase_is_asked_for_at_the_terminal_though_pytest_captures(
    tmp_path: Path, typed: str, status: int, found: str
) -> None:
    make_key(tmp_path / "locked", SECRET.encode())
    (tmp_path / "pytest.ini").write_text("[pytest]\nhil_model = none.py\nhil_device = local\n")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.environ.pop(PASSPHRASE, None)
        command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-m", "hil", "--sign", "locked"]
        os.execv(command[0], command)  # noqa: S606
    shown, asked = b"", False
    with contextlib.suppress(OSError):  # the other side is closed
        while part := os.read(terminal, 4096):
            shown += part
            if not asked and shown.rstrip().endswith(b":"):
                os.write(terminal, typed.encode())
                asked = True
    os.close(terminal)
    _, ended = os.waitpid(pid, 0)
    assert (asked, os.waitstatus_to_exitcode(ended)) == (True, status), shown
    assert found in shown.decode()
    assert SECRET not in shown.decode()


def test_evidence_that_is_still_there_is_json(evidence: Evidence) -> None:
    assert evidence.sha256 == hashlib.sha256((evidence.folder / "evidence.json").read_bytes()).hexdigest()
    assert json.loads((evidence.folder / "evidence.json").read_text())["verdict"] == "PASS"
