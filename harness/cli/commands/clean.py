"""hilgate clean: remove everything that hilgate keeps on a device."""

from __future__ import annotations

import click

from ..project import Project


@click.command(short_help="Remove what hilgate keeps on a device.")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait", type=click.FloatRange(0), default=0, metavar="SECONDS", help="For a run that holds the device.")
@click.pass_obj
def command(project: Project, name: str, yes: bool, wait: float) -> None:
    """Remove hilgate's store on a device. The next run sends what it needs again."""
    from contextlib import closing

    from ...board import open_board
    from ...errors import DeviceError
    from ...printable import printable
    from ...protocol import daemon as answers
    from ..text import progress_lines, say, size

    device = project.device(name)
    if device.emulated:
        what = f"{name} is emulated: nothing that it holds outlasts a run"
        raise DeviceError(what, hint="its image and its saved state are on this machine: hilgate image remove")
    with progress_lines(), closing(open_board(device, wait_s=wait)) as board:
        if not yes:
            used = size(board.request(answers.Look, store=board.store).used_bytes)
            click.confirm(printable(f"Remove {board.store} on {name} ({board.link.where}), {used}?"), abort=True)
        freed = board.request(answers.Cleared).freed_bytes
    say(f"{size(freed)} freed on {name}")
