"""hilgate add: a board becomes a device of the project."""

from __future__ import annotations

import click

from ..fingerprint import fingerprint_option
from ..project import Project


@click.command(short_help="Make a board a device: devices/NAME.toml.")
@click.argument("name")
@click.argument("host", metavar="[USER@]HOST[:PORT]")
@fingerprint_option
@click.option("--force", is_flag=True, help="Overwrite the device's file.")
@click.pass_obj
def command(project: Project, name: str, host: str, fingerprints: tuple[str, ...], force: bool) -> None:
    """Make a board a device: pin its host key, look at it, write devices/NAME.toml.

    HOST may be a name of your ~/.ssh/config. You log in there with a key, never with a password.
    """
    from ..adding import add

    add(project, name, host, fingerprints, force=force)
