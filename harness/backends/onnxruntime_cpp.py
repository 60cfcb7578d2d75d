"""The backend onnxruntime-cpp: ONNX Runtime run by C++, through its C API (harness/runners/engines/onnxruntime.cpp)."""

from __future__ import annotations

from . import Native, onnxruntime

ARTIFACT = onnxruntime.ARTIFACT
PACKAGES = ("onnxruntime|onnxruntime-gpu",)
OPTIONS = onnxruntime.OPTIONS
NATIVE = Native(
    engine="onnxruntime",
    library="onnxruntime/capi/libonnxruntime.so.{version}",
    opened="onnxruntime/capi/libonnxruntime_providers_",
)
