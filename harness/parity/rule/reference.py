"""The reference: eager PyTorch in float32, and the same model in float64. Computed once per input, for all cells."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from ...errors import HilgateError
from ...model.build import BuiltModel, explain_rejection
from ...model.inputs import Arrays, uniform_set
from ...model.model import Array, Closeness
from ...model.prepare import prepared
from ...model.unordered import RowSet
from ...model.user_code import words
from ..trials.space import InputSpace
from .comparison import Difference, Expected, compare, differ
from .expected import digest_of, expected_of, forms, outright, size_of, sizes_differ
from .module_runs import Runs, find_impurity, made_canonical, release_float64, run_both, watch_exact
from .no_reference import AtThreshold, NoReference
from .sets import arranged
from .wider_rule import WiderRule

# Outputs kept for the cells to come; the oldest leave first.
KEPT_BYTES = 512 << 20
# On the first inputs it is watched whether operators of the model pick anything; later only if some did, for watching
# costs a little with each operator.
WATCHED = 3


class Reference:
    """What a model should answer, for any input.

    Called with arrays, it returns what each output should be. Both runs of an input are made once: outputs are kept for
    the cells to come, up to KEPT_BYTES. The float64 module is made on the first use: it takes twice the model's memory.

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
        self.wider_rule = WiderRule(self)

    @cached_property
    def space(self) -> InputSpace:
        """The inputs that there are.

        Raises:
            ModelError: the model file's samples cannot be used.
        """
        return InputSpace(self.built.model, self._samples(), partial(prepared, self.built.file))

    def __call__(self, arrays: Arrays, key: str = "") -> list[Expected]:
        """Return what each output should be.

        Args:
            arrays: the inputs, by name.
            key: names the inputs, where they have a shorter name than all their bytes: a recipe's.

        Raises:
            ModelError: the model rejects inputs that its file declares.
            NoReference: it cannot be run in float64; or it keeps state, or draws random numbers.
        """
        key = key or digest_of(arrays)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        if (impurity := self.impurity) is not None:
            raise impurity
        expected = self._compute(arrays)
        self.computed += 1
        self._known[key] = expected
        self._bytes += size_of(expected)
        while self._bytes > KEPT_BYTES and len(self._known) > 1:
            self._bytes -= size_of(self._known.popitem(last=False)[1])
        return expected

    @property
    def impurity(self) -> NoReference | None:
        """The error that the module gives two answers for one input, with why; None where it does not.

        It is looked for once, before anything is judged.
        """
        if not self._observed:
            self._observed = True
            ends = [{name: allowed[side] for name, allowed in self.built.model.dims.items()} for side in (-1, 0)]
            sets = [self.space.make(recipe) for recipe in self.space.whole_range()]
            drawn = [uniform_set(self.built.model, sizes, seed=2) for sizes in ends if ends[0]]
            sets += prepared(self.built.file, drawn)
            self._impurity = self._observe(sets)
        return self._impurity

    def impurity_at(self, arrays: Arrays) -> NoReference | None:
        """Look for ``impurity`` where a backend differs: state and random numbers may show on that input alone."""
        return self.impurity or self._observe([arrays, *map(self.space.make, self.space.whole_range())])

    def _observe(self, sets: Sequence[Arrays]) -> NoReference | None:
        try:
            impurity = self.built.ask(find_impurity, sets)
        except HilgateError:
            raise
        except Exception:  # noqa: BLE001  # what the module keeps cannot be read: answers are compared all the same
            return None
        return None if impurity is None else self._impure(impurity.found, impurity.hint)

    def _impure(self, found: str, hint: str) -> NoReference:
        what, wanted = "the model has no reference", "the same answer each time forward gets the same input"
        return NoReference(what, wanted=wanted, found=found, where=str(self.built.file.path), hint=hint)

    def _check_again(self, arrays: Arrays, runs: Runs) -> None:
        """Run an uninformative input again: a state that shows at every fiftieth call lets anything pass there.

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
        """Return the expected outputs with indices that know what they were picked from; see WiderRule.picking."""
        return self.wider_rule.picking(arrays, key)

    def widened(self, arrays: Arrays, key: str = "") -> list[Expected]:
        """Return the expected outputs by the wider rule, for a suspicious input; see WiderRule.widened."""
        return self.wider_rule.widened(arrays, key)

    def is_rearranged(self, arrays: Arrays) -> bool:
        """Tell whether float64's outputs are those of eager's picks, and of its own picks others."""
        return bool(self._rearranged) and digest_of(arrays) in self._rearranged

    def dtype_of(self, name: str) -> np.dtype[Any]:
        """Return the type of one of the module's own outputs; float32 for what canonical makes of them."""
        return self._raw[name][0] if name in self._raw else np.dtype(np.float32)

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
            raise self.built.ask(explain_rejection, arrays, words(error)) from error
        self._raw = {name: (array.dtype, array.ndim) for name, array in runs.eager.items()}
        eager = self.made_canonical(runs.eager)
        if self.built.model.canonical is not None:
            for seen, outputs in zip(self._seen, (runs.eager, eager), strict=True):
                seen.add(digest_of(dict(outputs)))
        if (closeness := self.closeness) is not None:
            return outright(eager, closeness)
        if runs.failure:
            raise self._none(runs.failure)
        exact = self.made_canonical(self._aligned(arrays, runs))
        if (wanted := forms(eager)) != (found := forms(exact)):
            kind = AtThreshold if sizes_differ(eager, exact) else NoReference
            raise self._none(f"float32 gives {wanted}; float64 gives {found}", kind)
        expected = expected_of(eager, exact, self.row_sets)
        if any(one.is_uninformative(self.built.model.parity_limit) for one in expected):
            self._check_again(arrays, runs)
        return expected

    def _aligned(self, arrays: Arrays, runs: Runs) -> Mapping[str, Array]:
        """Return float64's outputs; with eager's picks where operators pick among keys that float32 cannot tell apart.

        Else two rows that changed places between the two runs would stand as float32's own error, as large as the rows
        are apart, and nothing could be found beside it.
        """
        self._picks = self._picks or runs.has_picks
        if runs.picks is None:
            return runs.exact
        from .tie_runs import is_valid, orders

        try:
            exact = self.built.ask(watch_exact, arrays, orders(runs.picks))
        except HilgateError:
            raise
        except Exception:  # noqa: BLE001  # it takes no such picks: another way through the model
            return runs.exact
        valid = is_valid(self.wider_rule.runs(arrays), runs.picks, exact, self.built.model.parity_limit)
        if not valid:
            return runs.exact
        if not all(np.array_equal(array, runs.exact.get(name, ())) for name, array in exact.outputs.items()):
            self._rearranged.add(digest_of(arrays))
        return exact.outputs

    @cached_property
    def row_sets(self) -> tuple[RowSet, ...]:
        """Outputs that are sets; none of what the model file makes canonical itself."""
        model = self.built.model
        return () if model.canonical is not None else model.row_sets(self.built.outputs)

    def made_canonical(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """Apply the model file's canonical to outputs by name; where it has none, return them as they are.

        Raises:
            ModelError: it raises, or returns something else than arrays.
        """
        return dict(outputs) if self.built.model.canonical is None else self.built.ask(made_canonical, outputs)

    def as_they_come(self, arrays: Arrays) -> list[Expected]:
        """Return what each output should be before it is made canonical.

        Raises: as a call.
        """
        runs = self.built.ask(run_both, arrays, exact=self.closeness is None)
        if (closeness := self.closeness) is not None:
            return outright(runs.eager, closeness)
        return expected_of(runs.eager, runs.exact)

    def form_difference(self, names: Sequence[str], answers: Sequence[Array]) -> Difference | None:
        """Compare names and types of outputs before they are made canonical, which might hide a difference.

        Returns:
            None where there is no difference.
        """
        wanted = [f"{name}: {dtype}, {axes} axes" for name, (dtype, axes) in self._raw.items()]
        found = [f"{name}: {one.dtype}, {one.ndim} axes" for name, one in zip(names, answers, strict=False)]
        if wanted == found and len(answers) == len(wanted):
            return None
        return Difference(np.inf, what=f"outputs: wanted {'; '.join(wanted)}; found {'; '.join(found)}")

    def compare(self, expected: list[Expected], names: Sequence[str], answers: Sequence[Array]) -> Difference:
        """Compare an answer with the reference, its rows put in order where they are a set."""
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
        """How close is close enough, where the model file says so itself."""
        tolerance = self.built.model.tolerance
        return tolerance if isinstance(tolerance, Closeness) else None
