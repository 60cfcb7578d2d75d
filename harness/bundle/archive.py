"""Archives that are made once on the host and unpacked on devices: byte code, stripped libraries, runners.

In the cache, for each store:

    STORE/files/SHA256/NAME.zip    the archives
    STORE/sets/KEY.json            {"schema": 1, "sha256": …, "bytes": …, "unpacked_bytes": …, "described": {…}}; the
                                   key is a hash of all that the archive was made from
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..agent.unpack import CHUNK_BYTES
from ..host.cache import cache_folder, file_sha256, make_private, storage_errors, write_atomically
from .file_store import find_file, store_file

SCHEMA = 1
# The earliest time that a zip archive can hold, for every file, so that equal contents make equal archives.
EPOCH = (1980, 1, 1, 0, 0, 0)
REGULAR_FILE = 0o100000


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A zip file that is unpacked on the device: a wheel, or an archive that was made here.

    Attributes:
        source: the file.
        bytes: its size.
        unpacked_bytes: the total size of its files.
        described: facts that its maker noted.
    """

    source: Path
    sha256: str
    bytes: int
    unpacked_bytes: int
    described: Mapping[str, Any] = field(default_factory=dict, hash=False)


class Packer:
    """Adds files to a zip archive."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.unpacked_bytes = 0

    def add(self, name: str, content: bytes | Path, *, executable: bool = False) -> None:
        """Add a file; a large one is copied in pieces.

        Args:
            name: its path in the archive.
            content: its bytes, or the file that has them.
            executable: whether it is a program.
        """
        info = zipfile.ZipInfo(name, EPOCH)
        info.external_attr = (REGULAR_FILE | (0o755 if executable else 0o644)) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        if isinstance(content, bytes):
            self._archive.writestr(info, content)
            self.unpacked_bytes += len(content)
            return
        info.file_size = content.stat().st_size  # zipfile chooses the 64-bit format by it
        with content.open("rb") as source, self._archive.open(info, "w") as target:
            shutil.copyfileobj(source, target, CHUNK_BYTES)
        self.unpacked_bytes += info.file_size


def provide_archive(store: str, key: str, name: str, fill: Callable[[Packer, Path], Mapping[str, Any]]) -> Archive:
    """Return an archive from the cache, or make it.

    Args:
        store: the store's name, a folder of the cache.
        key: a hash of what it is made from, usable as a file name.
        name: the archive's name without its suffix.
        fill: a function that adds the files, using an empty folder, and returns facts to note in ``described``.

    Raises:
        StorageError: the cache cannot be written.
    """
    root = cache_folder() / store
    record = root / "sets" / f"{key}.json"
    if (known := _read(record, root)) is not None:
        return known
    with storage_errors(root):
        place = root / "files"  # leftovers of killed runs there are removed on eviction
        make_private(place)
        with tempfile.TemporaryDirectory(prefix=".make-", dir=place, ignore_cleanup_errors=True) as folder:
            work, made = Path(folder, "work"), Path(folder, f"{name}.zip")
            work.mkdir()
            with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
                packer = Packer(archive)
                described = fill(packer, work)
            sha256, size = file_sha256(made), made.stat().st_size
            result = Archive(
                source=store_file(root, made, sha256),
                sha256=sha256,
                bytes=size,
                unpacked_bytes=packer.unpacked_bytes,
                described=described,
            )
    entry = {"sha256": sha256, "bytes": size, "unpacked_bytes": result.unpacked_bytes, "described": dict(described)}
    write_atomically(record, json.dumps({"schema": SCHEMA, **entry}, indent=1) + "\n", mode=0o600)
    return result


def _read(record: Path, root: Path) -> Archive | None:
    try:
        entry = json.loads(record.read_text(encoding="utf-8"))
        path = find_file(root, entry["sha256"]) if entry["schema"] == SCHEMA else None
        facts = {name: entry[name] for name in ("sha256", "bytes", "unpacked_bytes", "described")}
        return Archive(source=path, **facts) if path is not None else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
