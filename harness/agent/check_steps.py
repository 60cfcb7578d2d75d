"""The steps of a release's check, in the process that may die of them; see check.

harness/runners/src/check_steps.cpp takes the same.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import facts
from .check_file import Plan, Stored
from .check_json import CheckFailed, read_file
from .frames import Array
from .operations import Operations

# Of the same memory, a kernel or firmware of another version reserves some MiB more or less; half of it is 50 % less.
MEMORY_TOLERANCE = 0.02
# Of most_s: until the clock of the CPU is up, and a just-in-time compiler has done its work.
WARM_UP_SHARE = 0.2
# Inputs that are prepared at a time for the timing.
RING_BYTES = 16 << 20


class Check:
    """The steps of a check, in the process that may die of them."""

    def __init__(self, release: str, plan: Plan, say: Callable[[str], None]) -> None:
        """Begin with nothing loaded; ``say`` prints a line."""
        self.release, self.plan, self.say = release, plan, say
        self.operations = Operations()
        self.worst = 0.0  # the largest share of what an answer may be off that any value took
        self.compared = 0

    def run(self) -> None:
        """Take all steps.

        Raises:
            CheckFailed: the release does not pass; whatever a runtime raises means the same.
        """
        self.compare_board()
        self.load()
        self.compare_answers()
        self.judge_time()

    def compare_board(self) -> None:
        """Compare what this board is with what the evidence's was, as far as the policy asks; and the packages."""
        plan = self.plan
        is_shipped = os.path.isdir(os.path.join(self.release, "runtime"))
        here = facts.facts([] if is_shipped else list(plan.packages))
        described = f"{here['board'] or 'no name'}, {here['arch']}, {here['cpu']}, {here['memory_mib']} MiB"
        self.say(f"board: {described}, Linux {here['kernel']}, {here['libc'] or 'no glibc'}, Python {here['python']}")
        problems = [text for key in plan.same if (text := _difference(key, plan.same[key], here[key]))]
        if plan.python and (wrong := _python_difference(plan.python, here["python"], is_shipped=is_shipped)):
            problems.append(wrong)
        if not is_shipped:
            found = here["packages"]
            pairs = [(name, version, found.get(name, "none")) for name, version in plan.packages.items()]
            problems += [f"{name} {there}, tested with {version}" for name, version, there in pairs if there != version]
        if problems:
            raise CheckFailed(f"another board than was tested: {'; '.join(problems)}")
        self.say(f"same as tested: {', '.join(plan.same) or 'nothing is asked for'}")
        if plan.packages and not is_shipped:
            named = ", ".join(f"{name} {version}" for name, version in plan.packages.items())
            self.say(f"packages: {named}, in the environment of {sys.executable}")

    def load(self) -> None:
        """Load the artifact, as the agent loads it, with the first case's inputs; its answers are compared, too."""
        plan = self.plan
        artifact = os.path.join(self.release, plan.load["artifact"])
        start = time.perf_counter()
        reply, outputs = self.operations({"op": "load", **plan.load, "artifact": artifact}, self._inputs(0))
        took_s = time.perf_counter() - start
        set_otherwise = [
            f"{key} {reply['settings'].get(key, 'not said')} instead of {plan.load[key]}"
            for key in ("threads", "interop_threads", "flush_denormals")
            if reply["settings"].get(key) != plan.load[key]
        ]
        if set_otherwise:
            raise CheckFailed(f"the runtime is not set as it was when it was tested: {'; '.join(set_otherwise)}")
        if list(reply["outputs"]) != list(plan.outputs):
            raise CheckFailed(
                f"the model's outputs are {', '.join(reply['outputs'])}; tested: {', '.join(plan.outputs)}"
            )
        versions = ", ".join(f"{name} {version}" for name, version in reply["runtime"].items())
        self.say(f"loaded: {plan.load['artifact']} in {took_s:.2f} s, {versions}")
        self._compare(0, outputs)

    def compare_answers(self) -> None:
        """Infer each case twice, all of them before any comes again, so that what a model remembers shows."""
        for _ in range(2):
            for number in range(len(self.plan.cases)):
                self._compare(number, self.operations({"op": "infer"}, self._inputs(number))[1])
        if not self.compared:
            raise CheckFailed("no value was compared with an answer")
        cases = len(self.plan.cases)
        used = f"of what they may be off, at most {100 * self.worst:.3g} % was used"
        self.say(f"answers: {cases} case{'s' * (cases != 1)}, each twice; {self.compared} values; {used}")

    def judge_time(self) -> None:
        """Time inferences with the cases' inputs in turn; judge their median where there is something to judge by."""
        plan = self.plan
        sets = [self._inputs(number) for number in range(len(plan.cases))]
        tensors = [array for arrays in sets for array in arrays]
        ring = max(1, min(plan.inferences, RING_BYTES // max(1, *(sum(a.nbytes for a in arrays) for arrays in sets))))
        warm_up_ns = int(1e9 * plan.most_s * WARM_UP_SHARE)
        start = time.perf_counter_ns()
        self.operations({"op": "warm_up", "budget_ns": warm_up_ns, "ring": ring}, tensors)
        left_ns = max(1, int(1e9 * plan.most_s) - (time.perf_counter_ns() - start))
        header = {"op": "measure", "samples": plan.inferences, "budget_ns": left_ns, "ring": ring}
        durations = self.operations(header, tensors)[1][0].tolist()
        p50_ms = statistics.median(durations) / 1e6
        text = f"p50 {p50_ms:.4g} ms, max {max(durations) / 1e6:.4g} ms, of {len(durations)} inferences"
        if plan.p50_ms is None:
            self.say(f"time: {text}; there is no p50 to judge it by")
            return
        if plan.p50_ratio_max is None:
            self.say(f"time: {text}; tested: {plan.p50_ms:.4g} ms, not judged")
            return
        limit_ms = plan.p50_ms * plan.p50_ratio_max
        self.say(f"time: {text}; at most {limit_ms:.4g} ms ({plan.p50_ratio_max:g} × {plan.p50_ms:.4g} ms)")
        if not p50_ms <= limit_ms:
            raise CheckFailed(f"too slow: p50 {p50_ms:.4g} ms; at most {limit_ms:.4g} ms")

    def _inputs(self, number: int) -> list[Array]:
        return [self._array(stored) for stored in self.plan.cases[number].inputs]

    def _array(self, stored: Stored) -> Array:
        content = read_file(self.release, stored.file, stored.bytes)
        little = np.dtype(stored.dtype).newbyteorder("<")
        flat: Array = np.frombuffer(content, little, math.prod(stored.shape))
        return flat.reshape(stored.shape).astype(stored.dtype, copy=False)

    def _compare(self, number: int, outputs: Sequence[Any]) -> None:
        case = self.plan.cases[number]
        if len(outputs) != len(case.answers):
            raise CheckFailed(f"case {number}: {len(outputs)} answers; wanted {len(case.answers)}")
        for name, answer, output in zip(self.plan.outputs, case.answers, outputs):
            where = f"case {number}, answer {name}"
            found = np.asarray(output)
            if found.dtype.name != answer.output_dtype:
                raise CheckFailed(f"{where}: of type {found.dtype.name}; wanted {answer.output_dtype}")
            if found.shape != answer.stored.shape:
                raise CheckFailed(f"{where}: of shape {list(found.shape)}; wanted {list(answer.stored.shape)}")
            self.worst = max(self.worst, used_share(found, self._array(answer.stored), answer.atol, answer.rtol, where))
            self.compared += found.size


def used_share(found: Array, reference: Array, atol: float, rtol: float, where: str) -> float:
    """Compare an answer with the reference's: |found - reference| ≤ atol + rtol·|reference| for each value.

    Returns:
        The largest share of the allowed difference that a value uses, 0 … 1.

    Raises:
        CheckFailed: a value is further off, or one of the two is a NaN or infinite.
    """
    found, reference = found.reshape(-1), reference.reshape(-1)
    if not found.size:
        return 0.0
    if found.dtype.kind != "f":
        wrong = np.flatnonzero(found != reference)
        if wrong.size:
            first = int(wrong[0])
            raise CheckFailed(f"{where}: value {first} is {found[first]}; wanted {reference[first]}")
        return 0.0
    with np.errstate(all="ignore"):
        wide, exact = found.astype(np.float64), reference.astype(np.float64)
        if not np.isfinite(exact).all():
            raise CheckFailed(f"{where}: the reference's answer has a NaN or an infinity, to which nothing compares")
        off, allowed = np.abs(wide - exact), atol + rtol * np.abs(exact)
        wrong = np.flatnonzero(~((off <= allowed) & np.isfinite(off)))  # a NaN is in no relation to anything
        if wrong.size:
            first = int(wrong[0])
            text = f"value {first} is {wide[first]:.9g}; wanted {exact[first]:.9g}, off by at most {allowed[first]:.3g}"
            raise CheckFailed(f"{where}: {text} ({wrong.size} of {found.size} are wrong)")
        return float(np.max(np.divide(off, allowed, out=np.zeros_like(off), where=allowed > 0)))


def _difference(key: str, tested: Any, here: Any) -> str:
    """Say how a fact of this board differs from the tested board's; "" where it does not."""
    if key == "serial" and not tested:
        return "the tested board told no serial number, so that none is the same"
    if key == "memory_mib":
        return "" if abs(here - tested) <= MEMORY_TOLERANCE * tested else f"{key} {here}, tested with {tested}"
    return "" if here == tested else f"{key} {here or 'none'}, tested with {tested or 'none'}"


def _python_difference(tested: str, here: str, *, is_shipped: bool) -> str:
    """Compare Pythons: what was shipped needs the same 3.X alone, what is installed here is to be as it was tested."""
    if is_shipped:
        tested, here = (".".join(version.split(".")[:2]) for version in (tested, here))
    return "" if tested == here else f"Python {here}, tested with {tested}"
