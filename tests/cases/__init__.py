"""Cases: models as users write them, most of them made from public bug reports, each with the verdict that is right.

The files are as a user's would be: neither typed nor formatted. They are copied before they are run, for some of them
write files beside themselves.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent

PASS, FAIL, INCONCLUSIVE = "PASS", "FAIL", "INCONCLUSIVE"
BOTH = ("onnxruntime", "torchscript")
NATIVE = (*BOTH, "libtorch")


@dataclass(frozen=True)
class Case:
    """What is right for one model file.

    Attributes:
        file: its path in this folder.
        verdicts: what each backend's cell should come to when parity alone is asked for.
        says: texts that must stand in every cell's errors, reasons or notes: the cause is named.
        silent: texts that must not.
    """

    file: str
    verdicts: Mapping[str, str]
    says: Sequence[str] = ()
    silent: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Its model's."""
        return Path(self.file).stem


def _both(verdict: str) -> dict[str, str]:
    return dict.fromkeys(BOTH, verdict)


def _case(name: str, verdicts: Mapping[str, str], *says: str, silent: Sequence[str] = ()) -> Case:
    return Case(f"{name}.py", verdicts, says, silent)


# TorchScript has PyTorch's own operators: where an exporter or ONNX Runtime is what a case is about, it would show nothing.
RIGHT = {"onnxruntime": PASS}

# What is right was found by hand: exported with plain torch, run in plain ONNX Runtime and as a plain trace, beside
# eager, with torch 2.13 and ONNX Runtime 1.32. Where an exporter is wrong today, a later one may be right.
PARITY = [
    _case("masked_scatter", RIGHT),
    _case("bidirectional_by_hand", RIGHT),
    _case("resize_to_one_pixel", RIGHT),
    _case("avgpool_ceil", RIGHT),
    _case("knn_ties", _both(PASS)),
    _case("batchnorm_batch_statistics", RIGHT),
    _case("dropout_always_on", _both(INCONCLUSIVE), "random", "dropout"),
    _case("sliding_buffer", _both(INCONCLUSIVE), "state", "past", silent=["random"]),
    _case("cache_within_call", _both(PASS)),
    _case("positions_grow", _both(PASS), silent=["random"]),
    _case("export_branch", _both(FAIL)),
    _case("odd_graph", RIGHT),
    _case("inputs_swapped", {"onnxruntime": FAIL}, "attention_mask", "token_type_ids"),
    _case("output_with_none", {"onnxruntime": FAIL}, "Output", "wrap"),
    _case("windows_int_batch", _both(FAIL), "the exporter fixed b at 2; dims says 1 … 6", silent=["load failed"]),
    _case("bfloat16", {"onnxruntime": FAIL}, "of bfloat16"),
    _case("bfloat16", {"torchscript": PASS}),
    _case("sparse_buffer", {"onnxruntime": FAIL}, "buffer adjacency", "sparse"),
    _case("uint8_wraps", RIGHT),
    _case("compiled", RIGHT),
    _case("scripted_file", dict.fromkeys(NATIVE, PASS)),
    _case("checkpoint_prefix", {"onnxruntime": FAIL}, "_orig_mod"),
    _case("distribution_policy", RIGHT),
    _case("weight_norm", RIGHT),
    _case("wrapped_forward", RIGHT),
    _case("running_sums", RIGHT),
    _case("reused_output_buffer", dict.fromkeys(NATIVE, PASS)),
    _case("warnings_of_the_user", RIGHT),
    _case("pooling_a_camera_picture", RIGHT),
    _case("group_norm_of_a_flat_picture", RIGHT),
    _case("unet_multiples", {"onnxruntime": FAIL}, "every multiple of 4 passes as h", '"w": (16, 64, 4)'),
    _case("unet_in_steps", RIGHT),
    _case("packed_lengths", RIGHT),
    _case("masked_attention", RIGHT),
    _case("boxes_and_rotations", {"torchscript": PASS}),
    Case("global_settings/first.py", _both(PASS)),
    Case("global_settings/second.py", _both(PASS)),
    Case("two_packages/a/policy_a.py", RIGHT),
    Case("two_packages/b/policy_b.py", RIGHT),
]


def copied(folder: Path) -> Path:
    """Copy all files into a folder; returns it."""
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__init__.py", "__pycache__"))
    return folder


def options(folder: Path, cases: Iterable[Case]) -> list[str]:
    """Name the model files of cases, copied into a folder, for a command line."""
    return [f"--model={folder / case.file}" for case in cases]


def told(cell: Mapping[str, Any]) -> str:
    """All that the evidence says of a cell in words."""
    reasons = [check["reason"] for check in cell["checks"]]
    return "\n".join([cell.get("error") or "", *reasons, *cell.get("notes", [])])
