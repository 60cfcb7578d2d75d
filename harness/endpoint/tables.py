"""The table of an endpoint file and its keys, as pydantic models."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

# A name in a URL's path: nothing in it is quoted, and it leads nowhere else.
_PATH_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$"


class _Table(BaseModel):
    """A table of an endpoint file. A key's description is what is expected, then ": " and an example for messages."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Server(_Table):
    """The table [endpoint]: the server, and the model that it serves."""

    description: str = Field(min_length=1, description='a text: description = "the laptop beside the field"')
    url: str = Field(min_length=1, description='http:// or https://, a host and a port: url = "http://10.0.0.2:8000"')
    model: str = Field(
        pattern=_PATH_NAME,
        max_length=200,
        description='the name of the served model, of letters, digits, `_`, `-`, `.` and `:`: model = "digits"',
    )
    version: str = Field(
        "", pattern=rf"{_PATH_NAME}|^$", max_length=200, description='the version of the served model: version = "1"'
    )
    ca: str | None = Field(
        None, min_length=1, description='a file of certificates in PEM, beside the endpoint file: ca = "laptop.pem"'
    )


class File(_Table):
    """A whole endpoint file."""

    endpoint: Server = Field(description="a table with description, url and model: [endpoint]")
    extends: None = Field(
        None, description="an endpoint: extends = 'laptop'"
    )  # declared only for its name in messages: it is removed before validation


# All keys with their descriptions: "endpoint.url".
KEYS: dict[str, str] = {
    prefix + key: info.description or ""
    for prefix, table in (("", File), ("endpoint.", Server))
    for key, info in table.model_fields.items()
}
