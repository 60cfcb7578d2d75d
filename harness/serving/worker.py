"""The agent process behind the front: one inference at a time, first come, first served.

A caller's connection has one request under way, and requests are taken in the order in which they came: so a caller's
answers come in the order of its requests.

Only the worker's thread asks the process. A process that died, hung or sent garbage ends with the request that it had,
which is told so and not repeated: the same inputs could end the next one, too. Those that wait are answered by the
process that is started in its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from ..agent.frames import Array
from ..deploy.deployment import Deployment
from ..errors import AgentFailure, HilgateError
from .refused import Refused

Outputs = list[Array]

RESTARTS = 3
# How often an idle process is asked whether it lives: it would end by itself after half an hour without a request.
LOOK_S = 5.0
PAUSE_S = 0.5
STOPPING = "the server is ending"


@dataclass(kw_only=True)
class Job:
    """One set of inputs, and who waits for its outputs.

    Attributes:
        inputs: by the model's names.
        answer: is given the outputs, or a Refused.
        abandoned: whether nobody waits for it any more.
    """

    inputs: dict[str, Array]
    answer: asyncio.Future[Outputs]
    abandoned: bool = False

    def settle(self, outcome: Outputs | Refused) -> None:
        """Hand over the outcome, from the worker's thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            self.answer.get_loop().call_soon_threadsafe(self._set, outcome)

    def _set(self, outcome: Outputs | Refused) -> None:
        if self.answer.done():
            return
        if isinstance(outcome, Refused):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


@dataclass(kw_only=True)
class Worker:
    """The agent process, and the thread that asks it.

    Attributes:
        live: the process, loaded, its first inference done.
        start: starts another.
        tell: shows a line to whoever started the server.
        problem: why the model is not ready, for callers; "" while it is.
        restarts: how many times the process may still be started again.
    """

    live: Deployment
    start: Callable[[], Deployment]
    tell: Callable[[str], None] = lambda line: None
    problem: str = ""
    restarts: int = RESTARTS
    _jobs: queue.SimpleQueue[Job | None] = field(default_factory=queue.SimpleQueue)
    _thread: threading.Thread | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Begin to answer, in a thread of its own."""
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    def submit(self, inputs: dict[str, Array]) -> Job:
        """Queue a set of inputs; its ``answer`` is to be awaited in the running loop.

        Raises:
            Refused: the model is not ready, and will not be.
        """
        if self._stopping.is_set() or (self.problem and not self.restarts):
            raise Refused(503, self.problem or STOPPING)
        job = Job(inputs=inputs, answer=asyncio.get_running_loop().create_future())
        self._jobs.put(job)
        return job

    def close(self, patience_s: float = 0.5) -> None:
        """End the thread and the process; one that is still inferring after ``patience_s`` is killed. Never raises."""
        self._stopping.set()
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join(patience_s)
            if self._thread.is_alive():
                with contextlib.suppress(Exception):
                    self.live.session.exchange.channel.finish(0)
                self._thread.join(patience_s)
        self.live.close()

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                job = self._jobs.get(timeout=LOOK_S)
            except queue.Empty:
                self._look()
                continue
            if job is not None and not job.abandoned:
                self._carry_out(job)
        self._refuse_waiting(STOPPING)

    def _carry_out(self, job: Job) -> None:
        try:
            (outputs,) = self.live.infer([job.inputs])
        except AgentFailure as error:
            job.settle(Refused(400, f"the model does not take these inputs: {error.found}"))
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller is told, and the thread goes on
            self._lost(error)
            job.settle(Refused(503, self.problem))
            self._restart()
        else:
            job.settle(outputs)

    def _look(self) -> None:
        """Ask the idle process for a word, so that its end is noticed before a caller comes."""
        if self.problem:
            return
        try:
            self.live.memory_kib()
        except Exception as error:  # noqa: BLE001
            self._lost(error)
            self._restart()

    def _lost(self, error: Exception) -> None:
        what = error.what if isinstance(error, HilgateError) else f"{type(error).__name__}: {error}"
        self.problem = f"the model's process has ended: {what}"
        if not self._stopping.is_set():
            self.tell(str(error) if isinstance(error, HilgateError) else self.problem)

    def _restart(self) -> None:
        self.live.close()
        while self.restarts and not self._stopping.wait(PAUSE_S):
            self.restarts -= 1
            try:
                self.live = self.start()
            except Exception as error:  # noqa: BLE001
                self._lost(error)
                continue
            self.problem = ""
            self.tell(f"the model's process was started again; it may be {self.restarts} times more")
            return
        if self._stopping.is_set():
            return
        self.problem += f"; it was started again {RESTARTS} times, and is not any more"
        self.tell(
            f"the model's process was started again {RESTARTS} times, and is not any more: no request is answered"
        )
        self._refuse_waiting(self.problem)

    def _refuse_waiting(self, why: str) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                if (job := self._jobs.get_nowait()) is not None:
                    job.settle(Refused(503, why))
