"""A module's state (parameters, buffers, attributes and what they lead to), and what a run changed in it.

A change is found in one of two ways: by marks (the identity of a tensor and its count of writes), which cost nothing,
or by content, which reads every byte.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from types import FunctionType
from typing import Any

import numpy as np
import torch

from .fingerprint import tensor_sha256

# How deep attributes are followed, and how many members of a container.
DEPTH = 6
MEMBERS = 1000
# How many values are looked at in all: an attribute may lead to half of a library.
VALUES = 200_000

PLAIN = (bool, int, float, complex, str, bytes, type(None))
GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
CONTAINERS = (list, tuple, set, frozenset, deque)
# torch's own bookkeeping: hooks, flags.
INTERNAL = frozenset(vars(torch.nn.Module()))

State = dict[str, tuple[Any, Any]]


def marks(module: torch.nn.Module) -> State:
    """Mark each value of a module: cheap facts that change when it is replaced or written to.

    Returns:
        (mark, value) by the value's name. The value is held, so that its address is not used again for another tensor.
    """
    return {name: (_mark(value), value) for name, value in _values(module)}


def contents(module: torch.nn.Module) -> State:
    """Hash each value of a module: also finds what was written without torch noticing, through numpy or ``.data``."""
    return {name: (_content(value), None) for name, value in _values(module)}


def changed(before: State, after: State) -> tuple[str, ...]:
    """List the names of values that differ between two states; members of a container by the container's name."""
    missing = (object(), None)
    differing = [
        name for name in {**before, **after} if before.get(name, missing)[0] != after.get(name, (None, None))[0]
    ]
    return tuple(dict.fromkeys(name.partition("[")[0].removesuffix(".__len__") for name in differing))


def version_of(tensor: torch.Tensor) -> int | None:
    """Return how often a tensor was written to; None for one made in inference mode, which does not count writes."""
    return None if tensor.is_inference() else int(tensor._version)  # torch has no public way


def own_generators(module: torch.nn.Module) -> frozenset[str]:
    """List the names of the random number generators that a module keeps."""
    return frozenset(name.partition("[")[0] for name, value in _values(module) if isinstance(value, GENERATORS))


def _values(module: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    return islice(_all_values(module), VALUES)


def _all_values(module: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for name, part in module.named_modules():
        seen.add(id(part))
        yield from _of_module(part, f"{name}." if name else "", seen, DEPTH)


def _of_module(module: torch.nn.Module, prefix: str, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        yield f"{prefix}{name}", tensor
    for name, value in vars(module).items():
        if name not in INTERNAL:
            yield from _leaves(value, f"{prefix}{name}", seen, depth)
    for kind in type(module).__mro__:
        if kind is torch.nn.Module or kind.__module__.partition(".")[0] == "torch":
            break
        for name, value in vars(kind).items():
            if not name.startswith("__") and isinstance(value, (torch.Tensor, np.ndarray, dict, *PLAIN, *CONTAINERS)):
                yield from _leaves(value, f"{kind.__name__}.{name}", seen, depth)
            elif isinstance(value, FunctionType):
                for inner, default in _defaults(value, f"{kind.__name__}.{name}"):
                    yield from _leaves(default, inner, seen, depth)


def _leaves(value: Any, name: str, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (torch.Tensor, np.ndarray, *PLAIN, *GENERATORS)):
        yield name, value
        return
    if depth == 0 or id(value) in seen:
        return
    seen.add(id(value))
    members: Iterator[tuple[str, Any]] = iter(())
    if isinstance(value, (Mapping, *CONTAINERS)):
        with suppress(Exception):  # whatever a container of somebody's own raises
            yield f"{name}.__len__", len(value)
        members = _members(value, name)
    elif isinstance(value, torch.nn.Module):  # one that is not registered
        yield from _of_module(value, f"{name}.", seen, depth - 1)
    elif isinstance(value, FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=False)
        held = [(f"{name}.{free}", cell.cell_contents) for free, cell in cells if _is_filled(cell)]
        members = iter([*held, *_defaults(value, name)])
    elif hasattr(value, "__dict__") and not isinstance(value, type) and type(value).__module__ != "builtins":
        members = ((f"{name}.{key}", member) for key, member in [*vars(value).items()])
    for inner, member in members:
        yield from _leaves(member, inner, seen, depth - 1)


def _defaults(function: FunctionType, name: str) -> list[tuple[str, Any]]:
    """List a function's default arguments: a mutable one is the same object at each call, and so is state."""
    code, positional = function.__code__, function.__defaults__ or ()
    last = code.co_varnames[: code.co_argcount][-len(positional) :] if positional else ()
    defaults = {**dict(zip(last, positional, strict=True)), **(function.__kwdefaults__ or {})}
    return [(f"{name}.{parameter}", default) for parameter, default in defaults.items()]


def _members(container: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Of a mapping or list, by name, those that can be read."""
    with suppress(Exception):  # a container of somebody's own may raise: OmegaConf's does for what is missing
        for index, key in enumerate([*container][:MEMBERS]):
            if not isinstance(container, Mapping):
                yield f"{name}[{index}]", key
                continue
            with suppress(Exception):
                yield f"{name}[{key!r}]", container[key]


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _mark(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return id(value), version_of(value), tuple(value.shape)
    return _content(value)


def _content(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        try:
            return tensor_sha256(value)
        except Exception:  # noqa: BLE001  # a kind of tensor whose bytes cannot be read
            return id(value)
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, hash(value.tobytes())
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state(legacy=False))
    if isinstance(value, random.Random):
        return value.getstate()
    return type(value).__name__, repr(value)  # as a text: NaN is not equal to itself, and True equals 1
