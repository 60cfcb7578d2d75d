"""The models of a run on the host: built, their references, their samples, and the inputs that are timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..cell import Cell
from ..deploy.content import Content, content_of
from ..measure.accuracy import EMULATED_SAMPLES, SampleSet, read_samples, scored_samples, searched_samples
from ..model.build import BuiltModel
from ..model.identity import Identity, model_identity
from ..model.model_file import ModelFile
from ..model.prepare import prepare_sha256, prepared
from ..model.process import build_hosted
from ..parity.rule.reference import Reference
from ..parity.trials.counterexamples import Counterexamples, Memory
from .plan import close_processes


@dataclass(frozen=True, kw_only=True)
class _Held:
    """The model that is held, and what goes with it."""

    file: ModelFile
    built: BuiltModel
    identity: Identity
    reference: Reference
    counterexamples: Counterexamples


class Models:
    """The models of a run, one held at a time: two large ones need not be in memory together.

    What is asked for is made once and shared by all cells of a model, whose cells come one after the other.

    Attributes:
        memory: what outlasts the run, such as pytest's cache; None without any.
    """

    def __init__(self, files: Sequence[ModelFile], memory: Memory | None = None) -> None:
        self.memory = memory
        self._files = tuple(files)
        self._held: _Held | None = None
        self._identities: dict[Path, Identity] = {}
        self._samples: tuple[tuple[ModelFile, bool], tuple[SampleSet, float] | None] | None = None
        self._content: tuple[ModelFile, Content] | None = None

    def build(self, file: ModelFile) -> BuiltModel:
        """Build a model, twice, and check that both are alike; or return it as it was built for an earlier cell.

        Raises:
            ModelError: it cannot be built, or not the same way twice.
        """
        return self._hold(file).built

    def identity(self, file: ModelFile) -> Identity:
        """Return the hash of a model's weights and code, or why it has none; it is built first if need be."""
        return self._hold(file).identity

    def reference(self, file: ModelFile) -> Reference:
        """Return what a model should answer, in float32 and float64; it is built first if need be."""
        return self._hold(file).reference

    def counterexamples(self, file: ModelFile) -> Counterexamples:
        """Return the inputs of a model that showed something, in this run and in earlier ones."""
        return self._hold(file).counterexamples

    def _hold(self, file: ModelFile) -> _Held:
        if self._held is None or self._held.file != file:
            self._held = None  # before the next is built: two large models need not be in memory together
            close_processes(other for other in self._files if other is not file)
            built = build_hosted(file)
            self._held = _Held(
                file=file,
                built=built,
                identity=self._identified(file, built),
                reference=Reference(built, lambda: built.ask(searched_samples)),
                counterexamples=Counterexamples(built.model, file.name, self.memory, file.ask(prepare_sha256)),
            )
        return self._held

    def _identified(self, file: ModelFile, built: BuiltModel) -> Identity:
        """Ask once in a run, so that all cells of a model have one hash, also where it was held twice."""
        if file.path not in self._identities:
            self._identities[file.path] = built.ask(model_identity)
        return self._identities[file.path]

    def samples(self, cell: Cell) -> tuple[SampleSet, float] | None:
        """Return the model file's samples and eager PyTorch's score over them; None where it has none.

        An emulated device gets fewer of them than a real one, for it is a hundred times as slow.
        """
        wanted = cell.file, cell.device.emulated
        if self._samples is None or self._samples[0] != wanted:
            at_most = EMULATED_SAMPLES if cell.device.emulated else None
            self._samples = (wanted, self.build(cell.file).ask(scored_samples, at_most))
        return self._samples[1]

    def content(self, file: ModelFile) -> Content:
        """Return the inputs on which a model is timed, and its instructions are counted."""
        if self._content is None or self._content[0] != file:
            self._content = None
            read = self.build(file).ask(read_samples)
            sets, step = (read.sets, read.step) if read else ((), 1)
            self._content = (file, content_of(file.model, sets, step, partial(prepared, file)))
        return self._content[1]

    def close(self) -> None:
        """End the processes of all model files; one that is asked later is started again."""
        close_processes(self._files)
