"""A run that signs its evidence (``pytest --sign KEY``): whose board it was measured on.

The key is loaded, and its passphrase asked for, before anything is measured: a wrong one must not be met after an hour.
Nothing of it is written, shown or handed on: variables of the environment that hold it are hidden from the processes
that the run starts, which run the user's code.

What is signed at the run's end is an in-toto statement of the predicate https://in-toto.io/attestation/test-result/v0.1
on evidence.json and the manifests beside it. All else that the evidence names it has the hashes of.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..checks.check import Verdict
from ..errors import HilgateError
from ..evidence.folder import BUNDLES, FILE
from ..evidence.schema import RunEntry
from ..evidence.writer import Evidence
from ..host.shown_path import shown_path
from ..printable import printable

if TYPE_CHECKING:
    from ..signing.keys import Signer

KEY = "HILGATE_SIGNING_KEY"
PASSPHRASE = "HILGATE_SIGNING_PASSPHRASE"  # noqa: S105  # the variable's name


def open_signer(key: str | None) -> Signer | None:
    """Load the key that the run's evidence is to be signed with; None where it is not to be.

    Args:
        key: as --sign has it: a file, a URI, or KEY, the variable that holds it; None without.

    Raises:
        InputError: it cannot be loaded.
    """
    if key is None:
        return None
    from ..signing.keys import load_signer  # here: a run that signs nothing does not wait for it
    from ..signing.passphrase import terminal_prompt

    return load_signer(None if key == KEY else key, terminal_prompt())


def hide_key() -> None:
    """Take the key and its passphrase out of the environment, which the programs that a run starts inherit."""
    for name in (KEY, PASSPHRASE):
        os.environ.pop(name, None)


def sign_evidence(evidence: Evidence, signer: Signer, *, allow_inconclusive: bool) -> tuple[str, bool]:
    """Sign the evidence as it is now; nothing may be written to it afterwards.

    That of an interrupted run is signed, too: it says itself what it did not come to.

    Args:
        evidence: the run's, ended.
        signer: from ``open_signer``.
        allow_inconclusive: whether the run's exit status forgives what is INCONCLUSIVE.

    Returns:
        A line that says where the signature is, or why there is none; and whether there is one.
    """
    if evidence.unwritable:  # what lies there is not what was measured
        return "not signed: the evidence cannot be written", False
    try:
        evidence.write()  # whatever was noted since
        path = evidence.save_signature(_sealed(evidence, signer, allow_inconclusive))
    except HilgateError as error:
        return f"not signed: {error}", False
    except Exception as error:  # noqa: BLE001  # hardware or a service that holds the key: any error, in its own words
        return f"not signed: {type(error).__name__}: {printable(str(error).partition(chr(10))[0])}", False
    return f"signed: {shown_path(path)}, by the key {signer.public.fingerprint}", True


def _sealed(evidence: Evidence, signer: Signer, allow_inconclusive: bool) -> str:
    from ..signing.envelope import seal
    from ..signing.statement import EVIDENCE_PREDICATE, make_statement

    run = evidence.make_entry()
    subjects = {FILE: evidence.sha256}
    subjects |= {f"{BUNDLES}/{cell.bundle.sha256}.json": cell.bundle.sha256 for cell in run.cells if cell.bundle}
    return seal(make_statement(subjects, EVIDENCE_PREDICATE, describe_result(run, allow_inconclusive)), signer)


def describe_result(run: RunEntry, allow_inconclusive: bool) -> dict[str, Any]:
    """Say what a run came to, as https://in-toto.io/attestation/test-result/v0.1 has it.

    FAILED is what ends the run with exit status 1. A metric without a limit, and one that is not applicable, was no
    test. One that was judged more than once counts as the worst of them.
    """
    lists: dict[str, list[str]] = {"passedTests": [], "warnedTests": [], "failedTests": []}
    for name, verdicts in _verdicts(run).items():
        if kind := _kind(verdicts, allow_inconclusive):
            lists[f"{kind.lower()}Tests"].append(name)
    files = [{"name": file.path, "digest": {"sha256": file.sha256}} for file in run.files]
    return {"result": _kind({run.verdict}, allow_inconclusive) or "WARNED", "configuration": files, **lists}


def _verdicts(run: RunEntry) -> dict[str, set[Verdict]]:
    found: dict[str, set[Verdict]] = {}
    for cell in run.cells:
        for check in cell.checks:
            name = "/".join((cell.model, cell.device, cell.backend, check.metric))
            found.setdefault(name, set()).add(check.verdict)
    return found


def _kind(verdicts: set[Verdict], allow_inconclusive: bool) -> str:
    """Return the worst of some verdicts in the predicate's words; "" where they are of no test."""
    failed = {Verdict.FAIL, Verdict.INELIGIBLE} | (set() if allow_inconclusive else {Verdict.INCONCLUSIVE})
    if verdicts & failed:
        return "FAILED"
    if Verdict.INCONCLUSIVE in verdicts:
        return "WARNED"
    return "PASSED" if Verdict.PASS in verdicts else ""
