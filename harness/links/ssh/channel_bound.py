"""How long a channel may take to open; apart from ``connection``, which takes paramiko and Fabric to import."""

from __future__ import annotations

# paramiko's own default is an hour.
CHANNEL_TIMEOUT_S = 15.0
