"""hilgate add: make a board a device of the project."""

from __future__ import annotations

import click

from ..host_key_option import fingerprint_option
from ..project import Project


@click.command(short_help="Make a board a device: devices/NAME.toml.")
@click.argument("name")
@click.argument("host", metavar="[USER@]HOST[:PORT]")
@fingerprint_option
@click.option("--force", is_flag=True, help="Overwrite the device's file.")
@click.pass_context
def command(ctx: click.Context, name: str, host: str, fingerprints: tuple[str, ...], force: bool) -> None:
    """Make a board a device: pin its host key, look at it, try what a run will do, write devices/NAME.toml.

    HOST may be a name of your ~/.ssh/config. You log in there with a key, never with a password. The exit status is 1
    if a run would not work yet.
    """
    from ..add_board import add

    project: Project = ctx.obj
    if not add(project, name, host, fingerprints, force=force):
        ctx.exit(1)
