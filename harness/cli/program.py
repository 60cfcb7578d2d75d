"""The program ``hilgate``: its commands are the files in ``commands``, and those of plug-ins, found by their names.

What a command needs is imported when it runs, so that `hilgate --help` waits for no library.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import IO, Any

import click

from ..errors import HilgateError
from ..host.cache import forbid_writing_by_others
from ..host.plugins import instance_of, load_module, module_names, use_plugins
from ..printable import printable_lines
from .project import find_plugins, find_project

COMMANDS = f"{__package__}.commands"
# What a command's file must have.
COMMAND = {"command": (instance_of(click.Command), "a click command: a function below @click.command()")}


class _Failure(click.ClickException):
    """A HilgateError, shown as it is: without a traceback, and without click's own words in front."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)


class _Commands(click.Group):
    """The group of all commands; each is loaded from its file when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name.replace("_", "-") for name in module_names(COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = load_module(COMMANDS, cmd_name.replace("-", "_"), COMMAND, "command").command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            ctx.call_on_close(use_plugins(find_plugins(Path.cwd())))
            return super().parse_args(ctx, args)
        except HilgateError as error:
            raise _Failure(str(error)) from error
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
    """Raise a click error again with its text made printable: a word of the command line may come from elsewhere."""
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
    """Add boards for hilgate to measure on, and look after them (to run on one: pytest -m hil --device NAME)."""
    ctx.obj = find_project(Path.cwd(), devices)


def main() -> None:
    """Run the program."""
    forbid_writing_by_others()
    try:
        cli(prog_name="hilgate")
    except Exception:  # noqa: BLE001  # a defect of ours; what it quotes may be a board's all the same
        click.echo(printable_lines(traceback.format_exc(), indent="  "), err=True)
        sys.exit(1)
    finally:
        _drop_what_cannot_be_written()


def _drop_what_cannot_be_written() -> None:
    """Let go of what stdout holds and cannot write: Python would try at exit, fail again, and end with status 120."""
    stdout: IO[str] | None = sys.stdout  # None where the program was started with it closed
    if stdout is None or stdout.closed:
        return
    try:
        stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stdout.fileno())
        os.close(nowhere)
