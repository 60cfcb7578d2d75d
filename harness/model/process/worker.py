"""The program of a model's process: it reads the file, builds the module when that is first needed, and answers.

``connection`` starts it. It ends when its parent ends or closes the connection.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...host.plugins import import_module
from ..build import OWN_PROCESS, SOURCE, BuiltModel, build_model
from ..model_file import ModelFile, read_model
from ..user_code import source_sha256
from ..user_process import end_with
from .wire import decode_error, encode, encode_error, receive

# What a question may be about: attributes of _Server.
SUBJECTS = ("file", "built")
# An attribute of an error that a function of the asking process raised: the error's number there.
ORIGIN = "hilgate_origin"


def main(request: dict[str, Any]) -> None:
    """Answer questions until the connection is closed.

    Args:
        request: "model", the file's path; "socket", the descriptor of the connection; "parent", the parent's pid.
    """
    if not end_with(request["parent"]):
        return
    with suppress(OSError):  # if memory runs out, the kernel shall kill this process, and not the run
        Path("/proc/self/oom_score_adj").write_text("1000")
    faulthandler.enable()
    sys.argv[1:] = []
    connection = socket.socket(fileno=request["socket"])
    connection.set_inheritable(False)
    os.register_at_fork(after_in_child=connection.close)  # processes that the model's code forks must not answer
    server = _Server(Path(request["model"]), connection)
    while server.serve():
        pass


class _HungUp(BaseException):
    """The asking process has closed the connection."""


@dataclass
class _Server:
    """Answers questions about one model file."""

    path: Path
    connection: socket.socket

    @cached_property
    def file(self) -> ModelFile:
        model = read_model(self.path)
        return ModelFile(self.path, model, (), sha256=source_sha256(self.path))

    @cached_property
    def built(self) -> BuiltModel:
        built = build_model(self.file, identified=True)
        built.kept.update({OWN_PROCESS: True, SOURCE: self.file.sha256})
        return built

    def serve(self) -> bool:
        """Answer one question; return False if the connection is closed."""
        try:
            message = receive(self._fill, self._call)
        except (_HungUp, OSError):
            return False
        return self._answer(*message)

    def _answer(self, subject: str, place: tuple[str, str], args: Any, kwargs: Any) -> bool:
        module, name = place
        try:
            question = getattr(import_module(module), name)
            frame = encode(("answer", question(getattr(self, subject), *args, **kwargs)))
        except _HungUp:
            return False
        except BaseException as error:  # noqa: BLE001  # SystemExit of the model's own, too
            frame = encode(("error", encode_error(error), vars(error).get(ORIGIN)))
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # the model's code may have replaced them by anything
                stream.flush()
        return self._send(frame)

    def _call(self, number: int, *args: Any, **kwargs: Any) -> Any:
        """Call a function that stayed in the asking process."""
        if not self._send(encode(("call", number, args, kwargs))):
            raise _HungUp
        while (message := receive(self._fill, self._call))[0] in SUBJECTS:
            if not self._answer(*message):  # the function asks the model something itself
                raise _HungUp
        kind, value, *origin = message
        if kind == "returned":
            return value
        error = decode_error(value)
        vars(error)[ORIGIN] = origin[0]  # so that the asking process raises the very same error again
        raise error

    def _send(self, frame: list[memoryview]) -> bool:
        try:
            for part in frame:
                self.connection.sendall(part)
        except OSError:
            return False
        return True

    def _fill(self, buffer: memoryview) -> None:
        while buffer.nbytes:
            count = self.connection.recv_into(buffer)
            if not count:
                raise _HungUp
            buffer = buffer[count:]
