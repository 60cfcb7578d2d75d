"""Images: a bootable disk with its kernel and keys, built once and used by every emulated board.

In the cache, images/KEY/, where the key is the recipe's:

    disk.qcow2  vmlinuz  initrd     what QEMU starts; never written to, each board has an overlay
    id_ed25519                      the one key that the board lets in; made with the image, for nothing else
    host_key.pub                    the board's own key, which it is known by
    record.json                     see record; and Debian's packages with their versions, Python, the C library
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import EmulatorError
from ..host.bounded import build_lock, discard, evict, pin, prune_caches
from ..host.cache import cache_folder, new_entry
from ..host.progress_log import progress_logger
from ..protocol import Target
from .building import DISK, HOST_KEY, INITRD, KERNEL, KEY, build
from .image_recipe import recipe_key
from .record import describe_damage, pin_whole, write_record

LOG = progress_logger(__name__)

FOLDER = "images"


@dataclass(frozen=True)
class Image:
    """An image in the cache.

    Attributes:
        folder: its files.
        record: what was noted when it was built: the kernel's release, packages, what wheels must fit.
    """

    folder: Path
    record: Mapping[str, Any]

    @cached_property
    def name(self) -> str:
        """A name that tells two images apart, also of one recipe: each has keys of its own."""
        return f"{self.folder.name[:16]}-{hashlib.sha256(self.host_key.encode()).hexdigest()[:16]}"

    @property
    def disk(self) -> Path:
        """The disk, as qcow2."""
        return self.folder / DISK

    @property
    def kernel(self) -> Path:
        """The kernel."""
        return self.folder / KERNEL

    @property
    def initrd(self) -> Path:
        """The initial RAM disk."""
        return self.folder / INITRD

    @property
    def key(self) -> Path:
        """The private key that the board lets in."""
        return self.folder / KEY

    @cached_property
    def host_key(self) -> str:
        """The board's public key, "ssh-ed25519 AAAA…"."""
        return (self.folder / HOST_KEY).read_text(encoding="ascii").strip()

    @property
    def facts(self) -> Target:
        """What wheels must fit, known before the board has ever run."""
        return Target(**{key: self.record[key] for key in ("arch", "python", "libc")})


def find_image() -> Image | None:
    """Find the image of the current recipe, if it is complete; it is pinned until this process ends."""
    folder = image_folder()
    record = pin_whole(folder)
    return Image(folder, record) if record is not None else None


def provide_image(*, anew: bool = False) -> Image:
    """Return the image of the current recipe; build it where it is not there.

    Args:
        anew: build it even if it is there, from the packages that Debian has now.

    Raises:
        EmulatorError: it cannot be built; or another run uses the one that is there.
        StorageError: the disk is full.
    """
    if not anew and (image := find_image()) is not None:
        return image
    folder = image_folder()
    with build_lock(folder):
        if not anew and (image := find_image()) is not None:
            return image
        if folder.exists() and not anew:
            LOG.info(f"the image is not what was built ({describe_damage(folder)}): building it anew")
        with new_entry(folder) as work:
            write_record(work, build(work))
            pin(work)  # before it is renamed to its place, so that no other process evicts it in between
            if anew and folder.exists() and not evict(folder):
                hint = "wait for the run that uses it"
                raise EmulatorError("the image that is there is in use", where=str(folder), hint=hint)
            discard(folder)
    prune_caches()
    image = find_image()
    if image is None:
        raise EmulatorError(
            "the image that was just built is damaged", found=describe_damage(folder), where=str(folder)
        )
    return image


def image_folder() -> Path:
    """Return the folder of the current recipe's image, whether it is there or not."""
    return cache_folder() / FOLDER / recipe_key()
