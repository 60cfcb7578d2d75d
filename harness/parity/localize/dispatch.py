"""Chooses how a mismatch is located, by the artifact's format, and turns every obstacle into a reason."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence

from ...errors import HilgateError
from ...export import Artifact
from ...model.build import BuiltModel
from ...model.inputs import Arrays
from .location import Clock, Location, NotLocated, Unlocated
from .probe import Probe
from .task import Task

# How many failing sets of inputs are looked at together.
SETS = 4


def locate(
    built: BuiltModel,
    artifact: Artifact,
    failing: Sequence[Arrays],
    probe: Probe,
    *,
    optimize: str = "none",
    samples: Sequence[Arrays] = (),
    limit_s: float = 60,
    report: Callable[[int, int], None],
) -> Location | NotLocated:
    """Find where a mismatch begins, and who is at fault: a question to the model's process.

    Args:
        built: the model.
        artifact: what the backend runs.
        failing: sets of inputs on which its answers are not the model's; the first few are looked at.
        probe: deploys another artifact of the format, and returns its outputs by name for each set of inputs.
        optimize: what the backend does to TorchScript when it loads it: "none", "freeze" or "optimize_for_inference".
        samples: real inputs, at the measured sizes: they say how large a module's outputs usually are.
        limit_s: for how many seconds to look; checked between steps, so a probe that hangs must end by itself.
        report: is told (seconds passed, the limit).

    Raises:
        HilgateError: whatever the probe raises, except AgentFailure: the device is gone, …
    """
    clock = Clock(limit_s, report)
    sets = list(failing)[:SETS]
    if not sets:
        return NotLocated("there is no failing input")
    try:
        clock.check("nothing was done yet")
        task = Task(
            built=built,
            artifact=artifact,
            sets=sets,
            probe=probe,
            clock=clock,
            samples=samples,
            optimize=optimize,
        )
        return find_fault_of(artifact.format)(task)
    except Unlocated as reason:
        return NotLocated(str(reason))
    except HilgateError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a model, torch or onnx raises: the mismatch must still be told
        return NotLocated(f"{type(error).__name__}: {error}")


def find_fault_of(artifact_format: str) -> Callable[[Task], Location]:
    """Return ``find_fault`` of the module that is named as the format, in any folder of this package's path.

    The module is imported only now: torch costs seconds, and most runs have nothing to locate.

    Raises:
        Unlocated: there is no such module, or it has no ``find_fault``.
    """
    package = __name__.rpartition(".")[0]
    if importlib.util.find_spec(f"{package}.{artifact_format}") is None:
        file = f"{package.replace('.', '/')}/{artifact_format}.py"
        raise Unlocated(f"artifacts of the format {artifact_format} cannot be looked into: there is no {file}")
    module = importlib.import_module(f"{package}.{artifact_format}")
    find_fault: Callable[[Task], Location] | None = getattr(module, "find_fault", None)
    if find_fault is None:
        raise Unlocated(
            f"artifacts of the format {artifact_format} cannot be looked into: {module.__file__} has no "
            "find_fault(task), which returns a Location"
        )
    return find_fault
