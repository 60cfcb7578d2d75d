"""The tables of the TOML files that people write, as pydantic models whose keys say what is expected of them."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


class FileTable(BaseModel):
    """A table of such a file. A key's description is what is expected, then ": " and an example for messages."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def described_keys(tables: Mapping[str, type[FileTable]]) -> dict[str, str]:
    """Return the description of every key of a file by its path, such as "device.host".

    Args:
        tables: the file's own and those in it, by what precedes their keys: "", "device.".
    """
    return {
        prefix + key: info.description or ""
        for prefix, table in tables.items()
        for key, info in table.model_fields.items()
    }
