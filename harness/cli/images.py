"""Images and boot snapshots in the cache, as `hilgate image` shows them."""

from __future__ import annotations

from pathlib import Path

from ..emulator import image, snapshot_store
from ..emulator.record import read_record
from ..host.bounded import taken_bytes
from ..host.cache import cache_folder
from .text import size


def folders() -> list[Path]:
    """List the folders of all images and snapshots in the cache, images first."""
    kinds = (image.FOLDER, snapshot_store.FOLDER)
    found = (path for kind in kinds for path in sorted((cache_folder() / kind).glob("[!.]*")))
    return [path for path in found if path.is_dir()]


def shown(folder: Path) -> str:
    """Describe an image or a snapshot in two lines: what it is, and its folder."""
    kind = "image" if folder.parent.name == image.FOLDER else "state"
    try:
        record = read_record(folder)
    except ValueError as error:
        return f"  {kind} {folder.name[:12]}  damaged: {error}"
    what = f"of {record['device']}" if "device" in record else f"kernel {record['kernel']}, Python {record['python']}"
    return f"  {kind} {folder.name[:12]}  {what}, {size(taken_bytes(folder))}, made {record['made']}\n    {folder}"
