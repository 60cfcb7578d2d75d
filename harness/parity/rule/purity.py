"""Is forward a function of its inputs alone? One input is run again after others: its answer must be the same.

No artifact keeps a module's state as the module does, and none draws its random numbers: then there is nothing that a
backend could be compared with. What forward merely writes down and does not read again (a cache within a call, a table
that grows) is no state: answers decide, not whether something changed (issue 15).
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ...agent.structure import flatten
from ...model.build import run_eager
from ...model.inputs import Arrays
from ...model.model import Array
from ...model.module_state import changed, contents, marks, own_generators
from .comparison import differ

# Where forward draws numbers or changes what the module keeps, so many more runs look for a changed answer …
MORE_RUNS = 32
# … for so many seconds: a large model gets fewer.
MORE_S = 1.0
# The operators of torch by which dropout draws.
DROPOUT = ("bernoulli", "native_dropout", "_fused_dropout", "rrelu_with_noise")
# At most so many names are in a message.
NAMED = 5


@dataclass(frozen=True)
class Impurity:
    """Why a module gives two answers for one input.

    Attributes:
        kind: "unknown": by something that is not kept in the module.
        operators: the operators that draw random numbers, each with the name of the module that calls it, "" for the
            outermost; "numpy.random" and "random" among them.
        places: names of the buffers and attributes that forward changes.
    """

    kind: Literal["random", "state", "unknown"]
    operators: tuple[tuple[str, str], ...] = ()
    places: tuple[str, ...] = ()

    @property
    def found(self) -> str:
        """What was seen, for a message."""
        drawn = _named([f"{name} in module {module}" if module else name for name, module in self.operators])
        if self.kind == "random":
            return "two answers for one input: forward draws random numbers" + (f" ({drawn})" if drawn else "")
        if self.kind == "state":
            also = f"; it draws random numbers, too ({drawn})" if drawn else ""
            kept = f": it changes {_named(self.places)}" if self.places else ""
            return (
                f"two answers for one input, with another between: the module keeps state from call to call{kept}{also}"
            )
        return (
            "two answers for one input: forward reads something that changes and is not kept in the module, such as a "
            "global variable, a clock or a file"
        )

    @property
    def hint(self) -> str:
        """What to do."""
        if self.kind == "random" and any(name in DROPOUT for name, _ in self.operators):
            return (
                "most likely a functional dropout, whose training=True is the default: "
                "F.dropout(x, p, training=self.training)"
            )
        if self.kind == "random":
            return "leave them out in eval mode, or make them an input of forward"
        if self.kind == "state":
            name = self.places[0].rpartition(".")[2] if self.places else "state"
            return (
                "no artifact keeps state as the module does: make it an input and an output, tensors both, such as "
                f"forward(x, {name}) returning (answer, new {name})"
            )
        return "make it an input of forward"


def observe(module: torch.nn.Module, inputs: Sequence[Arrays]) -> Impurity | None:
    """Run the first input again after each of the others: a, b, a, c, a; None where each answer stays the same.

    Where forward draws random numbers, or changes what the module keeps, all are run again for a while: a dropout of
    one element in a thousand mostly drops none. The generators of random numbers are left as they were, and an input
    that the module rejects is left out.

    Args:
        module: the model's, as it is built.
        inputs: of several sizes, for state that only shows after larger ones.
    """
    with _generators_kept():
        answers: dict[int, list[Array]] = {}
        generators, before = _generators(), None
        for index in [0, *(each for other in range(1, len(inputs)) for each in (other, 0))] if inputs else []:
            if _is_other(module, inputs[index], answers, index):
                return _diagnosis(module, inputs, index, before)
            before = before or marks(module)
        if before is None or not (_drawn_from(generators) or changed(before, marks(module))):
            return None
        end = time.process_time() + MORE_S
        for step in range(MORE_RUNS):
            if _is_other(module, inputs[step % len(inputs)], answers, step % len(inputs)):
                return _diagnosis(module, inputs, step % len(inputs), before)
            if time.process_time() > end and step >= len(inputs):
                break
        return None


def first_answer(module: torch.nn.Module, fresh: torch.nn.Module, arrays: Arrays) -> Impurity | None:
    """Compare a module that has run with a fresh one: its first input may have left something there.

    Returns:
        None where both give one answer.
    """
    with _generators_kept():
        try:
            if not differ(run(fresh, arrays), run(module, arrays)):
                return None
        except Exception:  # noqa: BLE001  # whoever needs the answer says so
            return None
        return Impurity("state", places=changed(contents(fresh), contents(module)))


def run(module: torch.nn.Module, arrays: Arrays) -> list[Array]:
    """Run the module: its outputs, in arrays of their own."""
    leaves = flatten(run_eager(module, arrays))
    return [np.array(leaf.detach().resolve_neg().numpy(), order="C") for _, leaf in leaves]


def _is_other(module: torch.nn.Module, arrays: Arrays, answers: dict[int, list[Array]], index: int) -> bool:
    """Tell whether an input's answer is another than the first time."""
    try:
        answer = run(module, arrays)
    except Exception:  # noqa: BLE001  # whoever needs its answer says so
        return False
    return differ(answers.setdefault(index, answer), answer)


def _diagnosis(module: torch.nn.Module, inputs: Sequence[Arrays], index: int, marked: Any) -> Impurity:
    """Tell state from random numbers: with the generators reset before each run, only state makes two answers."""
    arrays = inputs[index]
    others = [each for number, each in enumerate(inputs) if number != index]
    operators = _drawing(module, arrays)
    before, start = contents(module), _generators()
    answers = []
    for each in (arrays, *others, arrays):
        _set_generators(start)
        with contextlib.suppress(Exception):
            answers.append((each is arrays, run(module, each)))
    operators += tuple((name, "") for name in _drawn_from(start) if name != "torch")
    places = changed(before, contents(module)) or changed(marked or {}, marks(module) if marked else {})
    own = own_generators(module)
    if not operators:  # numpy's or Python's, which no operator of torch's draws from
        operators = tuple((f"from the generator {place}", "") for place in places if place in own)
    first, *_, last = [answer for is_it, answer in answers if is_it] or [[]]
    is_random = bool(operators) and (not differ(first, last) or (bool(places) and own.issuperset(places)))
    if is_random:
        return Impurity("random", operators)
    places = tuple(place for place in places if place not in own)
    return Impurity("state" if places else "random" if operators else "unknown", operators, places)


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")


# Generators of random numbers that are global: torch's, numpy's, Python's.


def _generators() -> tuple[Any, ...]:
    return torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate()


def _set_generators(state: tuple[Any, ...]) -> None:
    torch.set_rng_state(state[0])
    np.random.set_state(state[1])
    random.setstate(state[2])


@contextlib.contextmanager
def _generators_kept() -> Iterator[None]:
    state = _generators()
    try:
        yield
    finally:
        _set_generators(state)


def _drawn_from(before: tuple[Any, ...]) -> tuple[str, ...]:
    """Name the generators that were drawn from."""
    now = _generators()
    moved = [not torch.equal(before[0], now[0]), repr(before[1]) != repr(now[1]), before[2] != now[2]]
    return tuple(name for name, is_moved in zip(("torch", "numpy.random", "random"), moved, strict=True) if is_moved)


class _Drawing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operators that draw random numbers, with the module that is running."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.running: list[str] = []
        self.found: dict[tuple[str, str], None] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing torch._dynamo; see harness.parity.rule.float64."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and note it if it draws random numbers."""
        if torch.Tag.nondeterministic_seeded in func.tags:
            name = str(func).removeprefix("aten.").partition(".")[0].rstrip("_")
            self.found[name, self.running[-1] if self.running else ""] = None
        return func(*args, **(kwargs or {}))


def _drawing(module: torch.nn.Module, arrays: Mapping[str, Array]) -> tuple[tuple[str, str], ...]:
    """Name the operators with which forward draws random numbers for an input."""
    mode = _Drawing()
    with contextlib.ExitStack() as stack:
        for name, part in module.named_modules():
            with contextlib.suppress(Exception):  # compiled ones may take no hook
                enter = part.register_forward_pre_hook(lambda *_, name=name: mode.running.append(name))
                stack.callback(enter.remove)
                leave = part.register_forward_hook(lambda *_: mode.running.pop() and None, always_call=True)
                stack.callback(leave.remove)
        with contextlib.suppress(Exception), mode:
            run_eager(module, arrays)
    return tuple(mode.found)
