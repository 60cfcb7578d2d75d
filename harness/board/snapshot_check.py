"""The files on this machine that an emulated board runs from, hashed again: once a day, and after a wrong answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import StorageError
from ..host.bounded import discard
from ..host.manifest import BackgroundCheck, damaged, was_whole_lately


@dataclass
class SnapshotCheck:
    """A saved state and an image; of a real board nothing.

    What is damaged is removed, and made anew by the next run. This one goes on with what it has mapped, and nothing
    that it says counts.
    """

    folders: tuple[Path, ...] = ()
    _check: BackgroundCheck | None = None
    _damaged: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folders: Iterable[Path]) -> SnapshotCheck:
        """Begin to hash what was not hashed today, in the background."""
        found = tuple(folders)
        return cls(found, BackgroundCheck(found))

    def damage(self, *, again: bool) -> dict[str, str]:
        """Say what is damaged, STORE/NAME -> what is wrong; it waits for what goes on in the background.

        Args:
            again: hash all of it now, but for what was found whole within the hour.
        """
        found = self._check.result() if self._check is not None else {}
        if again:
            found |= damaged([folder for folder in self.folders if not was_whole_lately(folder)])
        for folder, wrong in found.items():
            name = f"{folder.parent.name}/{folder.name}"
            if name not in self._damaged:
                self._damaged[name] = wrong
                try:
                    discard(folder)
                except StorageError as error:
                    self._damaged[name] += f"; it cannot be removed: {error.found}"
        return dict(self._damaged)
