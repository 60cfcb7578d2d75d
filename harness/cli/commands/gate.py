"""hilgate gate: judge evidence again, and make the release that it lets through."""

from __future__ import annotations

from pathlib import Path

import click

from ..project import Project


@click.command(short_help="Judge evidence again, and sign the release that it lets through.")
@click.argument("evidence", type=click.Path(path_type=Path), metavar="EVIDENCE")
@click.option("--policy", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The policy, gate.toml.")
@click.option(
    "--key", metavar="KEY", help="The private key's file, or a URI such as hsm: (default: $HILGATE_SIGNING_KEY)."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="A new folder (default: build/release)."
)
@click.option("--dry-run", is_flag=True, help="Judge and collect, but make and sign nothing.")
@click.option(
    "--write-predicate",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the predicate there, too: for GitHub's actions/attest.",
)
@click.pass_obj
def command(
    project: Project,
    evidence: Path,
    policy: Path,
    key: str | None,
    output: Path | None,
    dry_run: bool,
    write_predicate: Path | None,
) -> None:
    """Judge evidence again, and make the release that it lets through.

    EVIDENCE: an evidence.json, or its folder, such as build/hil.

    No stored verdict is trusted: bounds are made again of the raw samples, limits of model and device files as they
    were committed. Then the policy decides; what it refuses is listed with every reason, and what would satisfy it.

    What passes is collected from the cache by its hashes, laid out in DIR, and signed. Nothing of it exists before.

    Exit status 0: the release was made (with --dry-run: would be). 1: refused, or something is wrong. 2: wrong usage.
    """
    from ..gating import run_gate

    if dry_run and write_predicate is not None:
        raise click.UsageError("--write-predicate is of a release that was made, and --dry-run makes none")
    run_gate(project, evidence, policy=policy, key=key, output=output, dry_run=dry_run, write_predicate=write_predicate)
