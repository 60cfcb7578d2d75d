"""Hashes the files on this machine that an emulated board runs from: once a day, and after a wrong answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import StorageError
from ..host.bounded import discard
from ..host.manifest import BackgroundCheck, damaged, was_verified_recently


@dataclass
class SnapshotCheck:
    """The check of a snapshot and an image; for a real board of nothing.

    What is damaged is removed, and made again by the next run. This run goes on with what it has mapped, but none of
    its results count.

    Attributes:
        folders: the snapshot's and the image's.
    """

    folders: tuple[Path, ...] = ()
    _check: BackgroundCheck | None = None
    _damaged: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folders: Iterable[Path]) -> SnapshotCheck:
        """Start to hash, in the background, the folders that were not hashed today."""
        listed = tuple(folders)
        return cls(listed, BackgroundCheck.start(listed))

    def damage(self, *, again: bool) -> dict[str, str]:
        """Wait for the background check, and report what is damaged.

        Args:
            again: hash everything again now, except for what was found whole within the hour.

        Returns:
            STORE/NAME of each damaged folder -> what is wrong with it.
        """
        found = self._check.result() if self._check is not None else {}
        if again:
            found |= damaged([folder for folder in self.folders if not was_verified_recently(folder)])
        for folder, wrong in found.items():
            name = f"{folder.parent.name}/{folder.name}"
            if name not in self._damaged:
                self._damaged[name] = wrong
                try:
                    discard(folder)
                except StorageError as error:
                    self._damaged[name] += f"; it cannot be removed: {error.found}"
        return dict(self._damaged)
