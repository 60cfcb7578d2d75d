"""The wider rule, where the plain one finds too large an error: more runs of the model on that input and beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...errors import HilgateError, ModelError
from ...model.inputs import Arrays
from ...model.model import Array
from ..rounding.conditioning import Run, input_perturbation, moved
from .comparison import Expected, has_sides
from .module_runs import eager_leaves, exact_leaves, rounding_perturbation, rounding_sides
from .no_reference import AtThreshold
from .ulp import ulp

if TYPE_CHECKING:
    from .model_runs import ModelRuns
    from .picks import Breaks
    from .reference import Reference
    from .ties import Tie


class WiderRule:
    """What explains an error on one input, and is no fault of the backend's; docs/parity.md derives it.

    It only ever allows more than the plain rule, and is asked only where that finds too large an error: each question
    takes runs of the model. It changes nothing of the reference.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._usual: dict[str, float] | None = None

    def picking(self, arrays: Arrays, key: str = "") -> list[Expected]:
        """Return the expected outputs, with indices that know what they were picked from.

        It takes two more runs of a model that has integer outputs.

        Raises: as a call of the reference.
        """
        expected = self.reference(arrays, key)
        if self.reference.built.model.canonical is not None or all(
            one.eager.dtype.kind not in "iu" for one in expected
        ):
            return expected
        from .tie_runs import picked

        try:
            result = picked(self.runs(arrays))
        except HilgateError:
            raise
        except Exception:  # noqa: BLE001  # it ran before, and not when it is watched: there is no more to say
            return expected
        return [replace(one, picked=result.get(one.name)) for one in expected]

    def widened(self, arrays: Arrays, key: str = "") -> list[Expected]:
        """Return the expected outputs by the wider rule: some twenty more runs of the model.

        What the input's own rounding does to the answer counts (see rounding.conditioning); so does what the order of a
        sum and the last place of a bounded function do (see rounding.bounds), and a unit in the last place of the
        output's largest element over the input's whole range, the samples, and what the model file declares. A sigmoid
        far down its tail is off by as much as one near 1: whoever takes its number uses it beside such.

        Raises: as a call of the reference.
        """

        def eager(beside: Arrays) -> Mapping[str, Array]:
            return self.reference.made_canonical(self.reference.built.ask(eager_leaves, beside))

        def exact(beside: Arrays) -> Mapping[str, Array]:
            return self.reference.made_canonical(self.reference.built.ask(exact_leaves, beside))

        expected = self.picking(arrays, key)
        if self.reference.is_rearranged(arrays):
            # With float64's own picks inputs beside are as far off as the rows are apart, which looks like a jump.
            from .picks import Breaks

            runs = self.runs(arrays)
            return runs.widened(expected, runs.eager(Breaks()))
        return self.widen_with(arrays, expected, eager, exact)

    def widen_with(
        self, arrays: Arrays, expected: list[Expected], eager: Run, exact: Run, breaks: Breaks | None = None
    ) -> list[Expected]:
        """Widen expected outputs by given runs of the model on inputs beside this one.

        Args:
            arrays: the inputs, by name.
            expected: what each output should be by the plain rule.
            eager: runs the model in its own types.
            exact: runs it in float64.
            breaks: how ties are broken in these runs.
        """
        if self.reference.closeness is not None:
            return expected
        here, limit = {one.name: one.exact for one in expected}, self.reference.built.model.parity_limit
        perturbations = [
            _tried(lambda: input_perturbation(self.reference.built.model.inputs, arrays, here, eager, exact)),
            _tried(lambda: self.reference.built.ask(rounding_perturbation, arrays, here, limit, breaks)),
        ]
        usual = self._usual_ulps()

        def with_perturbation(one: Expected) -> Expected:
            own = max(each.get(one.name, 0.0) for each in perturbations)
            return replace(one, perturbation=max(own, usual.get(one.name, 0.0)), perturbation_here=own)

        return [with_perturbation(one) if one.eager.dtype.kind == "f" else one for one in expected]

    def tie(
        self, arrays: Arrays, names: Sequence[str], answers: Sequence[Array], enough: float | None = None
    ) -> Tie | None:
        """Find the run, with ties broken another way, that an answer agrees with; None where there is none.

        A handful of runs of a model in which operators pick among keys that float32 cannot tell apart, at most a
        hundred; one run of any other. See ties.

        Args:
            arrays: the inputs, by name.
            names: the backend's, of its answers.
            answers: the backend's outputs.
            enough: the error ratio at which the answer agrees; the limit, where it is not given.

        Raises:
            AtThreshold: the answer has another size than eager's, and ties decide that.
        """
        from .ties import Ties

        try:
            ties = Ties.watch(self.runs(arrays), names, answers, self.reference.built.model.parity_limit, enough)
        except HilgateError:
            raise  # the process that had the module is gone
        except Exception:  # noqa: BLE001  # it ran before, and not when it is watched: there is no more to say
            return None
        result = ties.find()
        if result is None and ties.decide_sizes:
            raise AtThreshold("ties decide how many rows there are", found="an answer of another size")
        return result

    def is_at_threshold(self, arrays: Arrays, answers: Sequence[Array]) -> bool:
        """Tell whether an answer of other sizes is what the model gives beside this input, at a threshold.

        It takes two dozen runs of the model at most, each with the input moved by some units in its last place.
        """
        here = [one.eager for one in self.reference(arrays)]
        found = [(answer.shape, answer.dtype) for answer in answers]
        alike = [(one.ndim, one.dtype) for one in here] == [(one.ndim, one.dtype) for one in answers]
        shapes = [shape for shape, _ in found]
        if not alike or [one.shape for one in here] == shapes:
            return False
        for beside in moved(self.reference.built.model.inputs, arrays):
            try:
                runs = [self.reference.built.ask(eager_leaves, beside)]
                runs += [self.reference.built.ask(exact_leaves, beside)] if self.reference.closeness is None else []
            except HilgateError:
                raise
            except Exception:  # noqa: BLE001  # it takes the input, and not one beside it: there is no more to say
                return False
            if any([array.shape for array in self.reference.made_canonical(run).values()] == shapes for run in runs):
                return True
        return False

    def is_on_another_side(
        self, arrays: Arrays, expected: list[Expected], names: Sequence[str], answers: Sequence[Array]
    ) -> bool:
        """Tell whether an answer is right but for elements that a correct program may have on another side of a jump.

        Where x is compared with its own mean, and is that, the last place of a sum decides, and no order of summation
        is the right one (issue 15). Of x >= 0.5 nothing is said: there is no sum in it, and either side is a bug's.
        One run of most models; of those that add numbers ten.
        """
        if (
            self.reference.closeness is not None
            or self.reference.row_sets
            or [one.name for one in expected] != list(names)
        ):
            return False
        try:
            result = self.reference.built.ask(rounding_sides, arrays)
        except HilgateError:
            raise
        except Exception:  # noqa: BLE001  # with errors it does not run: there is no more to say
            return False
        limit, pairs = self.reference.built.model.parity_limit, zip(expected, answers, strict=False)
        return (
            bool(result)
            and len(answers) == len(expected)
            and all(has_sides(one, answer, [side[one.name] for side in result], limit) for one, answer in pairs)
        )

    def _usual_ulps(self) -> Mapping[str, float]:
        """Return, by output, an ulp of its largest element: on inputs that fill their range, on samples, as declared.

        Raises:
            ModelError: what is declared is so large that the tolerance takes any output for right.
        """
        if self._usual is None:
            largest: dict[str, float] = {}
            usual = [(self.reference.space.make(recipe), recipe.key) for recipe in self.reference.space.whole_range()]
            for arrays, key in (*usual, *((sample, "") for sample in self.reference.space.samples)):
                with suppress(AtThreshold):
                    for one in self.reference(arrays, key):
                        if one.eager.dtype.kind == "f":
                            largest[one.name] = max(largest.get(one.name, 0.0), one.magnitude)
            seen = dict(largest)
            for name, declared in self.reference.built.max_values.items():
                self._check_declared(name, declared, seen.get(name))
                largest[name] = max(largest.get(name, 0.0), declared)
            self._usual = {name: self._ulp(name, size) for name, size in largest.items()}
        return self._usual

    def _ulp(self, name: str, size: float) -> float:
        dtype = self.reference.dtype_of(name)
        return float(ulp(np.asarray(size), dtype)) if dtype.kind == "f" else 0.0

    def _check_declared(self, name: str, declared: float, seen: float | None) -> None:
        """Refuse a declared size by which any answer would pass.

        What was seen nowhere cannot be compared with it; zeros are as right as they can be.

        Raises:
            ModelError: the tolerance allows as much as the largest element that was seen.
        """
        limit = self.reference.built.model.parity_limit
        allowed = self._ulp(name, declared) * limit
        if seen and allowed >= seen:
            raise ModelError(
                f"max_value says nothing about the output: {name} is nowhere as large as the error that it allows",
                wanted=f"a max_value of about {seen:.3g}, the largest element on inputs over their whole range",
                found=f"max_value={declared:g}, of which {limit:g} units are {allowed:.3g}",
                where=f"{self.reference.built.file.path}: Output({name!r})",
                hint="declare how large the output is in use, or leave max_value out",
            )

    def runs(self, arrays: Arrays) -> ModelRuns:
        """Return the model's runs on one input, with ties broken as one likes."""
        from .model_runs import ModelRuns

        return ModelRuns(self.reference, arrays, self.widen_with)


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
