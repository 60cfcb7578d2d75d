"""How much memory a board reports, beside what its device file says."""

from __future__ import annotations


def memory_fits(written_mib: int, reported_mib: int) -> bool:
    """Whether a board with that much memory may report that much.

    The kernel keeps some for itself and the firmware; a board that reports an eighth less is another board.

    Args:
        written_mib: what the device file says, in MiB.
        reported_mib: what the board reports, in MiB.
    """
    return 7 / 8 <= reported_mib / written_mib <= 1.05
