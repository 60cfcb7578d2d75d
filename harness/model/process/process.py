"""The process of a model file, over all its lives: started when first asked, and again when asked after its end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from ...errors import ModelError, ProcessError
from ..build import BuiltModel
from ..model_file import ModelFile
from ..user_process import Bounds, search_path
from .connection import Connection
from .wire import Raised, encode

# What differs if an expected answer does, for messages.
SAID = {"file": "declaration", "built": "source, or other weights or outputs"}

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class ModelProcess:
    """The process of one model file.

    It starts when it is first asked, and again when it is asked after it has died, or was closed.
    """

    def __init__(self, path: Path, bounds: Bounds | None = None) -> None:
        self.path = path.absolute()
        self.bounds = bounds or Bounds()
        self.search_path = search_path()  # as it is now: a test of the user's own may change it
        self._connection: Connection | None = None
        self._lock = (
            threading.RLock()
        )  # reentrant: a question's functions may ask; a lock: the counting guest asks beside the run
        self._expected: dict[str, tuple[Any, tuple[Any, ...], Any]] = {}

    def ask_file(
        self,
        question: Callable[Concatenate[ModelFile, Arguments], Answer],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        """Put a question that needs the file, but no module, to the process.

        Args:
            question: The function to call with the ModelFile there.
            args: Its further arguments.
            kwargs: Its keyword arguments.

        Raises:
            HilgateError: As ``ask``.
        """
        answer: Answer = self._ask("file", question, args, kwargs)
        return answer

    def ask(
        self,
        question: Callable[Concatenate[BuiltModel, Arguments], Answer],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        """Put a question (see BuiltModel) to the process; the first question has the module built.

        Args:
            question: The function to call with the BuiltModel there.
            args: Its further arguments. A function among them stays here, and is called from there.
            kwargs: Its keyword arguments.

        Raises:
            ModelError: The file cannot be read, or the module not be built.
            ProcessError: The process died, hangs, or takes too much; or it was started again and has another model.
            HilgateError: Whatever the question raises.
            Raised: Any other error that the question raises.
        """
        answer: Answer = self._ask("built", question, args, kwargs)
        return answer

    def _ask(self, subject: str, question: Any, args: Any, kwargs: Any) -> Any:
        with self._lock:
            return self._asked(subject, question, args, kwargs)

    def _asked(self, subject: str, question: Any, args: Any, kwargs: Any) -> Any:
        functions: list[Any] = []
        frame = encode((subject, (question.__module__, question.__qualname__), args, kwargs), functions)
        connection = self._connected()
        try:
            self._compare(connection, subject)
            reading = subject == "file" and "file" not in connection.compared  # else it has been read
            return connection.answer(frame, functions, reading=reading)
        except BaseException:
            if not connection.in_step:
                connection.end()
                self._connection = None
            raise

    def expect(self, subject: str, question: Callable[..., Answer], args: tuple[Any, ...], answer: Answer) -> None:
        """Require that every process started later gives the same answer, before it is asked anything else.

        Args:
            subject: What the question is about, "file" or "built".
            question: The question.
            args: Its arguments.
            answer: The answer that this process gave.
        """
        self._expected[subject] = question, args, answer
        if self._connection is not None:
            self._connection.compared.add(subject)

    def _compare(self, connection: Connection, subject: str) -> None:
        """Refuse a restarted process that has another model: it has read the file again, which may have changed.

        Raises:
            ProcessError: It has another model; or the file cannot be read, or the module not be built, a second time.
        """
        for name in ("file", subject):
            if name in connection.compared or name not in self._expected:
                continue
            question, args, first = self._expected[name]
            functions: list[Any] = []
            frame = encode((name, (question.__module__, question.__qualname__), args, {}), functions)
            wanted, hint = "what it was when the run began", "leave the file alone while it runs, and run once more"
            try:
                again = connection.answer(frame, functions, reading=name == "file")
            except ProcessError:
                raise
            except (ModelError, Raised) as error:
                connection.end()
                what, found = "the model file cannot be used a second time", str(error)
                raise ProcessError(what, wanted=wanted, found=found, where=str(self.path), hint=hint) from error
            if again != first:
                connection.end()
                hint += "; if nobody changed it, it says or builds something else at each start"
                what, found = "the model file was changed during the run", "another " + SAID[name]
                raise ProcessError(what, wanted=wanted, found=found, where=str(self.path), hint=hint)
            connection.compared.add(name)

    def _connected(self) -> Connection:
        """Return the process's connection; start another process if it died meanwhile, as when memory runs out."""
        if self._connection is not None and self._connection.in_step and self._connection.is_dead():
            self._connection.end()
            self._connection = None
        if self._connection is None:
            self._connection = Connection.start(self.path, self.bounds, self.search_path)
        return self._connection

    def cpu_s(self) -> float:
        """Return the process's CPU time, in seconds; 0 if there is none."""
        return self._connection.cpu_s() if self._connection is not None else 0.0

    def close(self) -> None:
        """End the process, if it runs."""
        with self._lock:
            if self._connection is not None:
                self._connection.hang_up()
                self._connection = None
