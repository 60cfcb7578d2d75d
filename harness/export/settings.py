"""torch's global settings that an export depends on: a part of its key, and the export process works under the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..model.build import OWN_PROCESS, BuiltModel

Setting = tuple[Callable[[], Any], Callable[[Any], Any]]


def read_settings() -> dict[str, Any]:
    """Their values in this process, as JSON has them."""
    return {name: read() for name, (read, _) in _settings().items()}


def settings_of(built: BuiltModel) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read their values in the process that has the module: a question (see BuiltModel).

    Returns:
        Those under which a new process reads the file, none where the file's own process read it under torch's defaults
        too; and those that were left by the file and what it built.
    """
    values = read_settings()
    return {} if OWN_PROCESS in built.kept else values, values


def apply_settings(values: dict[str, Any]) -> None:
    """Make this process's settings those; what is so already is left alone."""
    for name, (read, write) in _settings().items() if values else ():
        if values[name] not in (read(), MIXED):
            write(values[name])


# What torch says, as an error, once both its older and its newer way to set a precision were used.
MIXED = "mixed"


def _settings() -> dict[str, Setting]:
    """How each is read and written. Those of one subject are in the order in which torch lets them be written."""
    import torch

    backends: Any = torch.backends
    return {
        "default_dtype": (
            lambda: str(torch.get_default_dtype()).removeprefix("torch."),
            lambda name: torch.set_default_dtype(getattr(torch, name)),
        ),
        "default_device": (lambda: str(torch.get_default_device()), torch.set_default_device),
        "deterministic": (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        "fill_uninitialized": _attribute(torch.utils.deterministic, "fill_uninitialized_memory"),
        "float32_matmul_precision": (_matmul_precision, torch.set_float32_matmul_precision),
        "fp32_precision": _attribute(backends, "fp32_precision"),
        "mkldnn": _attribute(backends.mkldnn, "enabled"),
        "mkldnn_deterministic": _attribute(backends.mkldnn, "deterministic"),
        **{
            f"mkldnn_{part}": _attribute(getattr(backends.mkldnn, part), "fp32_precision")
            for part in ("conv", "matmul", "rnn")
        },
        # These two choose between operators that do the same: a trace holds the chosen ones.
        "attention_fastpath": (backends.mha.get_fastpath_enabled, backends.mha.set_fastpath_enabled),
        **{
            f"{kind}_sdp": (getattr(backends.cuda, f"{kind}_sdp_enabled"), getattr(backends.cuda, f"enable_{kind}_sdp"))
            for kind in ("flash", "mem_efficient", "math", "cudnn")
        },
    }


def _attribute(owner: Any, name: str) -> Setting:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _matmul_precision() -> str:
    import torch

    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return MIXED
