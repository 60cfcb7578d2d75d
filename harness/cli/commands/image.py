"""hilgate image: what emulated boards start from."""

from __future__ import annotations

import click

from ..project import Project


@click.group(short_help="Images of emulated boards: build, list, remove.")
def command() -> None:
    """Images of emulated boards, and their saved states. A run builds what it needs; this is for doing it before."""


@command.command()
@click.argument("name")
@click.option("--anew", is_flag=True, help="Also where there is one: from what Debian has now.")
@click.pass_obj
def build(project: Project, name: str, anew: bool) -> None:
    """Build the image of an emulated device, from Debian's packages. All emulated boards share it."""
    import time

    from ...emulator.image import find_image, provide_image
    from ...emulator.machine import machine_of
    from ...errors import DeviceError
    from ..images import shown
    from ..text import progress_lines, say

    device = project.device(name)
    if not device.emulated:
        found = f"link = {device.link!r}"
        raise DeviceError(f"{name} is not emulated, and has no image", wanted='link = "qemu"', found=found)
    machine_of(device)
    began, there = time.monotonic(), not anew and find_image() is not None
    with progress_lines():
        image = provide_image(anew=anew)
    say("it was there already:" if there else f"built in {time.monotonic() - began:.0f} s:")
    say(shown(image.folder))


@command.command("list")
def show() -> None:
    """List images and saved states, with what they take."""
    from ..images import folders, shown
    from ..text import say

    for folder in folders():
        say(shown(folder))
    if not folders():
        say("none")


@command.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(yes: bool) -> None:
    """Remove all images and saved states. The next run builds what it needs."""
    from ...host.bounded import discard, taken_bytes
    from ..images import folders
    from ..text import say, size

    found = folders()
    if found and not yes:
        click.confirm(f"Remove {len(found)} images and states, {size(sum(map(taken_bytes, found)))}?", abort=True)
    freed = sum(map(taken_bytes, found))
    for folder in found:
        discard(folder)
    say(f"{size(freed)} freed")
