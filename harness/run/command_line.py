"""The options of a HIL run on pytest's command line, where the value of one is a word of its own.

pytest looks for its settings before it has loaded any plugin: it takes the word behind an option that it does not know
for a place of tests, and in ``--model elsewhere/model.py`` finds the root and the settings of that other folder
(issue 16). Nothing that a plugin can do comes early enough to change that, and what those settings ask for (options,
plugins, paths) cannot be taken back. So pytest is started again, in the same process, with the option and its value in
one word, which it cannot mistake.
"""

from __future__ import annotations

import copy
import os
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest
from _pytest.config.findpaths import determine_setup

from ..printable import printable

ADDOPTS = "PYTEST_ADDOPTS"


def restart_if_misread(parser: pytest.Parser, config: pytest.Config, options: Collection[str]) -> None:
    """Start pytest again if it has taken the value of an option for a place of tests and so has other settings.

    Args:
        parser: pytest's, with hilgate's options.
        config: pytest's, with the settings that it found without knowing them.
        options: those that have a value, as "--model"; the parser knows them by now.

    Raises:
        pytest.UsageError: it has, and cannot be started again, for it was not started as a program.
    """
    given, more = list(config.invocation_params.args), shlex.split(os.environ.get(ADDOPTS, ""))
    words = [os.fspath(word) for word in given]
    joined, joined_more = join_values(words, options), join_values(more, options)
    if (joined, joined_more) == (words, more):
        return
    root, ini = _setup(parser, config, [*joined_more, *joined])
    if (root, ini) == (config.rootpath, config.inipath):
        return
    command = sys.orig_argv[: len(sys.orig_argv) - len(words)]
    # Once pytest captures what is printed, the new one would print into the old one's files.
    if [*command, *words] != sys.orig_argv or not sys.executable or config.pluginmanager.hasplugin("capturemanager"):
        wanted = " ".join(word for word in [*joined_more, *joined] if word not in [*more, *words])
        said = (
            f"pytest took the value of an option for a place of tests, and its settings from {config.rootpath}; those "
            f"of this run are in {root}. Write them as one word: {wanted}"
        )
        raise pytest.UsageError(printable(said))
    if more:
        os.environ[ADDOPTS] = shlex.join(joined_more)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *command[1:], *joined])  # noqa: S606  # the command that was given


def join_values(words: Sequence[str], options: Collection[str]) -> list[str]:
    """Join each of these options and its value, where that is the next word, to one: "--model=FILE"."""
    joined: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":  # behind it all are places
            return [*joined, word, *rest]
        value = next(rest, None) if word in options else None
        joined.append(word if value is None else f"{word}={value}")
    return joined


def _setup(parser: pytest.Parser, config: pytest.Config, words: Sequence[str]) -> tuple[Path, Path | None]:
    """Find the root and the file of settings as pytest does, now that the options are known."""
    known = parser.parse_known_args(words, namespace=copy.copy(config.option))
    root, ini, *_ = determine_setup(
        inifile=known.inifilename,
        override_ini=known.override_ini,
        args=known.file_or_dir,
        rootdir_cmd_arg=known.rootdir or None,
        invocation_dir=config.invocation_params.dir,
    )
    return root, ini
