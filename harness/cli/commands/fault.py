"""hilgate fault: something happens to an emulated board while a run uses it."""

from __future__ import annotations

import click

from ...emulator.faults import FAULTS, inject_from_outside


@click.command(short_help="Let something happen to an emulated board that is running.")
@click.argument("name")
@click.argument("fault", type=click.Choice(list(FAULTS)))
def command(name: str, fault: str) -> None:
    """Let something happen to an emulated board that a run is using, to see what becomes of the run.

    power-cut: the board is gone. reset: it starts anew. network-down, network-up: its cable is pulled, and plugged in
    again. pause, resume: it stands still, and goes on.
    """
    from ...emulator.folder import running
    from ...errors import InputError
    from ..text import say

    boards = running()
    folders = [folder for folder, record in boards if record["device"] == name]
    if not folders:
        found = ", ".join(sorted({record["device"] for _, record in boards})) or "none"
        hint = f"start a run first, in another terminal: pytest -m hil --device {name}"
        raise InputError(f"no emulated board {name} is running", found=f"running: {found}", hint=hint)
    for folder in folders:
        inject_from_outside(folder, fault)
        say(f"{name} ({folder.name}): {FAULTS[fault][0]}")
