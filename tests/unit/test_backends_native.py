"""C++ backends, as their files describe them: what they are built from, and what their options may be."""

from __future__ import annotations

from typing import Any

import pytest

from harness.backends import Native, load_backend
from harness.bundle.native.building import SOURCES
from harness.errors import BackendError

CPP = ("libtorch", "onnxruntime-cpp")


@pytest.mark.parametrize("name", CPP)
def test_a_cpp_backend_is_built_from_an_engine_that_there_is(name: str) -> None:
    native = load_backend(name).native
    assert isinstance(native, Native)
    assert (SOURCES / "engines" / f"{native.engine}.cpp").is_file()


@pytest.mark.parametrize("name", ["torchscript", "onnxruntime"])
def test_a_backend_of_pythons_is_built_from_nothing(name: str) -> None:
    assert load_backend(name).native is None


@pytest.mark.parametrize(
    ("name", "python"), [pytest.param("libtorch", "torchscript"), pytest.param("onnxruntime-cpp", "onnxruntime")]
)
def test_a_cpp_backend_runs_what_its_pythons_runs(name: str, python: str) -> None:
    assert load_backend(name).artifact == load_backend(python).artifact


@pytest.mark.parametrize(
    ("name", "version", "library"),
    [
        pytest.param("libtorch", "2.9.1+cpu", "torch/lib/libtorch_cpu.so", id="libtorch"),
        pytest.param("onnxruntime-cpp", "1.23.2", "onnxruntime/capi/libonnxruntime.so.1.23.2", id="onnxruntime"),
        pytest.param("onnxruntime-cpp", "1.23.2+mine", "onnxruntime/capi/libonnxruntime.so.1.23.2", id="local-version"),
    ],
)
def test_the_runtimes_own_library_is_that_of_the_version(name: str, version: str, library: str) -> None:
    native = load_backend(name).native
    assert native is not None
    assert native.library_in(version) == native.linked_in(version)[0] == library


def test_libtorch_is_linked_with_what_its_headers_use_beside_it() -> None:
    native = load_backend("libtorch").native
    assert native is not None
    assert native.linked_in("2.9.1")[1:] == ("torch/lib/libc10.so",)


@pytest.mark.parametrize(
    ("name", "defaults"),
    [
        pytest.param("libtorch", {"optimize": "freeze", "heap": "trim"}, id="libtorch"),
        pytest.param("onnxruntime-cpp", {}, id="onnxruntime-cpp"),
        pytest.param("torchscript", {}, id="torchscript"),
    ],
)
def test_an_option_that_is_not_named_has_its_first_value(name: str, defaults: dict[str, str]) -> None:
    assert load_backend(name).defaults == defaults


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(
            pytest.param("libtorch", {key: value}, id=f"{key}-{value}")
            for key, value in (
                ("optimize", "freeze"),
                ("optimize", "none"),
                ("optimize", "optimize_for_inference"),
                ("heap", "trim"),
                ("heap", "keep"),
            )
        ),
        pytest.param("onnxruntime-cpp", {"providers": ["CUDAExecutionProvider"]}, id="providers"),
        pytest.param("libtorch", {}, id="none"),
    ],
)
def test_what_an_option_may_be_is_accepted(name: str, options: dict[str, Any]) -> None:
    load_backend(name).check_options(options, "device.toml")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        pytest.param(
            "libtorch",
            {"optimize": "fast"},
            ["'optimize'", '"freeze", "none" or "optimize_for_inference"', "'fast'"],
            id="another-value",
        ),
        pytest.param("libtorch", {"optimize": ["freeze"]}, ["'optimize'", "found:  ['freeze']"], id="a-list"),
        pytest.param("libtorch", {"heap": "trims"}, ["'heap'", '"trim"', '"keep"', "'trims'"], id="another-heap"),
        pytest.param("libtorch", {"providers": []}, ["unknown option 'providers'", "optimize = "], id="another-key"),
        pytest.param("onnxruntime-cpp", {"providers": "CPU"}, ["'providers'", "in order of preference"], id="no-list"),
        pytest.param("onnxruntime-cpp", {"providers": []}, ["'providers'", "found:  []"], id="an-empty-list"),
    ],
)
def test_what_an_option_may_not_be_is_refused_with_what_it_may(
    name: str, options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(BackendError) as caught:
        load_backend(name).check_options(options, "devices/pi.toml: options")
    assert [word for word in [*words, "devices/pi.toml: options"] if word not in str(caught.value)] == []
