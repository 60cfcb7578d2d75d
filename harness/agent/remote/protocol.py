"""Requests and answers of the Open Inference Protocol, version 2, as bytes; no socket is known here.

A request's tensors are raw bytes behind a header in JSON (the binary tensor data extension), or JSON throughout. An
answer is what was asked for, or refused: each output once, of the type and the sizes that were agreed, with as many
bytes as these take, and not one more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..frames import Array
from ..wire import Buffer, is_nested_deeper
from .answer import PAGE, Answer, broken, is_page, shown
from .failure import REJECTED, CallFailed
from .tensors import DTYPES, Spec, from_raw, raw, size_of

BINARY_HEADER = "Inference-Header-Content-Length"
MOST_NESTED = 32
MOST_TENSORS = 1024
MOST_DIMENSIONS = 64
# Tables and lists of JSON take some twenty times the memory of their bytes; no answer of ours needs many of them.
MOST_TABLES, MOST_LISTS = 4 * MOST_TENSORS, 1 << 16
# What elements in JSON may be, by numpy's kind of the type.
KINDS_OF: Mapping[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}
# Longer numbers take Python minutes, before 3.11; no number of 64 bits is as long.
_LONG_NUMBER = re.compile(rb"[0-9]{400}")


class Metadata(NamedTuple):
    """What a server says of a model. A list that is empty says nothing; a datatype may be one that we do not know."""

    platform: str
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]


class Layout(NamedTuple):
    """Where the outputs' bytes are, behind an answer's header: offset and specification, in the order asked for."""

    size: int
    outputs: tuple[tuple[int, Spec], ...]


def binary_header(inputs: Sequence[Spec], shapes: Sequence[tuple[int, ...]], outputs: Sequence[str]) -> bytes:
    """Write the JSON that precedes the tensors' bytes."""
    described = [
        {**_described(spec, shape), "parameters": {"binary_data_size": size_of(shape, spec.datatype)}}
        for spec, shape in zip(inputs, shapes)
    ]
    if not outputs:
        return _to_json({"inputs": described, "parameters": {"binary_data_output": True}})
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    return _to_json({"inputs": described, "outputs": wanted})


def json_body(inputs: Sequence[Spec], arrays: Sequence[Array], outputs: Sequence[str]) -> bytes:
    """Write a request that is JSON throughout.

    Raises:
        CallFailed: JSON has no NaN and no infinity.
    """
    described = [
        {**_described(spec, array.shape), "data": array.reshape(-1).tolist()} for spec, array in zip(inputs, arrays)
    ]
    wanted = {"outputs": [{"name": name} for name in outputs]} if outputs else {}
    try:
        return _to_json({"inputs": described, **wanted})
    except ValueError:
        what = "an input has NaN or infinity in it, which JSON has not, and this server takes no binary tensors"
        raise CallFailed(REJECTED, what) from None


def _described(spec: Spec, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": spec.name, "shape": list(shape), "datatype": spec.datatype}


def _to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def read_json(text: Buffer, what: str) -> dict[str, Any]:
    """Read a table in JSON that a server has sent; what a parser would take too long for, or too much, is refused.

    Raises:
        CallFailed: it is none.
    """
    text = bytes(text)
    if is_nested_deeper(text, MOST_NESTED):
        raise broken(f"{what} is JSON nested deeper than {MOST_NESTED}, or none: {shown(text)}")
    if text.count(b"{") > MOST_TABLES or text.count(b"[") > MOST_LISTS or _LONG_NUMBER.search(text):
        raise broken(f"{what} is JSON with more in it than any answer needs: {shown(text)}")
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise broken(f"{what} is no JSON ({shown(error)}): {shown(text)}") from None
    if not isinstance(value, dict):
        raise broken(f"{what} is no table in JSON: {shown(text)}")
    return value


def read_table(answer: Answer, what: str) -> dict[str, Any]:
    """Read an answer that is a table in JSON; a web page in its place is named."""
    if is_page(answer.headers, answer.body):
        raise broken(f"{what} is {PAGE}")
    return read_json(answer.body, what)


def read_metadata(answer: Answer) -> Metadata:
    """Read what a server says of a model.

    Raises:
        CallFailed: it says what no server says.
    """
    table = read_table(answer, "what the server says of the model")
    return Metadata(shown(table.get("platform") or ""), _specs(table, "inputs"), _specs(table, "outputs"))


def _specs(table: Mapping[str, Any], key: str) -> tuple[Spec, ...]:
    listed = table.get(key) or []
    if not isinstance(listed, list) or len(listed) > MOST_TENSORS:
        raise broken(f"the model's {key} are no list of up to {MOST_TENSORS}: {shown(listed)}")
    return tuple(_spec(one, f"one of the model's {key}", least=-1) for one in listed)


def _spec(table: Any, what: str, least: int) -> Spec:
    """Read name, datatype and shape, whose sizes are at least so large, each of them bounded."""
    if not isinstance(table, dict):
        raise broken(f"{what} is no table: {shown(table)}")
    name, datatype, shape = table.get("name"), table.get("datatype"), table.get("shape")
    if not isinstance(name, str) or not 0 < len(name) <= 1000 or not isinstance(datatype, str):
        raise broken(f"{what} has no name, or no datatype: {shown(table)}")
    sizes = isinstance(shape, list) and len(shape) <= MOST_DIMENSIONS
    if not sizes or not all(type(size) is int and least <= size < 1 << 40 for size in shape or ()):
        raise broken(f"{what}, {shown(name)}, has no shape that is one: {shown(shape)}")
    return Spec(name, datatype, tuple(shape or ()))


class AnswerReader:
    """Reads answers to requests for the same outputs. The last header is remembered: mostly the next is the same."""

    def __init__(self, names: Sequence[str], expected: Sequence[Spec], size_key: str = BINARY_HEADER) -> None:
        """Say what is expected.

        Args:
            names: the outputs that are asked for, in the order in which they are returned; none: all, as they come.
            expected: what the server has said of its outputs; nothing: the first answer says it.
            size_key: where the size of an answer's JSON is said, for errors.
        """
        self.names = list(names)
        self.expected = {spec.name: spec for spec in expected}
        self._came: list[str] = []
        self._size_key = size_key
        self._header = b""
        self._layout = Layout(0, ())

    def read(self, answer: Answer, said: str | None) -> list[Array]:
        """Return the outputs, in the memory of the answer where it is binary.

        Args:
            answer: the server's.
            said: how many bytes of it are its header in JSON, as it says; None where all are.

        Raises:
            CallFailed: it is not what was asked for.
        """
        if said is None:
            return self._read_json(answer)
        body = answer.body
        if not (said.isascii() and said.isdigit() and len(said) < 20 and 0 < int(said) <= len(body)):
            raise broken(f"{self._size_key} is {shown(said)}, of an answer of {len(body)} bytes")
        begin = int(said)
        header = bytes(body[:begin])
        if header != self._header:
            self._layout = self._read_header(header)
            self._header = header
        if begin + self._layout.size != len(body):
            rest = len(body) - begin
            raise broken(f"the answer has {rest} bytes of tensors; its header says {self._layout.size}")
        try:
            return [
                from_raw(body, begin + offset, spec.shape or (), spec.datatype) for offset, spec in self._layout.outputs
            ]
        except ValueError as error:  # numpy has bounds of its own: beside a size of 0, too, for all the others
            raise broken(f"the answer has an output that is no tensor: {shown(error)}") from None

    def _read_header(self, header: bytes) -> Layout:
        tables = self._tables(read_json(header, "the answer's header"))
        offset, found = 0, {}
        for table in tables:
            spec = self._checked(table)
            size = size_of(spec.shape or (), spec.datatype)
            parameters = table.get("parameters")
            said = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
            if type(said) is not int or said != size:
                raise broken(f"the output {spec} takes {size} bytes; binary_data_size is {shown(said)}")
            found[spec.name] = (offset, spec)
            offset += size
        return Layout(offset, tuple(found[name] for name in self._ordered(list(found))))

    def _read_json(self, answer: Answer) -> list[Array]:
        found = {}
        for table in self._tables(read_table(answer, "the answer")):
            spec = self._checked(table)
            found[spec.name] = _from_json(table.get("data"), spec)
        return [found[name] for name in self._ordered(list(found))]

    def _tables(self, answer: Mapping[str, Any]) -> list[Any]:
        tables = answer.get("outputs")
        if not isinstance(tables, list) or not 0 < len(tables) <= MOST_TENSORS:
            raise broken(f"the answer has no outputs: {shown(answer)}")
        names = [table.get("name") if isinstance(table, dict) else None for table in tables]
        if any(names.count(name) > 1 for name in names):
            raise broken(f"the answer has an output more than once: {shown(names)}")
        return tables

    def _checked(self, table: Any) -> Spec:
        spec = _spec(table, "an output", least=0)
        wanted = self.expected.get(spec.name)
        if spec.datatype not in DTYPES:
            raise broken(f"the output {shown(spec)} has a type that is none of {', '.join(DTYPES)}")
        if wanted is not None and (spec.datatype != wanted.datatype or not wanted.fits(spec.shape or ())):
            raise broken(f"the answer has the output {shown(spec)}; wanted {wanted}")
        return spec

    def _ordered(self, found: list[str]) -> list[str]:
        wanted = self.names or list(self.expected) or found
        if sorted(found) != sorted(wanted):
            raise broken(f"the answer has the outputs {shown(', '.join(found))}; wanted {', '.join(wanted)}")
        self._came = wanted
        return wanted

    def learn(self, arrays: Sequence[Array]) -> None:
        """Expect what came in the last answer: names, types and numbers of sizes, where the server said nothing."""
        self.names = self.names or list(self._came)
        types = {dtype: name for name, dtype in DTYPES.items()}
        for name, array in zip(self._came, arrays):
            self.expected.setdefault(name, Spec(name, types[array.dtype], (-1,) * array.ndim))


def _from_json(data: Any, spec: Spec) -> Array:
    """Return a tensor whose elements are listed, flat or nested; each is of the type's kind, and in its range."""
    flat = _flat(data, spec)
    shape = spec.shape or ()
    count = size_of(shape, "UINT8")
    if len(flat) != count:
        raise broken(f"the output {spec} has {len(flat)} elements; its sizes say {count}")
    dtype = spec.dtype
    if not set(map(type, flat)) <= KINDS_OF[dtype.kind]:
        raise broken(f"the output {spec} has elements of another type: {shown(flat[:10])}")
    if dtype.kind in "iu" and flat:
        range_ = np.iinfo(dtype)
        if min(flat) < range_.min or max(flat) > range_.max:
            raise broken(f"the output {spec} has elements beyond its type: from {min(flat)!s:.40} to {max(flat)!s:.40}")
    try:
        with np.errstate(over="ignore"):  # a number beyond the type is infinite there, as it is in binary
            return np.array(flat, dtype).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise broken(f"the output {spec} is no tensor: {shown(error)}") from None


def _flat(data: Any, spec: Spec) -> list[Any]:
    if not isinstance(data, list):
        raise broken(f"the output {spec} has no data: {shown(data)}")
    flat: list[Any] = data
    sizes = [len(flat)]
    while flat and isinstance(flat[0], list):  # as deep as JSON may be nested
        if not all(isinstance(one, list) for one in flat):
            raise broken(f"the output {spec} has lists and elements side by side")
        if len(set(map(len, flat))) > 1:
            raise broken(f"the output {spec} has lists of several lengths side by side")
        sizes.append(len(flat[0]))
        flat = [element for one in flat for element in one]
    # Servers nest less deeply than there are sizes, too; where it is as deep, it must be the same.
    if len(sizes) > 1 and len(sizes) == len(spec.shape or ()) and tuple(sizes) != spec.shape:
        raise broken(f"the output {spec} has elements in lists of {sizes}")
    return flat


def raw_inputs(inputs: Sequence[Spec], arrays: Sequence[Array]) -> list[Buffer]:
    """Return the bytes of a request's tensors."""
    return [raw(array, spec.dtype) for spec, array in zip(inputs, arrays)]
