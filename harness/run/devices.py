"""The devices of a run: one is held at a time, and one that cannot be used is not tried again."""

from __future__ import annotations

from ..board import Board, open_board
from ..device.device import Device
from ..errors import HilgateError
from ..evidence.writer import Evidence
from ..host.progress import ProgressBars
from .damage_watch import DamageWatch


class Devices:
    """The devices of a run.

    Attributes:
        unavailable: the error of each device that cannot be used, by its name.
    """

    def __init__(self, evidence: Evidence, watch: DamageWatch, progress: ProgressBars, wait_s: float) -> None:
        self.unavailable: dict[str, HilgateError] = {}
        self._evidence = evidence
        self._watch = watch
        self._progress = progress
        self._wait_s = wait_s
        self._board: Board | None = None

    def board(self, device: Device) -> Board:
        """Reach a device, look at it and lock it until the run's end, or until another device is asked for.

        Raises:
            LinkError: it cannot be reached, or another run holds it.
            DeviceError: the board is not what its file says.
            StorageError: its store cannot be written.
        """
        if self._board is None or self._board.device.name != device.name:
            self.close()  # one at a time: two files may name one board
            try:
                with self._progress.task(f"reaching {device.name}"):
                    self._board = open_board(device, wait_s=self._wait_s)
            except HilgateError as error:
                self.give_up(device, error)
                raise
        return self._board

    def give_up(self, device: Device, error: HilgateError) -> None:
        """Record that a device cannot be used: the run tries no more there, and none of it is the model's fault.

        Without this, each test would wait for the device anew, and each would be an error (issue 15).
        """
        if device.name not in self.unavailable:
            self.unavailable[device.name] = error
            self._evidence.add_unavailable(device.name, str(error))

    def settle(self) -> None:
        """Record what was found damaged in the background; before the evidence is ended or the device let go."""
        if self._board is not None:
            self._watch.settle(self._board)

    def abort(self) -> None:
        """Wait no more for the device: whatever does fails at once. May be called from any thread."""
        if (board := self._board) is not None:
            board.link.abort()

    def release(self) -> None:
        """Let go of the device without recording anything, as at the run's very end."""
        if self._board is not None:
            self._board.close()
        self._board = None

    def close(self) -> None:
        """Record what was found damaged, and let go of the device."""
        self.settle()
        self.release()
