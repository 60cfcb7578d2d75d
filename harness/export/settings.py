"""The global settings of torch that an export depends on; they are part of its key.

The export process applies the settings of the process that has built the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..model.build import OWN_PROCESS, BuiltModel

# A setting: a function that reads it, and one that writes it.
Setting = tuple[Callable[[], Any], Callable[[Any], Any]]


def read_settings() -> dict[str, Any]:
    """Read the settings of this process, in JSON's types."""
    return {name: read() for name, (read, _) in _settings().items()}


def settings_of(built: BuiltModel) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the settings in the process that has the module: a question (see BuiltModel).

    Args:
        built: the model.

    Returns:
        The settings under which a new process must read the model file, empty for torch's defaults; and the settings
        after the file was read and the model built.
    """
    values = read_settings()
    return {} if OWN_PROCESS in built.kept else values, values


def apply_settings(values: dict[str, Any]) -> None:
    """Apply settings to this process, and leave alone those that have the value already."""
    for name, (read, write) in _settings().items() if values else ():
        if values[name] not in (read(), MIXED):
            write(values[name])


# Stands for a precision that torch refuses to report, because both its older and its newer setting were used.
MIXED = "mixed"


def _settings() -> dict[str, Setting]:
    """Return all settings by name, those of one subject in the order in which torch lets them be written."""
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
        # These choose between equivalent operators, and a trace contains the chosen ones.
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
