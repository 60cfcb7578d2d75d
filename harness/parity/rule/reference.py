"""The reference: eager PyTorch in float32, and the same model in float64. Computed once per input, for all cells."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import HilgateError, ModelError
from ...model.build import BuiltModel, told_rejection
from ...model.inputs import Arrays, describe, uniform_set
from ...model.model import Array, Closeness
from ...model.prepare import prepared
from ...model.unordered import RowSet
from ...model.user_code import words
from ..rounding.conditioning import Run, input_perturbation, moved
from ..trials.space import InputSpace
from .comparison import Difference, Expected, compare, differ, has_sides, ulp
from .module_runs import (
    Runs,
    eager_leaves,
    exact_leaves,
    find_impurity,
    made_canonical,
    release_float64,
    rounding_perturbation,
    rounding_sides,
    run_both,
    watch_exact,
)
from .sets import aligned, arranged

if TYPE_CHECKING:
    from .model_runs import ModelRuns
    from .picks import Breaks
    from .ties import Tie

# Outputs kept for the cells to come; the oldest leave first.
KEPT_BYTES = 512 << 20
# On so many inputs it is seen whether operators of the model pick anything; watching costs little, but each operator.
WATCHED = 3


class NoReference(HilgateError):
    """The model has nothing to be compared with: its float64 run fails, or takes another way than in float32; or it
    gives two answers for one input."""


class AtThreshold(NoReference):
    """Rounding decides on which side of a threshold an element lies, or how many rows are kept. On other inputs there
    may be a reference."""


class Reference:
    """What a model should answer, for any input.

    The float64 module is made on the first use: it takes twice the model's memory.

    Args:
        samples: gives real inputs, all of one size, which the search mutates; called when they are needed.

    Attributes:
        computed: how many inputs were run, and not remembered.
    """

    def __init__(self, built: BuiltModel, samples: Callable[[], Sequence[Arrays]] = tuple) -> None:
        self.built = built
        self._samples = samples
        self._known: OrderedDict[str, list[Expected]] = OrderedDict()
        self._bytes = 0
        self._usual: dict[str, float] | None = None
        self._impurity: NoReference | None = None
        self._observed = False
        self._raw: dict[str, tuple[np.dtype[Any], int]] = {}
        self._picks = False
        self._seen: tuple[set[str], set[str]] = set(), set()  # outputs, and what canonical makes of them
        self._rearranged: set[str] = set()
        self.computed = 0

    @cached_property
    def space(self) -> InputSpace:
        """The inputs that there are.

        Raises:
            ModelError: the model file's samples cannot be used.
        """
        return InputSpace(self.built.model, self._samples(), partial(prepared, self.built.file))

    def __call__(self, arrays: Arrays, key: str = "") -> list[Expected]:
        """What each output should be.

        Args:
            key: names the inputs, where they have a shorter name than all their bytes: a recipe's.

        Raises:
            ModelError: the model rejects inputs that its file declares.
            NoReference: it cannot be run in float64; or it keeps state, or draws random numbers.
        """
        key = key or _digest(arrays)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        if (impurity := self.impurity) is not None:
            raise impurity
        expected = self._compute(arrays)
        self.computed += 1
        self._known[key] = expected
        self._bytes += _size(expected)
        while self._bytes > KEPT_BYTES and len(self._known) > 1:
            self._bytes -= _size(self._known.popitem(last=False)[1])
        return expected

    @property
    def impurity(self) -> NoReference | None:
        """That the module gives two answers for one input, and why; looked for once, before anything is judged."""
        if not self._observed:
            self._observed = True
            ends = [{name: allowed[side] for name, allowed in self.built.model.dims.items()} for side in (-1, 0)]
            sets = [self.space.make(recipe) for recipe in self.space.whole_range()]
            drawn = [uniform_set(self.built.model, sizes, seed=2) for sizes in ends if ends[0]]
            sets += prepared(self.built.file, drawn)
            self._impurity = self._observe(sets)
        return self._impurity

    def impurity_at(self, arrays: Arrays) -> NoReference | None:
        """The same for an input on which a backend seems to differ: state and random numbers may show there alone."""
        return self.impurity or self._observe([arrays, *map(self.space.make, self.space.whole_range())])

    def _observe(self, sets: Sequence[Arrays]) -> NoReference | None:
        try:
            found = self.built.ask(find_impurity, sets)
        except HilgateError:
            raise
        except Exception:  # noqa: BLE001  # what the module keeps cannot be read: answers are compared all the same
            return None
        return None if found is None else self._impure(found.found, found.hint)

    def _impure(self, found: str, hint: str) -> NoReference:
        what, wanted = "the model has no reference", "the same answer each time forward gets the same input"
        return NoReference(what, wanted=wanted, found=found, where=str(self.built.file.path), hint=hint)

    def _check_again(self, arrays: Arrays, runs: Runs) -> None:
        """Run an input again that says nothing: a state that shows at every fiftieth call lets anything pass there.

        Raises:
            NoReference: the answers are others.
        """
        again = self.built.ask(run_both, arrays, exact=self.closeness is None)
        if not any(
            differ([*a.values()], [*b.values()]) for a, b in ((runs.eager, again.eager), (runs.exact, again.exact))
        ):
            return
        found = "two answers for one input, one call after the other"
        hint = "no artifact keeps state as the module does, or draws its random numbers: make them an input of forward"
        self._impurity = self._observe([arrays, *map(self.space.make, self.space.whole_range())])
        self._impurity = self._impurity or self._impure(found, hint)
        raise self._impurity

    @property
    def doubt(self) -> str:
        """Why the whole may not be believed; "" where nothing speaks against it."""
        raw, made = map(len, self._seen)
        return "canonical() gives the same for every input: nothing was compared" if raw > 1 == made else ""

    def picking(self, arrays: Arrays, key: str = "") -> list[Expected]:
        """The same, where indices know what they were picked from: two more runs of a model that has integer outputs.

        Raises: as a call.
        """
        expected = self(arrays, key)
        if self.built.model.canonical is not None or all(one.eager.dtype.kind not in "iu" for one in expected):
            return expected
        from .ties import picked

        try:
            found = picked(self._runs(arrays))
        except HilgateError:
            raise
        except Exception:  # noqa: BLE001  # it ran before, and not when it is watched: there is no more to say
            return expected
        return [replace(one, picked=found.get(one.name)) for one in expected]

    def widened(self, arrays: Arrays, key: str = "") -> list[Expected]:
        """As ``picking``, by a wider rule for an input that is suspicious: some twenty more runs of the model.

        What the input's own rounding does to the answer counts (see conditioning); so does what the order of a sum and
        the last place of a bounded function do (see rounding), and a unit in the last place of the output's largest
        element over the input's whole range, the samples, and what the model file declares. A sigmoid far down its tail
        is off by as much as one near 1: who takes its number uses it beside such.

        Raises: as a call.
        """

        def eager(beside: Arrays) -> Mapping[str, Array]:
            return self.made_canonical(self.built.ask(eager_leaves, beside))

        def exact(beside: Arrays) -> Mapping[str, Array]:
            return self.made_canonical(self.built.ask(exact_leaves, beside))

        expected = self.picking(arrays, key)
        if self._rearranged and _digest(arrays) in self._rearranged:
            # With float64's own picks all that is beside would be as far off as the rows are apart: a jump.
            from .picks import Breaks

            runs = self._runs(arrays)
            return runs.widened(expected, runs.eager(Breaks()))
        return self._wider(arrays, expected, eager, exact)

    def _wider(
        self, arrays: Arrays, expected: list[Expected], eager: Run, exact: Run, breaks: Breaks | None = None
    ) -> list[Expected]:
        """By the rule above, with the model's runs on inputs beside this one; and how their ties are broken."""
        if self.closeness is not None:
            return expected
        here, limit = {one.name: one.exact for one in expected}, self.built.model.parity_limit
        perturbations = [
            _tried(lambda: input_perturbation(self.built.model.inputs, arrays, here, eager, exact)),
            _tried(lambda: self.built.ask(rounding_perturbation, arrays, here, limit, breaks)),
        ]
        usual = self._usual_ulps()

        def with_perturbation(one: Expected) -> Expected:
            own = max(each.get(one.name, 0.0) for each in perturbations)
            return replace(one, perturbation=max(own, usual.get(one.name, 0.0)), perturbation_here=own)

        return [with_perturbation(one) if one.eager.dtype.kind == "f" else one for one in expected]

    def tie(
        self, arrays: Arrays, names: Sequence[str], answers: Sequence[Array], enough: float | None = None
    ) -> Tie | None:
        """The run with ties broken another way that an answer agrees with, where it is off; None where there is none.

        A handful of runs of a model in which operators pick among keys that float32 cannot tell apart, at most a
        hundred; one run of any other. See ties.

        Args:
            names: the backend's, of its answers.
            enough: the error ratio at which the answer agrees; the limit, where it is not given.

        Raises:
            AtThreshold: the answer has another size than eager's, and ties decide that.
        """
        from .ties import Ties

        try:
            ties = Ties(self._runs(arrays), names, answers, self.built.model.parity_limit, enough)
        except HilgateError:
            raise  # the process that had the module is gone
        except Exception:  # noqa: BLE001  # it ran before, and not when it is watched: there is no more to say
            return None
        found = ties.find()
        if found is None and ties.decide_sizes:
            raise AtThreshold("ties decide how many rows there are", found="an answer of another size")
        return found

    def is_at_threshold(self, arrays: Arrays, answers: Sequence[Array]) -> bool:
        """Whether an answer of other sizes is what the model gives beside this input: an element lies at a threshold.

        Two dozen runs of the model at most, of which each moves the input by some units in its last place.
        """
        here = [one.eager for one in self(arrays)]
        found = [(answer.shape, answer.dtype) for answer in answers]
        alike = [(one.ndim, one.dtype) for one in here] == [(one.ndim, one.dtype) for one in answers]
        shapes = [shape for shape, _ in found]
        if not alike or [one.shape for one in here] == shapes:
            return False
        for beside in moved(self.built.model.inputs, arrays):
            try:
                runs = [self.built.ask(eager_leaves, beside)]
                runs += [self.built.ask(exact_leaves, beside)] if self.closeness is None else []
            except HilgateError:
                raise
            except Exception:  # noqa: BLE001  # it takes the input, and not one beside it: there is no more to say
                return False
            if any([array.shape for array in self.made_canonical(run).values()] == shapes for run in runs):
                return True
        return False

    def is_on_another_side(
        self, arrays: Arrays, expected: list[Expected], names: Sequence[str], answers: Sequence[Array]
    ) -> bool:
        """Whether an answer is right but for elements that a right program may have on another side of a jump.

        Where x is compared with its own mean, and is that, the last place of a sum decides, and no order of summation
        is the right one (issue 15). Of x >= 0.5 nothing is said: there is no sum in it, and either side is a bug's.
        One run of most models; of those that add numbers ten.
        """
        if self.closeness is not None or self.row_sets or [one.name for one in expected] != list(names):
            return False
        try:
            found = self.built.ask(rounding_sides, arrays)
        except HilgateError:
            raise
        except Exception:  # noqa: BLE001  # with errors it does not run: there is no more to say
            return False
        limit, pairs = self.built.model.parity_limit, zip(expected, answers, strict=False)
        return (
            bool(found)
            and len(answers) == len(expected)
            and all(has_sides(one, answer, [side[one.name] for side in found], limit) for one, answer in pairs)
        )

    def _usual_ulps(self) -> Mapping[str, float]:
        """Of each output's largest element on inputs that fill their range, on samples, or as it is declared.

        Raises:
            ModelError: what is declared is so large that the tolerance takes any output for right.
        """
        if self._usual is None:
            largest: dict[str, float] = {}
            usual = [(self.space.make(recipe), recipe.key) for recipe in self.space.whole_range()]
            for arrays, key in (*usual, *((sample, "") for sample in self.space.samples)):
                with suppress(AtThreshold):
                    for one in self(arrays, key):
                        if one.eager.dtype.kind == "f":
                            largest[one.name] = max(largest.get(one.name, 0.0), one.magnitude)
            seen = dict(largest)
            for name, declared in self.built.max_values.items():
                self._check_declared(name, declared, seen.get(name))
                largest[name] = max(largest.get(name, 0.0), declared)
            self._usual = {name: self._ulp(name, size) for name, size in largest.items()}
        return self._usual

    def _ulp(self, name: str, size: float) -> float:
        dtype = self._raw[name][0] if name in self._raw else np.dtype(np.float32)
        return float(ulp(np.asarray(size), dtype)) if dtype.kind == "f" else 0.0

    def _check_declared(self, name: str, declared: float, seen: float | None) -> None:
        """What is seen nowhere cannot be compared with it; zeros are as right as they can be."""
        allowed = self._ulp(name, declared) * self.built.model.parity_limit
        if seen and allowed >= seen:
            raise ModelError(
                f"max_value says nothing about the output: {name} is nowhere as large as the error that it allows",
                wanted=f"a max_value of about {seen:.3g}, the largest element on inputs over their whole range",
                found=f"max_value={declared:g}, of which {self.built.model.parity_limit:g} units are {allowed:.3g}",
                where=f"{self.built.file.path}: Output({name!r})",
                hint="declare how large the output is in use, or leave max_value out",
            )

    def release(self) -> None:
        """Let go of the float64 module, for something that needs the memory; what was computed stays known."""
        self.built.ask(release_float64)

    def _compute(self, arrays: Arrays) -> list[Expected]:
        try:
            runs = self.built.ask(
                run_both, arrays, exact=self.closeness is None, watch=self.computed < WATCHED or self._picks
            )
        except HilgateError:
            raise  # the process that had the module is gone
        except Exception as error:
            raise self.built.ask(told_rejection, arrays, words(error)) from error
        self._raw = {name: (array.dtype, array.ndim) for name, array in runs.eager.items()}
        eager = self.made_canonical(runs.eager)
        if self.built.model.canonical is not None:
            for seen, outputs in zip(self._seen, (runs.eager, eager), strict=True):
                seen.add(_digest(dict(outputs)))
        if (closeness := self.closeness) is not None:
            return outright(eager, closeness)
        if runs.failure:
            raise self._none(runs.failure)
        exact = self.made_canonical(self._aligned(arrays, runs))
        if (wanted := forms(eager)) != (found := forms(exact)):
            kind = AtThreshold if _sizes_differ(eager, exact) else NoReference
            raise self._none(f"float32 gives {wanted}; float64 gives {found}", kind)
        expected = expected_of(eager, exact, self.row_sets)
        if any(one.is_uninformative(self.built.model.parity_limit) for one in expected):
            self._check_again(arrays, runs)
        return expected

    def _aligned(self, arrays: Arrays, runs: Runs) -> Mapping[str, Array]:
        """float64's outputs; where operators pick among keys that float32 cannot tell apart, with eager's picks.

        Else two rows that changed places between the two runs would stand as float32's own error, as large as the rows
        are apart, and nothing could be found beside it.
        """
        self._picks = self._picks or runs.has_picks
        if runs.picks is None:
            return runs.exact
        from .ties import is_valid, orders

        try:
            exact = self.built.ask(watch_exact, arrays, orders(runs.picks))
        except HilgateError:
            raise
        except Exception:  # noqa: BLE001  # it takes no such picks: another way through the model
            return runs.exact
        valid = is_valid(self._runs(arrays), runs.picks, exact, self.built.model.parity_limit)
        if not valid:
            return runs.exact
        if not all(np.array_equal(array, runs.exact.get(name, ())) for name, array in exact.outputs.items()):
            self._rearranged.add(_digest(arrays))
        return exact.outputs

    def _runs(self, arrays: Arrays) -> ModelRuns:
        from .model_runs import ModelRuns

        return ModelRuns(self, arrays, self._wider)

    @cached_property
    def row_sets(self) -> tuple[RowSet, ...]:
        """Outputs that are sets; none of what the model file makes canonical itself."""
        model = self.built.model
        return () if model.canonical is not None else model.row_sets(self.built.outputs)

    def made_canonical(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name as the model file's canonical makes them; as they are where it has none.

        Raises:
            ModelError: it raises, or returns something else than arrays.
        """
        return dict(outputs) if self.built.model.canonical is None else self.built.ask(made_canonical, outputs)

    def as_they_come(self, arrays: Arrays) -> list[Expected]:
        """What each output should be before it is made canonical.

        Raises: as a call.
        """
        runs = self.built.ask(run_both, arrays, exact=self.closeness is None)
        if (closeness := self.closeness) is not None:
            return outright(runs.eager, closeness)
        return expected_of(runs.eager, runs.exact)

    def form_difference(self, names: Sequence[str], answers: Sequence[Array]) -> Difference | None:
        """What is wrong with outputs before they are made canonical, which might hide it; None where nothing is."""
        wanted = [f"{name}: {dtype}, {axes} axes" for name, (dtype, axes) in self._raw.items()]
        found = [f"{name}: {one.dtype}, {one.ndim} axes" for name, one in zip(names, answers, strict=False)]
        if wanted == found and len(answers) == len(wanted):
            return None
        return Difference(np.inf, what=f"outputs: wanted {'; '.join(wanted)}; found {'; '.join(found)}")

    def compare(self, expected: list[Expected], names: Sequence[str], answers: Sequence[Array]) -> Difference:
        """How far an answer is off, its rows put in order where they are a set."""
        if self.row_sets and [one.name for one in expected] == list(names):
            answers = arranged(expected, answers, self.row_sets, self.built.model.parity_limit)
        return compare(expected, names, answers)

    def _none(self, found: str, kind: type[NoReference] = NoReference) -> NoReference:
        return kind(
            "the model has no float64 reference",
            wanted="a forward that also runs in float64, and gives outputs of the same shapes",
            found=found,
            where=str(self.built.file.path),
            hint="say outright how close is close enough: Model(tolerance=Closeness(rtol=…, atol=…))",
        )

    @property
    def closeness(self) -> Closeness | None:
        tolerance = self.built.model.tolerance
        return tolerance if isinstance(tolerance, Closeness) else None


def expected_of(
    eager: Mapping[str, Array], exact: Mapping[str, Array], groups: Sequence[RowSet] = ()
) -> list[Expected]:
    """What the outputs should be by two runs of the same forms."""
    exact = aligned(eager, exact, groups) if groups else exact
    return [Expected(name, array, exact[name]) for name, array in eager.items()]


def outright(eager: Mapping[str, Array], closeness: Closeness) -> list[Expected]:
    """Where the model file says how close is close enough, eager's outputs are the reference."""
    wide = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in eager.items()}
    return [Expected(name, array, wide[name], closeness=closeness) for name, array in eager.items()]


def _tried(look: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Look beside an input, which the model may not take though it takes the input: then there is no more to say.

    Raises:
        HilgateError: the process that had the module is gone.
    """
    try:
        return look()
    except HilgateError:
        raise
    except Exception:  # noqa: BLE001  # whatever forward raises
        return {}


def forms(arrays: Mapping[str, Array]) -> str:
    """Names, kinds of number and shapes: what both runs must agree in."""
    kinds = {"f": "float", "i": "int", "u": "unsigned", "b": "bool"}
    kind = {name: kinds.get(array.dtype.kind, array.dtype.name) for name, array in arrays.items()}
    return ", ".join(f"{name}: {kind[name]}{list(array.shape)}" for name, array in arrays.items())


def _sizes_differ(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    """Whether the same outputs, of as many axes, have other sizes."""

    def kinds(arrays: Mapping[str, Array]) -> list[tuple[str, str, int]]:
        return [(name, array.dtype.kind, array.ndim) for name, array in arrays.items()]

    return kinds(one) == kinds(other) and forms(one) != forms(other)


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256(describe(arrays).encode())
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _size(expected: list[Expected]) -> int:
    return sum(one.eager.nbytes + one.exact.nbytes for one in expected)
