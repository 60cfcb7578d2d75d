"""hilgate schema: the JSON Schema of evidence.json."""

from __future__ import annotations

import click


@click.command(short_help="Print the JSON Schema of evidence.json.")
def command() -> None:
    """Print the JSON Schema (draft 2020-12) of evidence.json: for a program that reads it, or a validator."""
    import json

    from ...evidence.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=1, ensure_ascii=False))
