"""Show a mismatch again: python replay.py (numpy, and torch or onnxruntime).

It runs the artifact beside it on the inputs beside it and compares with the reference beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent


def run(case: dict[str, Any], inputs: dict[str, Any]) -> list[Any]:
    """The outputs of the artifact, laid flat, one thread."""
    path = str(HERE / case["artifact"])
    if case["format"] == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        used = {item.name for item in session.get_inputs()}
        return list(session.run(None, {name: value for name, value in inputs.items() if name in used}))
    import torch

    torch.set_num_threads(1)
    with torch.no_grad():
        answer = torch.jit.load(path)(*(torch.from_numpy(value) for value in inputs.values()))  # type: ignore[no-untyped-call]
    return [leaf.numpy() for leaf in flat(answer)]


def flat(answer: Any) -> list[Any]:
    """Tensors in tuples, lists and dicts, in order."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, (tuple, list)):
        return [leaf for part in answer for leaf in flat(part)]
    return [answer]


def ratio_of(found: Any, eager: Any, exact: Any, scale: float) -> float:
    """How many times float32's own error an output is off; infinity where no error can be given."""
    if found.shape != eager.shape or found.dtype != eager.dtype:
        return float("inf")
    if eager.dtype.kind != "f":
        return 0.0 if bool(np.all((found == eager) | (found == exact))) else float("inf")
    kinds = [np.where(np.isfinite(a), 0, np.where(np.isnan(a), 1, np.sign(a) + 3)) for a in (found, eager)]
    with np.errstate(all="ignore"):
        rounded = exact.astype(eager.dtype)
    kinds.append(np.where(np.isfinite(rounded), 0, np.where(np.isnan(rounded), 1, np.sign(rounded) + 3)))
    if not bool(np.all((kinds[0] == kinds[1]) | (kinds[0] == kinds[2]))):
        return float("inf")
    finite = (kinds[0] == 0) & (kinds[1] == 0) & (kinds[2] == 0)
    error = np.abs(found[finite].astype(np.float64) - exact[finite]).max(initial=0.0)
    return float(error / scale)


def main() -> int:
    """Exit status 1 where the difference is still there."""
    case = json.loads((HERE / "case.json").read_text(encoding="utf-8"))
    stored = np.load(HERE / "inputs.npz")
    inputs = {name: stored[name] for name in case["inputs"]}
    reference = np.load(HERE / "reference.npz")
    print(f"{case['cell']}: {case['what']}")
    worst = 0.0
    for output, found in zip(case["outputs"], run(case, inputs)):  # noqa: B905  # may run under an older Python
        name = output["name"]
        ratio = ratio_of(found, reference[name], reference[name + ".exact"], output["scale"])
        print(f"{name}: {ratio:.3g} times float32's own error; allowed {case['tolerance']:g}")
        print(f"  reference {reference[name + '.exact'].reshape(-1)[:8]}")
        print(f"  found     {found.reshape(-1)[:8]}")
        worst = max(worst, ratio)
    print("the difference is still there" if worst > case["tolerance"] else "the difference is gone")
    return int(worst > case["tolerance"])


if __name__ == "__main__":
    sys.exit(main())
