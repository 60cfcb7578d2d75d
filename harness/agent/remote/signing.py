"""Signature Version 4, by botocore's own signer: what botocore signs of a request to SageMaker, and in the same way.

Content-Length, Accept-Encoding and User-Agent are not signed, as with botocore. The body's hash is ours: the tensors
are hashed where they are, and not joined first.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from ..wire import Buffer
from .credentials import Wallet
from .url import Url

SERVICE = "sagemaker"


class Signer:
    """Signs requests to one region; see the module."""

    def __init__(self, url: Url, region: str, wallet: Wallet) -> None:
        """Sign with whatever the wallet has at that moment."""
        self._url, self._wallet = str(url._replace(path="")), wallet
        # At the level DEBUG it would write the token into the log, with all that is signed.
        logging.getLogger("botocore.auth").disabled = True
        self._auth: Any = SigV4Auth(None, SERVICE, region)
        self._auth.payload = _known_hash

    def sign(self, path: str, headers: Mapping[str, str], body: Sequence[Buffer]) -> list[str]:
        """Return the lines of a POST's head that are signed, and the signature's own.

        Args:
            path: of the request.
            headers: those that are signed, but for Host.
            body: its parts.

        Raises:
            NoCredentials: there is nothing to sign with.
        """
        digest = hashlib.sha256()
        for part in body:
            digest.update(part)
        request = AWSRequest("POST", self._url + path, dict(headers))
        request.context["body_sha256"] = digest.hexdigest()
        self._auth.credentials = self._wallet.current
        try:
            self._auth.add_auth(request)
        finally:
            self._auth.credentials = None
        return [f"{name}: {value}" for name, value in request.headers.items()]


def _known_hash(request: Any) -> str:
    return str(request.context["body_sha256"])
