"""Ending a run on a signal: Ctrl-C, SIGTERM (a CI job is cancelled) or SIGHUP (a terminal is closed).

It ends in the same way at any time (issue 17): pytest's summary of an interrupted run, what was measured so far in the
evidence, exit status 2, nothing left over. Python alone does so for Ctrl-C only, and pytest only once it has a terminal
reporter:

    the plugin is being loaded      nothing has begun: a line, exit status 2, for Ctrl-C
    pytest runs, not for hil        as pytest has it
    a HIL run, from its planning    all three signals, as Ctrl-C

A signal that whoever started pytest ignores (nohup, a job in the background) stays ignored.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

# How long a run that ends may take to let go of its board in order.
PATIENCE_S = 5.0
# A duplicate of the real stderr (at most one), because pytest captures fd 2 while it loads plugins.
STDERR: list[int] = []
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def watch_loading() -> None:
    """Have Ctrl-C end the loading of pytest's plugins with a line, where pytest would show a traceback of imports."""
    if _is_program() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        STDERR.append(os.dup(2))
        signal.signal(signal.SIGINT, _end_loading)


def end_watch() -> None:
    """Give Ctrl-C back to pytest, which has loaded its plugins."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is _end_loading:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(STDERR.pop())


def _is_program() -> bool:
    """Tell whether this process is pytest's own: a program that calls pytest.main() handles signals in its own way."""
    path = Path(sys.argv[0]) if sys.argv else Path()
    started = path.name in ("pytest", "py.test") or path.parts[-2:] == ("pytest", "__main__.py")
    return started and threading.current_thread() is threading.main_thread()


def _end_loading(number: int, frame: FrameType | None) -> None:
    """End the process at once, for an exception might be lost in a bare ``except`` of a package's imports."""
    _say_stopped(signal.Signals(number).name, STDERR[-1])
    os._exit(int(pytest.ExitCode.INTERRUPTED))


def _say_stopped(name: str, stderr: int = 2) -> None:
    with contextlib.suppress(OSError):
        os.write(stderr, f"\n!!! Interrupted: {name}, before anything was measured !!!\n".encode())


class Interrupts:
    """A plugin that handles a HIL run's signals, from its planning to the very end.

    Attributes:
        received: the signal that came, "" while none did.
    """

    def __init__(self, config: pytest.Config, abandon: Callable[[], None]) -> None:
        """Prepare to take over the signals.

        Args:
            config: pytest's; what has to be undone at the run's end is added to its cleanups.
            abandon: called where the run has not ended soon after a signal: a board that is gone is not waited for.
        """
        self._abandon = abandon
        self.received = ""
        self._ending = False
        self._config = config
        self._terminals: set[int] = set()

    def start(self) -> None:
        """Take over the signals until the run's end; those that whoever started pytest ignores stay ignored."""
        # Looked up now: a terminal that was closed no longer says that it is one.
        self._terminals = {device for number, device in _descriptors().items() if os.isatty(number)}
        if threading.current_thread() is not threading.main_thread():
            return  # only there are there signals
        for number in SIGNALS:
            before = signal.getsignal(number)
            if before in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, self._stop)
                self._config.add_cleanup(partial(_restore, number, before))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt where the run is; what comes after it has begun to end must not stop that."""
        __tracebackhide__ = True  # pytest shows where the run was
        if number == signal.SIGHUP:
            _leave(self._terminals)
        if self.received and number != signal.SIGINT:
            return
        first = not self.received
        self.received = signal.Signals(number).name
        if first:
            timer = threading.Timer(PATIENCE_S, self._abandon)
            timer.daemon = True
            timer.start()
            self._config.add_cleanup(timer.cancel)
        if first and self._ending:  # pytest catches nothing any more, and all but the summary is done
            return
        raise self._interrupt()

    def _interrupt(self) -> KeyboardInterrupt:
        return KeyboardInterrupt() if self.received == "SIGINT" else KeyboardInterrupt(self.received)

    @pytest.hookimpl(tryfirst=True, wrapper=True)  # before the plugin's own, which writes the evidence and its summary
    def pytest_sessionfinish(self) -> Generator[None, None, None]:
        """Let no first signal stop the run any more, which is about to end; a second Ctrl-C does."""
        self._ending = True
        yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin no further test where the interrupt was lost: Python drops one that is raised in a destructor."""
        if self.received:
            raise self._interrupt()

    def pytest_keyboard_interrupt(self, excinfo: Any) -> None:
        """Say that the run was interrupted where there is no terminal reporter yet to do so."""
        if not self._config.pluginmanager.hasplugin("terminalreporter"):
            _say_stopped(self.received or "SIGINT")


def _restore(number: int, before: Any) -> None:
    signal.signal(number, before)


def _descriptors() -> dict[int, int]:
    """Map each open descriptor to the number of the device that it leads to."""
    devices = {}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # numbers, not paths
        with contextlib.suppress(OSError):
            devices[int(name)] = os.fstat(int(name)).st_rdev
    return devices


def _leave(terminals: set[int]) -> None:
    """Lead descriptors of closed terminals to /dev/null: writing to one would raise, and stop the run's orderly end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in [number for number, device in _descriptors().items() if device in terminals]:
        os.dup2(nothing, descriptor, inheritable=descriptor <= 2)
    os.close(nothing)


watch_loading()  # as the first thing that the plugin imports
