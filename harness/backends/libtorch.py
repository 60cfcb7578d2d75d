"""The backend libtorch: a TorchScript module run by C++ (harness/runners/engines/libtorch.cpp)."""

from __future__ import annotations

from . import Native

ARTIFACT = "torchscript"
PACKAGES = ("torch",)
OPTIONS = {
    # Optimizations when the module is loaded. optimize_for_inference may turn NaN and infinity into finite numbers.
    "optimize": (("freeze", "none", "optimize_for_inference"), '"freeze", "none" or "optimize_for_inference"'),
    # "trim": glibc returns the top of a freed heap to the kernel and faults it in again, in some processes after every
    # inference.
    "heap": (("trim", "keep"), '"trim" or "keep"'),
}
OPERATORS = True
NATIVE = Native(
    engine="libtorch",
    library="torch/lib/libtorch_cpu.so",
    linked=("torch/lib/libc10.so",),
    includes=("torch/include", "torch/include/torch/csrc/api/include"),
    stub="libtorch.so",
)
