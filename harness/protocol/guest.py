"""What the init of an emulated board answers; see harness/emulator/guest/init.py."""

from __future__ import annotations

from .fields import Answer, Count


class Packets(Answer):
    """What became of the packets of a port while some were lost: how many were sent, and how many of these lost."""

    sent: Count
    lost: Count
