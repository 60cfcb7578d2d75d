"""What the artifact declares of its shapes, checked against every inference that parity made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..export import Artifact
from ..export.shapes import Place, refuted
from ..model.inputs import at_sizes
from ..model.model import Array, Model


@dataclass
class Claims:
    """The declared shapes of one artifact.

    Args:
        outputs: the deployment's names of its outputs.
    """

    artifact: Artifact
    model: Model
    outputs: Sequence[str]
    _wrong: dict[Place, str] = field(default_factory=dict)

    def look(self, sizes: Mapping[str, int], answers: Sequence[Array]) -> None:
        """Compare the declared shapes with those of one inference.

        Args:
            sizes: the sizes of the model's dimensions.
            answers: the outputs, in the order of their names.
        """
        if not self.artifact.shapes:
            return
        shapes = {item.name: item.sizes(sizes) for item in self.model.inputs}
        shapes |= {name: array.shape for name, array in zip(self.outputs, answers, strict=False)}
        for place, what in refuted(self.artifact.shapes, shapes).items():
            self._wrong.setdefault(place, f"the file is wrong about its shapes: {what}{at_sizes(sizes)}")

    @property
    def notes(self) -> list[str]:
        """What the artifact declared wrongly, each thing once."""
        return list(self._wrong.values())
