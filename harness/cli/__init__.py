"""The command ``hilgate``. Each of its commands is a file in ``commands``, found by its name, with a ``command``.

What a command needs is imported when it runs: `hilgate --help` waits for no library.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import traceback
from pathlib import Path
from typing import IO, Any

import click

from ..errors import HilgateError
from ..host.cache import forbid_writing_by_others
from ..printable import printable_lines
from . import commands
from .project import find_project


class _Failure(click.ClickException):
    """A HilgateError, shown as it is: without a traceback, and without click's own words in front."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(module.name for module in pkgutil.iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"{commands.__name__}.{cmd_name}").command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.ClickException as error:
            _refuse_unprintable(error)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HilgateError as error:
            raise _Failure(str(error)) from error
        except click.ClickException as error:
            _refuse_unprintable(error)
            raise


def _refuse_unprintable(error: click.ClickException) -> None:
    """Have click quote the command line as it may be shown: a word of it may come from elsewhere, too."""
    message = error.format_message()
    if printable_lines(message) == message:
        return
    shown = printable_lines(message, indent="  ")
    if isinstance(error, click.UsageError):
        raise click.UsageError(shown, error.ctx) from error
    raise click.ClickException(shown) from error


@click.group("hilgate", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--devices",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The project's folder of device files (default: devices/ beside the nearest pytest.ini, else here).",
)
@click.version_option(package_name="hilgate", prog_name="hilgate")
@click.pass_context
def cli(ctx: click.Context, devices: Path | None) -> None:
    """Add boards for hilgate to measure on, and look after them. To run on one: pytest -m hil --device NAME"""
    ctx.obj = find_project(Path.cwd(), devices)


def main() -> None:
    """The program."""
    forbid_writing_by_others()
    try:
        cli(prog_name="hilgate")
    except Exception:  # noqa: BLE001  # a defect of ours; what it quotes may be a board's all the same
        click.echo(printable_lines(traceback.format_exc(), indent="  "), err=True)
        sys.exit(1)
