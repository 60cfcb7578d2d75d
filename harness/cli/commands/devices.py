"""hilgate devices: what there is, and what can be reached."""

from __future__ import annotations

import click

from ..project import Project


@click.command(short_help="List all devices, and which can be reached.")
@click.option("--no-probe", is_flag=True, help="Do not look which of them can be reached.")
@click.pass_obj
def command(project: Project, no_probe: bool) -> None:
    """List all devices: the project's, and those that hilgate brings."""
    from ..overview import overview
    from ..text import say

    for line in overview(project, probe=not no_probe):
        say(line)
