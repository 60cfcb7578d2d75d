"""hilgate lock: write down which files a project takes from outside, by their hashes."""

from __future__ import annotations

import click

from ..project import Project


@click.command(short_help="Write hilgate.lock: what runs take from outside, by hash.")
@click.option("--device", "names", multiple=True, metavar="NAME", help="For this device only; may be repeated.")
@click.option("--backend", "backends", multiple=True, metavar="NAME", help="For this backend only; may be repeated.")
@click.pass_obj
def command(project: Project, names: tuple[str, ...], backends: tuple[str, ...]) -> None:
    """Write hilgate.lock beside the project's pytest.ini.

    It has name, version, file and SHA-256 of every wheel and every Debian package that the project's devices and
    backends need. Commit it: from then on a run takes these files and no others, and refuses another one under the
    same name.

    Each device is reached, for what fits it depends on its Python, CPU and C library; nothing is stored there, and it
    is not locked. Wheels are downloaded to the host's cache, where the next run finds them; runners are built.

    With --device or --backend, entries of others stay as they are.
    """
    from ..lock_project import write_lock
    from ..text import say

    for line in write_lock(project, names, backends):
        say(line)
