"""What `hilgate gate` does: read the policy, ask the gate, and say what came of it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from ..backends import backend_names
from ..errors import InputError
from ..evidence.folder import FILE
from ..host.shown_path import shown_path
from ..measure import known_metrics
from ..parity import PARITY
from ..release.examine import examine
from ..release.gate import Release, check_output, make_release
from ..release.policy import Policy, load_policy
from ..release.verify import signers_of
from ..signing.keys import KEY_VARIABLE, Signer, load_signer
from ..signing.passphrase import PASSPHRASE_VARIABLE, take_variable, terminal_prompt
from .project import Project, find_results
from .text import progress_lines, say


def run_gate(
    project: Project,
    evidence: Path,
    *,
    policy: Path,
    key: str | None,
    output: Path | None,
    dry_run: bool,
    write_predicate: Path | None,
) -> None:
    """Judge evidence, and make the release.

    Args:
        project: whose device files count.
        evidence: an evidence.json, or its folder.
        policy: the policy's file.
        key: the private key's file or URI; None for the environment's.
        output: the folder to make; None for build/release beside pytest.ini, or here.
        dry_run: whether to make nothing. A key is then checked if there is one, and not asked for.
        write_predicate: where to write the predicate, too.

    Raises:
        InputError: the policy, the key or the evidence cannot be used, or the output is there already.
        Refused: the gate says no; every reason is in it.
        StorageError: the release cannot be written.
    """
    results = find_results(Path.cwd())  # the project's build/hil, wherever its device files are
    place, root = output if output is not None else results.with_name("release"), results.parent.parent
    rules = _policy(project, policy)
    if not dry_run:
        check_output(place)
        _check_predicate(write_predicate, place, _read_files(evidence, rules, key))
    signer = _signer(key, rules, dry_run=dry_run)
    now = datetime.now(UTC)
    with _ended_in_order():
        _gate(evidence, rules, root, place, signer, now, None if dry_run else write_predicate)


def _gate(
    evidence: Path,
    rules: Policy,
    root: Path,
    place: Path,
    signer: Signer | None,
    now: datetime,
    write_predicate: Path | None,
) -> None:
    with progress_lines(err=True):
        examined = examine(evidence, rules, root, metrics=list(known_metrics().values()), now=now)
    for line in examined.lines:
        say(line)
    if signer is None:
        say(f"passed: {rules.release.name} would be made in {shown_path(place)}; nothing was, for --dry-run")
        return
    with progress_lines(err=True):
        release = make_release(examined, signer, place, now=now, predicate_to=write_predicate)
    for line in _made(release, rules.path):
        say(line)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does: what is half done is removed. Ignored ones stay so."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    changed = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def _read_files(evidence: Path, policy: Policy, key: str | None) -> list[Path]:
    """List what is read here, and must not be written over."""
    named = [policy.path, *policy.signers.keys, *policy.evidence.signed_by, evidence, evidence / FILE]
    return [*named, *([Path(key)] if key is not None else [])]


def _check_predicate(path: Path | None, output: Path, read: Sequence[Path]) -> None:
    """Refuse a place for the predicate where it would be a part of the release, or cannot be, or is what is read here.

    Raises:
        InputError: with what is wrong there.
    """
    if path is None:
        return
    whole, is_folder = Path(os.path.normpath(path.absolute())), os.path.isdir(path)  # noqa: PTH112  # of any name
    is_read = any(os.path.realpath(each) == os.path.realpath(path) for each in read)
    if whole.is_relative_to(Path(os.path.normpath(output.absolute()))) or is_folder or is_read:
        found = "a file that the gate reads" if is_read else "a place in the release's folder"
        found = "a folder" if is_folder else found
        raise InputError(
            "the predicate cannot be written there",
            wanted="a file outside of the release: what is added to a release is refused later",
            found=found,
            where=str(path),
            hint="name a file beside it, such as build/predicate.json",
        )


def _policy(project: Project, path: Path) -> Policy:
    metrics = [*known_metrics(), PARITY.name]
    return load_policy(path, devices=project.device, metrics=metrics, backends=backend_names())


def _signer(key: str | None, policy: Policy, *, dry_run: bool) -> Signer | None:
    """Load the key, and refuse one that the policy does not take: whoever verifies would refuse the release.

    Raises:
        InputError: there is none, or another than the policy's.
    """
    try:
        if dry_run and key is None:
            return None
        signer = load_signer(key, terminal_prompt())
    finally:  # a key that was not asked for is as secret: the model file's process would inherit it
        take_variable(KEY_VARIABLE)
        take_variable(PASSPHRASE_VARIABLE)
    if signer.public.fingerprint not in {each.fingerprint for each in signers_of(policy)}:
        raise InputError(
            "the policy does not take releases that this key signs",
            wanted="the key of one of " + ", ".join(str(path) for path in policy.signers.keys),
            found=f"a key whose public part has SHA-256 {signer.public.fingerprint[:16]}…",
            where=f"{policy.path}: signers.keys",
            hint="name another --key; or add its public part to the policy, which others must agree to",
        )
    return None if dry_run else signer


def _made(release: Release, policy: Path) -> Iterator[str]:
    """Say what was made, and what comes next."""
    place = shown_path(release.folder)
    yield f"released: {release.name} {release.sha256}"
    yield f"  {release.files} files, {release.bytes / 2**20:,.1f} MiB in {place}"
    yield f"next: hilgate verify {place} --policy {shown_path(policy)}"
    yield f"      on the robot, in {release.name}/: ./run --check"
