"""Locating a mismatch: the first node of the graph, and the module that it came from, at which a backend leaves the
reference, and who is at fault; see docs/parity.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...errors import HilgateError
from ...export import Artifact
from ...model.build import BuiltModel
from ...model.inputs import Arrays
from .graph import Graph
from .location import Clock, Location, NotLocated, Unlocated
from .probe import Probe, Prober, weights_apart, work_folder
from .verdict import OFF_ULPS

__all__ = ["OFF_ULPS", "Location", "NotLocated", "Probe", "locate"]

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
    """Where a mismatch begins.

    Args:
        artifact: what the backend runs: ONNX or TorchScript.
        failing: sets of inputs on which its answers are not the model's; the first few are looked at.
        probe: deploys another artifact of the format, and returns its outputs by name for each set of inputs.
        optimize: what the backend does to TorchScript when it loads it: "none", "freeze" or "optimize_for_inference".
        samples: real inputs, at the measured sizes: they say how large a module's outputs usually are.
        limit_s: for how long to look; looked at between steps, so a probe that hangs must end by itself.
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
        return _locate(built, artifact, sets, probe, clock, optimize, samples)
    except Unlocated as reason:
        return NotLocated(str(reason))
    except HilgateError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a model, torch or onnx raises: the mismatch is to be told still
        return NotLocated(f"{type(error).__name__}: {error}")


def _locate(
    built: BuiltModel,
    artifact: Artifact,
    sets: list[Arrays],
    probe: Probe,
    clock: Clock,
    optimize: str,
    samples: Sequence[Arrays],
) -> Location:
    # torch is imported once something is to be located: it costs seconds.
    from .module_outputs import Modules
    from .onnx import OnnxLocating
    from .torchscript import ScriptLocating, is_scripted

    if artifact.format == "torchscript" and is_scripted(built.module):
        raise Unlocated("the module is scripted already: it cannot be traced anew, with more outputs")
    modules = Modules(built, clock, samples)
    with work_folder(artifact) as folder:
        if artifact.format == "onnx":
            graph = Graph(weights_apart(artifact, folder), modules.names, modules.unnamed)
            prober = Prober(graph, probe, clock, folder, sets[0])
            return OnnxLocating(graph, modules, prober, sets, clock).run()
        if artifact.format == "torchscript":
            return ScriptLocating(modules, artifact, probe, sets, clock, folder, optimize).run()
    raise Unlocated(f"artifacts of the format {artifact.format} cannot be looked into")
