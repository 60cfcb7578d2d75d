"""Makes disks: a tree of files becomes a file system, without mounting anything and without root."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from .image_recipe import DISK_GIB, UID
from .step import run

# All of the file system's tables are made here: otherwise the guest's kernel makes them in its first minutes.
EXTENDED = "lazy_itable_init=0,lazy_journal_init=0"


def make_disk(
    tree: Path, target: Path, *, home: Path, owners: Path | None = None, unwanted: Sequence[Path] = ()
) -> None:
    """Make a qcow2 image of an ext4 file system with a tree's files, which belong to root.

    Args:
        tree: the folder whose files go into it.
        target: the image's path.
        home: a folder of the tree that belongs to the board's user.
        owners: fakeroot's file of the owners that differ, if there is one.
        unwanted: removed from the tree first.

    Raises:
        EmulatorError: a program is missing, or failed.
        StorageError: the disk is full.
    """
    raw = target.with_suffix(".raw")
    # mke2fs takes the owners of all that is in a tree, but not of the tree itself.
    options = f"{EXTENDED},root_owner={UID}:{UID}" if home == tree else EXTENDED
    steps = [
        ["rm", "-rf", *map(str, unwanted)],
        ["chown", "-R", f"{UID}:{UID}", str(home)],
        ["mke2fs", "-q", "-t", "ext4", "-E", options, "-d", str(tree), str(raw), f"{DISK_GIB}G"],
    ]
    known = ["-i", str(owners)] if owners else []
    try:
        run(["fakeroot", *known, "sh", "-c", " && ".join(map(shlex.join, steps))], target.parent)
        run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(target)], target.parent)
    finally:
        raw.unlink(missing_ok=True)
