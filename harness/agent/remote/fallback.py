"""An engine of two: the computer elsewhere answers as long as it does so in time, and the device itself where it fails.

A call that fails, or comes too late, is answered by the device at once: the caller waits for timeout_ms at most, and
for one local inference. From then on the device answers without asking. Meanwhile a thread asks the far end again once
a second, with a call like any other (the inputs of the first inference), and with the first answer that comes in time
the far end answers again.

A thread, and nothing between two inferences: a call takes as long as timeout_ms, and the robot would wait for it. What
it costs the local inferences is the encoding of a request a second. It has Python's own priority: with a lower one it
could be made to wait while it holds the interpreter's lock, and an inference with it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..frames import Array
from ..sides import FAR, NEAR, UNASKED
from ..structure import flatten
from .failure import CallFailed

# How long after a call has begun the far end is asked anew; a call that takes longer is followed at once.
EVERY_S = 1.0


class Both(NamedTuple):
    """Something of each side: inputs as both take them."""

    far: Any
    near: Any


class Answer(NamedTuple):
    """What a side returned."""

    is_near: bool
    raw: Any


class FallbackEngine:
    """A backend's engine, as the agent uses it, made of two; see the module. One thread uses it, and one of its own.

    Invariants: the client of the far end is used by the caller while ``_asks_far``, else under ``_lock``. Only the
    caller ends ``_asks_far``, only the thread begins it again, and it has left the client by then.

    Attributes:
        side: who answered the last inference that ``run`` made; see agent/sides.py.
        asked, answered: how often the thread has asked the far end, and was answered in time.
    """

    def __init__(self, far: Any, near: Any, near_artifact: str, name: str = "") -> None:
        """Load nothing yet.

        Args:
            far: the engine that calls the computer elsewhere.
            near: the engine that infers on the device.
            near_artifact: what that loads, a path.
            name: of its backend, for errors.
        """
        self._far, self._near, self._near_artifact, self._name = far, near, near_artifact, name
        self._artifact, self._names = "", list[str]()
        self._is_open = self._asks_far = self._is_closed = False
        self._question: Any = None
        self._trouble: Exception | None = None
        self._lock, self._is_away = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self.side, self.asked, self.answered = UNASKED, 0, 0

    # What a backend's engine has

    def load(self, artifact: str) -> None:
        """Load the model on the device, then the description of the endpoint; ask the server, if its backend does.

        A server that does not answer is none to wait for: the device answers from the start.

        Raises:
            RuntimeError: the device cannot load its model.
            ValueError: the description is none, or the server has another model under its name.
        """
        self._artifact = artifact
        try:
            self._near.load(self._near_artifact)
        except Exception as error:
            what = f"the fallback {self._name} cannot load its artifact: {type(error).__name__}: {error}"
            raise RuntimeError(what) from error
        try:
            self._open()
        except CallFailed:
            self._go_near()
        else:
            self._asks_far = True

    def warm(self, prepared: Both) -> None:
        """Infer once on the device, so that its memory is taken, and its outputs are known.

        Raises:
            ValueError: they are not those of the far end.
        """
        _, found = self._named_near(self._near.run(prepared.near))
        far = self._far.output_names()
        if far and sorted(far) != sorted(found):
            raise ValueError(
                f"the fallback {self._name} has other outputs than the endpoint: wanted {', '.join(far)}; found "
                f"{', '.join(found)}"
            )
        self._names = far or [*found]

    def prepare(self, inputs: Mapping[str, Any]) -> Both:
        """Prepare the inputs for both sides. Not timed."""
        prepared = Both(self._far.prepare(inputs), self._near.prepare(inputs))
        if self._question is None:
            self._question = [np.array(array) for array in prepared.far]
        return prepared

    def run(self, prepared: Both) -> Answer:
        """Infer once: this is what is timed.

        Raises:
            RuntimeError: the device itself could not; the text has how the call failed, too, if one was made.
        """
        if not self._asks_far:
            answer = self._answer_near(prepared, None)
            self.side = UNASKED
            return answer
        try:
            raw = self._far.run(prepared.far)
        except CallFailed as missed:
            answer = self._answer_near(prepared, missed)
            self.side = missed.code
            self._go_near()
            return answer
        self.side = FAR
        return Answer(False, raw)

    def run_untimed(self, prepared: Both) -> Answer:
        """Infer once where nobody times it: the side that answers stays.

        Raises:
            CallFailed: the far end missed it. The next inference that is timed meets it, too, and shows the switch.
        """
        if not self._asks_far:
            return self._answer_near(prepared, None)
        return Answer(False, self._far.run(prepared.far))

    def run_on(self, side: str, prepared: Both) -> Answer:
        """Infer once on this side alone, whoever answers otherwise; see agent/sides.py.

        Raises:
            CallFailed: there was no answer from the far end.
        """
        if side == NEAR:
            return Answer(True, self._near.run(prepared.near))
        with self._lock:
            self._open()
            raw = self._far.arrays(self._far.run(prepared.far))
            return Answer(False, [np.array(array) for array in raw])  # the thread's next call overwrites what it read

    def arrays(self, raw: Answer) -> Any:
        """Return the outputs as a flat tuple of numpy arrays, in the order of ``output_names``."""
        if raw.is_near:
            _, named = self._named_near(raw.raw)
        else:
            named = dict(zip(self._far.output_names(), raw.raw))
        return tuple(named[name] for name in self._names)

    def profile(self, take: Callable[[], Any], count: int) -> list[tuple[str, str, list[float]]]:
        """Return nothing: what the far end does is not seen from here."""
        return []

    def output_names(self) -> list[str]:
        """Return the outputs' names."""
        return self._names

    def versions(self) -> dict[str, str]:
        """Return the versions of both sides' packages."""
        return {**self._far.versions(), **self._near.versions()}

    def settings(self) -> dict[str, Any]:
        """Return what calls are like, and the settings that are in force on the device."""
        far = self._far.settings()
        if not far.get("response_bytes"):  # nobody has answered yet: sizes of nothing would be believed
            far = {key: far[key] for key in far if key not in ("wire", "request_bytes", "response_bytes")}
        return {**far, **self._near.settings()}

    def close(self) -> None:
        """End the thread, once it has woken up."""
        self._is_closed = True
        self._is_away.set()

    # The device

    def _answer_near(self, prepared: Both, missed: CallFailed | None) -> Answer:
        if self._trouble is not None:
            raise RuntimeError(f"the far end was asked again: {self._trouble}") from self._trouble
        try:
            return Answer(True, self._near.run(prepared.near))
        except Exception as error:
            if missed is None:
                raise
            what = (
                f"the fallback {self._name} failed: {type(error).__name__}: {error}; and before it the call: {missed}"
            )
            raise RuntimeError(what) from error

    def _named_near(self, raw: Any) -> tuple[list[str], dict[str, Array]]:
        named = list(flatten(self._near.arrays(raw)))
        names: Sequence[str] = self._near.output_names() or [name for name, _ in named]
        return [*names], dict(zip(names, (array for _, array in named)))

    # The far end

    def _open(self) -> None:
        """Load the description, once; a backend may ask the server for its model then."""
        if not self._is_open:
            self._far.load(self._artifact)
            self._is_open = True

    def _go_near(self) -> None:
        """Have the device answer from now on, and the thread ask."""
        self._asks_far = False
        if self._thread is None:  # not before: a process may import this, and fork
            self._thread = threading.Thread(target=self._ask_on, name="far end", daemon=True)
            self._thread.start()
        self._is_away.set()

    def _ask_on(self) -> None:
        while True:
            self._is_away.wait()
            began, is_back = time.monotonic(), False
            while not is_back:
                time.sleep(max(began + EVERY_S - time.monotonic(), 0.0))
                if self._is_closed:
                    return
                began = time.monotonic()
                try:
                    is_back = self._ask()
                except Exception as error:  # noqa: BLE001  # whatever it is, the caller is to tell it
                    self._trouble = error
                    return
            self._is_away.clear()
            self._asks_far = True

    def _ask(self) -> bool:
        """Ask the far end once; tell whether it has answered in time."""
        if self._question is None:  # the device is still loading: nobody has inputs yet
            return False
        self.asked += 1
        with self._lock, contextlib.suppress(CallFailed):
            self._open()
            self._far.run(self._question)
            self.answered += 1
            return True
        return False
