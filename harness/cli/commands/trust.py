"""hilgate trust: pin a board's host key, or the new one of a board that was set up anew."""

from __future__ import annotations

import click

from ..host_key_option import fingerprint_option
from ..project import Project


@click.command(short_help="Pin the host key of a device.")
@click.argument("name")
@fingerprint_option
@click.pass_obj
def command(project: Project, name: str, fingerprints: tuple[str, ...]) -> None:
    """Show the host key of a device, and of every host on the way, and pin it in the project's known_hosts."""
    from ..trust_host import trust

    trust(project, name, fingerprints)
