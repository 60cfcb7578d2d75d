"""An inference request, as if anybody had written it: its JSON, its sizes, its names, and nothing left over."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..agent.frames import Array
from ..agent.remote.tensors import NAMES as DATATYPES
from .interface import Interface
from .refused import Refused, quoted
from .tensors import from_bytes, from_json

NUMBER = re.compile(r"[0-9]{1,10}\Z", re.ASCII)
MOST_OBJECTS = 4096  # each is a call of Python's; a request has some two for each tensor
MOST_ID = 256
REFUSED_PARAMETERS = {
    "classification": "classes of outputs are not computed here",
    "shared_memory_region": "memory is not shared with callers",
    "sequence_id": "the model has no sequences",
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request, checked.

    Attributes:
        inputs: an array for each of the model's inputs, in its order.
        id: the caller's own name of the request; None without.
        outputs: the names of those that are to be returned, each with whether in binary.
    """

    inputs: dict[str, Array]
    id: str | None
    outputs: tuple[tuple[str, bool], ...]


def header_size(text: str | None, body_bytes: int) -> int | None:
    """Read how many bytes of a body are its JSON header; None where all are.

    Raises:
        Refused: it is no number, or the body has fewer bytes.
    """
    if text is None:
        return None
    if not NUMBER.match(text):
        raise Refused(400, f"the size of the JSON header must be a number; found {quoted(text)}")
    if int(text) > body_bytes:
        raise Refused(400, f"the JSON header is to have {int(text)} bytes; the body has {body_bytes}")
    return int(text)


def read_request(body: bytes, header_bytes: int | None, interface: Interface) -> Asked:
    """Read a request.

    Args:
        body: JSON, and behind it the binary tensors in the order of the inputs.
        header_bytes: how many bytes the JSON has; None: all of them.
        interface: what the model takes and gives.

    Raises:
        Refused: it is not what the model takes.
    """
    content = memoryview(body)
    size = len(body) if header_bytes is None else header_bytes
    header = _parsed(body[:size])
    parameters = _parameters(header, "the request")
    tensors = _Tensors(interface, content[size:])
    for each in _objects(header, "inputs"):
        tensors.take(each)
    asked_id = header.get("id")
    if asked_id is not None and not (isinstance(asked_id, str) and len(asked_id) <= MOST_ID):
        raise Refused(400, f"id must be a text of at most {MOST_ID} characters; found {quoted(asked_id)}")
    outputs = _outputs(header, interface, binary=_flag(parameters, "binary_data_output", "the request"))
    return Asked(inputs=tensors.all(), id=asked_id, outputs=tuple(outputs))


class _Tensors:
    """The inputs of a request, taken one by one; binary ones from what comes behind the header."""

    def __init__(self, interface: Interface, raw: memoryview) -> None:
        self.interface = interface
        self.raw = raw
        self.found: dict[str, Array] = {}
        self.sizes: dict[str, int] = {}

    def take(self, described: dict[str, Any]) -> None:
        item = self.interface.input(described.get("name"))
        where = f"input {item.name}"
        if item.name in self.found:
            raise Refused(400, f"{where} is there twice")
        if described.get("datatype") != DATATYPES[item.dtype]:
            raise Refused(400, f"{where} is {DATATYPES[item.dtype]}; found {quoted(described.get('datatype'))}")
        shape = self.interface.checked_shape(item, described.get("shape"), self.sizes)
        size = _parameters(described, where).get("binary_data_size")
        if size is None:
            if "data" not in described:
                raise Refused(400, f"{where} has neither data nor a binary_data_size")
            self.found[item.name] = from_json(described["data"], item.dtype, shape, where)
            return
        if "data" in described:
            raise Refused(400, f"{where} has data and a binary_data_size; wanted one of them")
        if type(size) is not int or not 0 <= size <= len(self.raw):
            raise Refused(400, f"{where} has the binary_data_size {quoted(size)}; {len(self.raw)} bytes are left")
        self.found[item.name] = from_bytes(self.raw[:size], item.dtype, shape, where)
        self.raw = self.raw[size:]

    def all(self) -> dict[str, Array]:
        """Return the inputs in the model's order.

        Raises:
            Refused: one is missing, or bytes are left over.
        """
        if missing := [item.name for item in self.interface.inputs if item.name not in self.found]:
            raise Refused(400, f"the request has no input {', '.join(missing)}")
        if len(self.raw):
            raise Refused(400, f"{len(self.raw)} bytes behind the last tensor")
        return {item.name: self.found[item.name] for item in self.interface.inputs}


def _outputs(header: dict[str, Any], interface: Interface, *, binary: bool) -> list[tuple[str, bool]]:
    names = [each.name for each in interface.outputs]
    if not header.get("outputs"):
        return [(name, binary) for name in names]
    asked: dict[str, bool] = {}
    for each in _objects(header, "outputs"):
        name = each.get("name")
        if not isinstance(name, str) or name not in names:
            raise Refused(400, f"the model has no output {quoted(name)}; it gives {', '.join(names[:20])}")
        if name in asked:
            raise Refused(400, f"output {name} is asked for twice")
        asked[name] = _flag(_parameters(each, f"output {name}"), "binary_data", f"output {name}", otherwise=binary)
    return list(asked.items())


def _parsed(text: bytes) -> dict[str, Any]:
    if text.count(b"{") > MOST_OBJECTS:
        raise Refused(400, f"more than {MOST_OBJECTS} objects of JSON")
    try:
        header = json.loads(text.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_members)
    except RecursionError:
        raise Refused(400, "JSON that is nested too deep") from None
    except ValueError as error:
        raise Refused(400, f"not the JSON that a request must be: {str(error)[:200]}") from None
    if not isinstance(header, dict):
        raise Refused(400, f"the request must be an object of JSON; found {quoted(header)}")
    return header


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name}, which is no number")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) != len(pairs):
        raise ValueError("an object with a key that is there twice")
    return found


def _objects(header: dict[str, Any], key: str) -> Sequence[dict[str, Any]]:
    found = header.get(key)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Refused(400, f"{key} must be a list of objects; found {quoted(found)}")
    return found


def _parameters(described: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the parameters of a request or tensor; those that are not known are no matter, as the protocol has it."""
    parameters = described.get("parameters", {})
    if not isinstance(parameters, dict):
        raise Refused(400, f"the parameters of {where} must be an object; found {quoted(parameters)}")
    for name, why in REFUSED_PARAMETERS.items():
        if parameters.get(name):
            raise Refused(400, f"the parameter {name} of {where}: {why}")
    return parameters


def _flag(parameters: dict[str, Any], name: str, where: str, *, otherwise: bool = False) -> bool:
    flag = parameters.get(name, otherwise)
    if not isinstance(flag, bool):
        raise Refused(400, f"{name} of {where} must be true or false; found {quoted(flag)}")
    return flag
