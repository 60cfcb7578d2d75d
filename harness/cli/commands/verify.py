"""hilgate verify: whether a release is what was signed, and one that a policy takes."""

from __future__ import annotations

from pathlib import Path

import click

from ..project import Project


@click.command(short_help="Verify a release: its signature, every file, and the policy.")
@click.argument("release", type=click.Path(path_type=Path), metavar="RELEASE")
@click.option("--policy", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The policy, gate.toml.")
@click.option(
    "--over", type=click.Path(path_type=Path), metavar="RELEASE", help="What it would replace: that may not be newer."
)
@click.pass_obj
def command(project: Project, release: Path, policy: Path, over: Path | None) -> None:
    """Verify a release.

    RELEASE: the folder that `hilgate gate` wrote, such as build/release, or the release's own folder in it.

    Neither network nor cache is used: the signature is verified with the policy's public keys, each file with the sums
    that were signed, the evidence in the release with the policy.

    Exit status 0: all of it holds. 1: it does not, or something is wrong. 2: wrong usage.
    """
    from ..verifying import run_verify

    run_verify(project, release, policy=policy, over=over)
