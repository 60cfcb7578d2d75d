"""What the service emulates: one endpoint of one account in one region."""

from __future__ import annotations

from dataclasses import dataclass

from ..limits import MAX_REQUEST_BYTES


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What the service emulates.

    Attributes:
        endpoint: the name of its only endpoint.
        region: AWS's, for which calls must be signed.
        account: the account's number.
        variant: the name of the endpoint's only production variant.
        request_bytes, response_bytes: of a body, each way.
        answer_s: how long the container may take; of a streamed answer ``stream_s``.
    """

    endpoint: str
    region: str = "us-east-1"
    account: str = "123456789012"
    variant: str = "AllTraffic"
    request_bytes: int = MAX_REQUEST_BYTES
    response_bytes: int = MAX_REQUEST_BYTES
    answer_s: float = 60.0
    stream_s: float = 480.0

    @property
    def log(self) -> str:
        """Where the service would have the container's log."""
        return (
            f"https://{self.region}.console.aws.amazon.com/cloudwatch/home?region={self.region}#logEventViewer:"
            f"group=/aws/sagemaker/Endpoints/{self.endpoint} in account {self.account}"
        )
