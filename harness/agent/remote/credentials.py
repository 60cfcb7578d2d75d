"""What a call to AWS is signed with: a key, its secret, and a token that ends soon. Kept in memory only."""

from __future__ import annotations

from typing import NamedTuple


class Credentials(NamedTuple):
    """Temporary credentials; no text that is made of them has a secret in it.

    Attributes:
        access_key: their name, which is no secret.
        secret_key: what signatures are made with.
        token: what says until when they are good.
        expires_at: when they end, in seconds since 1970.
    """

    access_key: str
    secret_key: str
    token: str
    expires_at: float

    def __repr__(self) -> str:
        """Show the name and the end only."""
        return f"Credentials(access_key={self.access_key!r}, expires_at={self.expires_at!r})"
