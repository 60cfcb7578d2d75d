"""Show a mismatch again: python replay.py (numpy, and what run_FORMAT.py imports: torch or onnxruntime).

It runs the artifact beside it on the inputs beside it and compares with the reference beside it; with the device's
threads and execution providers, where case.json has them. It imports nothing of harness.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

DEFAULTS: dict[str, Any] = {
    "threads": 1,
    "interop_threads": 1,
    "flush_denormals": False,
    "providers": ["CPUExecutionProvider"],
    "optimize": "none",
}
HERE = Path(__file__).resolve().parent


def run(case: dict[str, Any], inputs: dict[str, Any]) -> list[Any]:
    """Run the artifact: its outputs, laid flat, in the model's order where the file has another."""
    binding = case.get("binding")
    if not binding:
        return run_file(case, inputs)
    outputs = run_file(case, {pair["file"]: inputs[pair["model"]] for pair in binding["inputs"]})
    return [outputs[pair["place"]] for pair in binding["outputs"]]


def run_file(case: dict[str, Any], inputs: dict[str, Any]) -> list[Any]:
    """Run the file itself, by what its format needs: the program run_FORMAT.py beside this one."""
    if "no_runner" in case:
        sys.exit(shown(case["no_runner"]))
    name = f"run_{case['format']}"
    spec = importlib.util.spec_from_file_location(name, str(HERE / f"{name}.py"))
    assert spec is not None, "a path was given"
    assert spec.loader is not None, "it ends in .py"
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    answer: list[Any] = runner.infer(
        str(HERE / case["artifact"]), inputs, settings_of(case), lambda text: print(shown(text))
    )
    return answer


def settings_of(case: dict[str, Any]) -> dict[str, Any]:
    """Return how the backend was set on the device, as it was found there; else as the device's file wants it."""
    fingerprint = case.get("fingerprint") or {}
    known = (fingerprint.get("settings") or {}, case.get("options") or {}, case, fingerprint)
    return {key: next((one[key] for one in known if one.get(key)), value) for key, value in DEFAULTS.items()}


def ratio_of(found: Any, eager: Any, exact: Any, scale: Any) -> float:
    """Return how many times float32's own error an output is off; infinity where no error can be given.

    The rule is that of docs/parity.md, as harness/parity/rule/comparison.py has it.
    """
    if found.shape != eager.shape or found.dtype != eager.dtype:
        return float("inf")
    if eager.dtype.kind != "f":
        return 0.0 if bool(np.all((found == eager) | (found == exact))) else float("inf")
    with np.errstate(all="ignore"):
        rounded = exact.astype(eager.dtype)
        if not bool(np.all(alike(found, eager) | alike(found, rounded))):
            return float("inf")
        # Where only eager's is finite in this type, it is the reference, with at least a unit in its own last place.
        only_eager = ~np.isfinite(rounded) & np.isfinite(eager)
        wanted = np.where(only_eager, eager.astype(np.float64), exact)
        ratios = np.abs(found.astype(np.float64) - wanted) / np.where(only_eager, np.maximum(scale, ulp(eager)), scale)
    # 0 ÷ 0 comes from a closeness that allows nothing where nothing is off.
    return float(np.where(np.isnan(ratios), 0.0, ratios).max(initial=0.0, where=np.isfinite(found)))


def arranged(case: dict[str, Any], found: list[Any], reference: Any) -> list[Any]:
    """Put each row of outputs that are sets beside the nearest of the reference's rows that is left.

    As in harness/parity/rule/sets.py, which makes the worst distance as small as can be.
    """
    named = dict(zip((output["name"] for output in case["outputs"]), found))  # noqa: B905  # an older Python
    scales = {output["name"]: output["scale"] or 1.0 for output in case["outputs"]}
    for group in case.get("sets", ()):
        names, axis = group["outputs"], group["axis"]
        if any(named[name].shape != reference[name].shape for name in names):
            continue
        shape = named[names[0]].shape[: axis + 1]
        for at in np.ndindex(*shape[:-1]):
            distances = np.zeros((shape[-1], shape[-1]))
            for name in names:
                mine, near = (
                    one[at].reshape(shape[-1], -1).astype(np.float64) for one in (named[name], reference[name])
                )
                for column in range(mine.shape[1]):
                    errors = np.abs(mine[:, column, None] - near[None, :, column]) / scales[name]
                    distances = np.maximum(distances, np.nan_to_num(errors, nan=np.inf))
            order = nearest(distances)
            for name in names:
                named[name] = named[name].copy()
                named[name][at] = named[name][at][order]
    return list(named.values())


def nearest(distances: Any) -> Any:
    """Find, for each row of the reference, the nearest row of the answer that is left: int64[rows]."""
    order, taken = np.full(len(distances), -1), set()
    for place in np.argsort(distances, axis=None, kind="stable"):
        mine, other = divmod(int(place), len(distances))
        if order[other] < 0 and mine not in taken:
            order[other] = mine
            taken.add(mine)
    return order


def ratio_of_indices(found: Any, eager: Any, values: Any, output: dict[str, Any], scale: Any) -> float:
    """Return the ratio of indices, by the values that they point to, as harness/parity/rule/indices.py has it."""
    if found.shape != eager.shape or found.dtype != eager.dtype:
        return float("inf")
    axis = output["axis"]
    if axis is None or not values.ndim:
        values, axis = values.reshape(-1), 0
    places = [each.reshape(output["shape"] or [1]).astype(np.int64) for each in (found, eager)]
    if places[0].min() < 0 or places[0].max() >= values.shape[axis]:
        return float("inf")
    if bool((np.diff(np.sort(places[0], axis=axis), axis=axis) == 0).any()):
        return float("inf")  # one of them twice
    answer, wanted = (np.take_along_axis(values, each, axis).reshape(found.shape) for each in places)
    with np.errstate(all="ignore"):
        ratios = np.where(alike(answer, wanted), np.abs(answer - wanted) / scale, np.inf)
    return float(np.where((answer == wanted) | np.isnan(ratios), 0.0, ratios).max(initial=0.0))


def alike(one: Any, other: Any) -> Any:
    """Tell, by element, where both are finite, both NaN, or the same infinity."""
    return (np.isfinite(one) & np.isfinite(other)) | (one == other) | (np.isnan(one) & np.isnan(other))


def ulp(values: Any) -> Any:
    """Return a unit in the last place of each element, float32's for wider types; at least float32's tiniest normal."""
    narrow = values.dtype if values.dtype.itemsize < 4 else np.dtype(np.float32)
    largest = np.nextafter(np.finfo(narrow).max, narrow.type(0))  # the next one's spacing would be infinity
    sizes = np.minimum(np.abs(values.astype(np.float64)), float(largest)).astype(narrow)
    return np.maximum(np.spacing(sizes).astype(np.float64), float(np.finfo(np.float32).tiny))


def shown(text: object) -> str:
    """Make a text of the model's or the device's safe for a terminal: control characters are escaped."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in str(text))


def complain(kind: Any, error: Any, where: Any) -> None:
    """Print a traceback as safely: a runtime quotes the artifact's names."""
    for line in "".join(traceback.format_exception(kind, error, where)).rstrip().split("\n"):
        print(shown(f"  {line}"), file=sys.stderr)


def main() -> int:
    """Replay: return exit status 1 where the difference is still there."""
    case = json.loads((HERE / "case.json").read_text(encoding="utf-8"))
    stored = np.load(HERE / "inputs.npz")
    inputs = {name: stored[name] for name in case["inputs"]}
    reference = np.load(HERE / "reference.npz")
    print(shown(f"{case['cell']}: {case['what']}"))
    worst = 0.0
    if case.get("canonical"):
        print("the model file's canonical() is not applied here: what it makes alike may differ")
    for output, found in zip(case["outputs"], arranged(case, run(case, inputs), reference)):  # noqa: B905  # may run under an older Python
        name = output["name"]
        scale, unit = output["scale"], "float32's own error"
        if "rtol" in output:
            scale = output["atol"] + output["rtol"] * np.abs(reference[name].astype(np.float64))
            unit = f"{output['atol']:g} + {output['rtol']:g} · |eager|"
        elif case.get("elementwise") and reference[name].dtype.kind == "f":
            scale, unit = ulp(reference[name]), "a unit in its own last place"
        ratio = ratio_of(found, reference[name], reference[name + ".exact"], scale)
        if "axis" in output and ratio > 0:
            ratio = ratio_of_indices(
                found, reference[name], reference[name + ".picked"], output, reference[name + ".scale"]
            )
            unit = "what float32 is off on the values that the indices point to"
        print(f"{shown(name)}: {ratio:.3g} times {unit}; allowed {case['tolerance']:g}")
        print(f"  reference {reference[name + '.exact'].reshape(-1)[:8]}")
        print(f"  found     {found.reshape(-1)[:8]}")
        worst = max(worst, ratio)
    print("the difference is still there" if worst > case["tolerance"] else "the difference is gone")
    return int(worst > case["tolerance"])


if __name__ == "__main__":
    sys.excepthook = complain
    sys.exit(main())
