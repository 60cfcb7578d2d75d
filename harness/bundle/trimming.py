"""Wheels of which only a part is sent: what is left out is known not to be used, and most of what they weigh.

A trimmed wheel is an archive with the wheel's other members as they are, in the cache's store "trimmed" (see archive),
by the wheel's hash and what is left out. The manifest has both hashes.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .archive import Archive, Packer, provide_archive
from .wheels import Wheel

STORE = "trimmed"
# Folders of wheels, by the wheel's name, that no client of another computer uses. botocore/data describes the services
# of AWS, 28 MB of 32 installed: the client signs requests and decodes answers, and makes none of botocore's calls.
LEFT_OUT: Mapping[str, tuple[str, ...]] = {"botocore": ("botocore/data/",)}


def trim_wheel(wheel: Wheel) -> Archive | None:
    """Return what is sent of a wheel, from the cache or made anew; None where that is all of it.

    Raises:
        StorageError: the cache cannot be written.
    """
    left_out = LEFT_OUT.get(wheel.name)
    if left_out is None:
        return None

    def fill(packer: Packer, work: Path) -> Mapping[str, Any]:
        with zipfile.ZipFile(wheel.path) as source:
            for info in source.infolist():
                if not info.is_dir() and not info.filename.startswith(left_out):
                    packer.add(info.filename, source.read(info), executable=bool(info.external_attr >> 16 & 0o111))
        return {"name": wheel.name, "left_out": list(left_out)}

    key = hashlib.sha256(repr((wheel.sha256, left_out)).encode()).hexdigest()
    return provide_archive(STORE, key, f"{wheel.path.stem}.trimmed", fill)


def describe_trimmed(archive: Archive) -> dict[str, Any]:
    """Describe a trimmed wheel, for the manifest."""
    return {**archive.described, "sha256": archive.sha256, "bytes": archive.bytes, "unpacked": archive.unpacked_bytes}
