"""hilgate doctor: would a run on this device work, and if not, why?"""

from __future__ import annotations

import click

from ..project import Project


@click.command(short_help="Would a run on a device work, and if not, why?")
@click.argument("name")
@click.option("--offline", is_flag=True, help="Download nothing: do not look whether wheels can be had.")
@click.pass_context
def command(ctx: click.Context, name: str, offline: bool) -> None:
    """Check all that a run on a device needs, a line each; exit status 1 if something is not right.

    What a run will do on the device is tried there: a second program is started, a file is written, and removed. It is
    not locked: a run that is going on there goes on. Wheels that a runtime needs are downloaded to the host's cache,
    where the next run finds them. What a remote backend calls is looked at from the device: its name, a connection, the
    model there, and one inference of zeros.
    """
    from ...bundle.lock_file import use_project
    from ..doctor import examine
    from ..doctor_check import FAILED, SKIPPED, shown
    from ..text import say

    project: Project = ctx.obj
    use_project(project.folder.parent)
    failed = skipped = 0
    for check in examine(project.device(name), project.folders, offline=offline):
        failed += check.mark == FAILED
        skipped += check.mark == SKIPPED
        for line in shown(check):
            say(line)
    say()
    if failed:
        say(f"{failed} of these would make a run fail.")
        ctx.exit(1)
    say(f"{'What was looked at is right' if skipped else 'A run would work'}: pytest -m hil --device {name}")
