"""LibTorch: a TorchScript module run from C++ (harness/runners/engines/libtorch.cpp)."""

from __future__ import annotations

from . import Native

ARTIFACT = "torchscript"
PACKAGES = ("torch",)
OPTIONS = {
    # What PyTorch can still do to a module when it is loaded. The last of these makes numbers of NaN and infinity.
    "optimize": (("freeze", "none", "optimize_for_inference"), '"freeze", "none" or "optimize_for_inference"'),
    # glibc gives the top of a freed heap back, and faults it in again: in some processes after every inference.
    "heap": (("trim", "keep"), '"trim" or "keep"'),
}
OPERATORS = True
NATIVE = Native(
    engine="libtorch",
    library="torch/lib/libtorch_cpu.so",
    linked=("torch/lib/libc10.so",),
    includes=("torch/include", "torch/include/torch/csrc/api/include"),
)
