"""What the localization of a format is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...export import Artifact
from ...model.build import BuiltModel
from ...model.inputs import Arrays
from .location import Clock
from .probe import Probe

if TYPE_CHECKING:
    from .modules import Modules


@dataclass(frozen=True, kw_only=True)
class Task:
    """A mismatch to be located.

    Attributes:
        artifact: what the backend runs.
        sets: sets of inputs, at least one, on which its answers are not the model's.
        probe: deploys another artifact of the format on the same device, and returns its outputs by name.
        clock: to be asked before each step that takes long.
        samples: real inputs, at the measured sizes: they say how large a module's outputs usually are.
        optimize: what the backend does to the artifact when it loads it, as its option ``optimize`` says.
    """

    built: BuiltModel
    artifact: Artifact
    sets: Sequence[Arrays]
    probe: Probe
    clock: Clock
    samples: Sequence[Arrays]
    optimize: str

    def modules(self) -> Modules:
        """Make the model's modules in both types; it takes twice the model's memory."""
        from .modules import Modules  # torch: seconds, of which most runs need none

        return Modules(self.built, self.clock, self.samples)
