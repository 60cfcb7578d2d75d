"""Sends files to a board over a connection that may drop: what has arrived is not sent again."""

from __future__ import annotations

import time

from ..errors import HostKeyError, LinkError
from ..protocol import daemon as answers
from .daemon_client import DaemonClient
from .lease import Lease
from .upload import Files, Report, WrongArrival, check_arrived, hand_over, upload

# Files of up to this many bytes go with a request to the daemon that is there: another login would take longer.
LITTLE_BYTES = 1 << 18
# An upload that makes no progress this many times in a row is given up.
TRIES = 3
# All attempts together may take this long, plus time for their bytes: a board could report one more byte each time.
SENDING_S = 900.0
# A file that arrives damaged is sent again this many times: the part that was there before may have been damaged.
ANEW = 1


def send(lease: Lease, files: Files, report: Report) -> None:
    """Send files into the store's ``incoming``; a device that sees the host's files copies them.

    Args:
        lease: the lease of the board.
        files: what is sent.
        report: called with (bytes that are there or on their way, bytes in all).

    Raises:
        LinkError: the connection dropped, again and again.
        StorageError: the device's disk is full; or a file of the host cannot be read.
        WrongArrival: what arrived is not what was sent.
    """
    if lease.link.shares_files:
        copying_s = _bytes_of(files) / answers.SLOWEST_BYTES_S
        paths = {str(path): sha256 for sha256, (path, _) in files.items()}
        check_arrived(lease.request(answers.Adopted, more_s=copying_s, files=paths).wrong, files, lease.store)
    elif files:
        sending = _Sending(lease, files, report)
        while not sending.try_once():
            pass


class _Sending:
    """An upload in as many attempts as it takes."""

    def __init__(self, lease: Lease, files: Files, report: Report) -> None:
        self._lease, self._files, self._report = lease, files, report
        self._end = time.monotonic() + SENDING_S + _bytes_of(files) / answers.SLOWEST_BYTES_S
        self._arrived = -1
        self._fruitless = self._wrong = 0

    def try_once(self) -> bool:
        """Upload as far as the connection lasts; return whether everything has arrived.

        Raises:
            LinkError: the connection dropped once too often.
            WrongArrival: a file has arrived damaged once too often.
        """
        try:
            self._upload()
        except WrongArrival as wrong:
            self._wrong += 1
            if self._wrong > ANEW:
                raise
            what = f"sent anew, for it arrived on {self._lease.device.name} as something else"
            self._lease.notes.append(f"{what}: {wrong.found}")
            return False
        except HostKeyError:
            raise
        except LinkError:
            self._fruitless += 1
            if self._fruitless >= TRIES or time.monotonic() > self._end:
                raise
            self._lease.reconnect()
            return False
        return True

    def _upload(self) -> None:
        if _bytes_of(self._files) <= LITTLE_BYTES:
            hand_over(self._lease.daemon, self._lease.store, self._files, self._report)
            return
        courier = DaemonClient.start(self._lease.link, self._lease.device, bulk=True)
        try:
            upload(courier, self._lease.store, self._files, self._report, self._begun)
        finally:
            courier.close()

    def _begun(self, arrived: int) -> None:
        if arrived > self._arrived >= 0:
            self._fruitless = 0
        self._arrived = arrived


def _bytes_of(files: Files) -> int:
    return sum(size for _, size in files.values())
