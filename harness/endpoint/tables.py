"""The tables of an endpoint file and their keys, as pydantic models."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..host.file_table import FileTable, described_keys

# A name in a URL's path: nothing in it is quoted, and it leads nowhere else.
_PATH_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$"
# What SageMaker allows as the name of an endpoint and of a variant.
_AWS_NAME = r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$"
# The dearest instance of 2026 costs a sixth of it an hour; so what is above it was given in another unit.
MOST_PER_HOUR_USD = 1000.0
MOST_PER_MILLION_USD = 1e6
MOST_PER_GB_USD = 100.0
_UNIT = "US dollars"


class Server(FileTable):
    """The table [endpoint]: the server, and the model that it serves. Which keys go together: see kinds."""

    description: str = Field(min_length=1, description='a text: description = "the laptop beside the field"')
    url: str | None = Field(
        None, min_length=1, description='http:// or https://, a host and a port: url = "http://10.0.0.2:8000"'
    )
    model: str | None = Field(
        None,
        pattern=_PATH_NAME,
        max_length=200,
        description='the name of the served model, of letters, digits, `_`, `-`, `.` and `:`: model = "digits"',
    )
    version: str | None = Field(
        None, pattern=rf"{_PATH_NAME}|^$", max_length=200, description='the version of the served model: version = "1"'
    )
    ca: str | None = Field(
        None, min_length=1, description='a file of certificates in PEM, beside the endpoint file: ca = "laptop.pem"'
    )
    region: str | None = Field(
        None,
        pattern=r"^[a-z]{2,8}(-[a-z]{2,16}){1,3}-[0-9]{1,2}$",
        description='the region of AWS that a SageMaker endpoint is in: region = "eu-central-1"',
    )
    name: str | None = Field(
        None,
        pattern=_AWS_NAME,
        max_length=63,
        description="the name of a SageMaker endpoint, at most 63 letters, digits and single or double dashes between "
        'them: name = "digits-prod"',
    )
    role: str | None = Field(
        None,
        pattern=r"^arn:aws[a-z-]{0,20}:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,576}$",
        description='the ARN of a role that may invoke the endpoint: role = "arn:aws:iam::111122223333:role/robot"',
    )
    target_variant: str | None = Field(
        None,
        pattern=_AWS_NAME,
        max_length=63,
        description='one of the production variants of a SageMaker endpoint: target_variant = "AllTraffic"',
    )
    emulated: bool = Field(False, description="true, for a service that is started on this machine: emulated = true")
    serve: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        description='the backend that answers behind an emulated service: serve = "onnxruntime"',
    )


def _usd(most: float, what: str, example: str) -> str:
    return f"{_UNIT} {what}, a number from 0 to {most:,.0f}, without quotes: {example}"


_PerHour = Annotated[float, Field(ge=0, le=MOST_PER_HOUR_USD, allow_inf_nan=False)]
_PerMillion = Annotated[float, Field(ge=0, le=MOST_PER_MILLION_USD, allow_inf_nan=False)]
_PerGB = Annotated[float, Field(ge=0, le=MOST_PER_GB_USD, allow_inf_nan=False)]


class PriceTable(FileTable):
    """The table [prices]: what the server costs, in US dollars."""

    per_instance_hour_usd: _PerHour = Field(
        description=_usd(MOST_PER_HOUR_USD, "an hour for one instance", "per_instance_hour_usd = 0.23")
    )
    instances: int = Field(
        1, ge=1, le=10_000, description="how many instances there are, a whole number ≥ 1: instances = 2"
    )
    per_million_requests_usd: _PerMillion = Field(
        0.0, description=_usd(MOST_PER_MILLION_USD, "for a million requests", "per_million_requests_usd = 0.2")
    )
    per_gb_in_usd: _PerGB = Field(
        0.0, description=_usd(MOST_PER_GB_USD, "for 10⁹ bytes sent there", "per_gb_in_usd = 0.016")
    )
    per_gb_out_usd: _PerGB = Field(
        0.0, description=_usd(MOST_PER_GB_USD, "for 10⁹ bytes of answers", "per_gb_out_usd = 0.016")
    )
    source: str = Field(
        min_length=1,
        max_length=500,
        description='a text, where and when the prices were read: source = "AWS price list, eu-central-1, 2026-11-27"',
    )


class File(FileTable):
    """A whole endpoint file."""

    endpoint: Server = Field(description="a table with description, url and model: [endpoint]")
    prices: PriceTable | None = Field(
        None, description="a table with per_instance_hour_usd and source, where a cost is to be told: [prices]"
    )
    extends: None = Field(
        None, description="an endpoint: extends = 'laptop'"
    )  # declared only for its name in messages: it is removed before validation


# All keys with their descriptions: "endpoint.url".
KEYS = described_keys({"": File, "endpoint.": Server, "prices.": PriceTable})
