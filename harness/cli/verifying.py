"""What `hilgate verify` does: read the policy, verify the release, and say what was verified.

Apart from the gate, because nothing is judged again here: what that takes to import takes longer than to verify.
"""

from __future__ import annotations

from pathlib import Path

from ..backends import backend_names
from ..device import load_device
from ..release.policy import load_policy
from ..release.verify import describe, verify_release
from .project import Project, find_project
from .text import say


def run_verify(project: Project, release: Path, *, policy: Path, over: Path | None) -> None:
    """Verify a release, and say what was verified.

    No metric is looked up, and no limit read: what the policy requires is compared with what was attested.

    Args:
        project: whose device files count; before them, unless --devices names them, those beside the policy, as its
            keys.
        release: its folder, or the one that the gate wrote.
        policy: the policy's file.
        over: the release that it would replace.

    Raises:
        InputError: the policy cannot be used, or the release is not what was signed.
        Refused: the policy does not take it.
    """
    beside = () if project.is_named else find_project(policy.absolute().parent, None).folders[:1]
    rules = load_policy(
        policy,
        devices=lambda name: load_device(name, (*beside, *project.folders), None),
        metrics=None,
        backends=backend_names(),
    )
    for line in describe(verify_release(release, rules, over=over)):
        say(line)
