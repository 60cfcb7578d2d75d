"""The format "endpoint": what the device's client is told of a server that has the model. It is made, and not exported.

    endpoint.json    see harness.endpoint.description

A model file can give no such file, and choose no exporter of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..endpoint import Calls, Endpoint, describe_endpoint
from ..errors import EndpointError, ExportError, StorageError
from ..host.bounded import pin, prune_caches
from ..host.cache import cache_folder, new_entry
from ..model.build import BuiltModel
from ..model.eager import run_eager
from ..model.inputs import describe_sizes, set_bytes, uniform_set
from ..model.model import Model
from .artifact import Artifact, read_artifact, write_record

if TYPE_CHECKING:
    import torch

    from .formats import Exporter, Run
    from .given import Interface

FILE = "endpoint.json"
FORMAT = "endpoint"
LABEL = "description"
# Another run may make the same description first, end, and have it evicted before this run has pinned it.
TRIES = 3


def make_description(built: BuiltModel, endpoint: Endpoint, calls: Calls) -> Artifact:
    """Make the artifact of a model that an endpoint serves, or take it from the cache.

    Args:
        built: the model, whose inputs and outputs the endpoint must have.
        endpoint: the server.
        calls: how it is called.

    Raises:
        EndpointError: the model's answer is larger than what is read of one.
        StorageError: the cache cannot be written.
    """
    _check_answer(built, endpoint, calls)
    inputs = [{"name": item.name, "dtype": item.dtype, "shape": list(item.shape)} for item in built.model.inputs]
    content = json.dumps(describe_endpoint(endpoint, calls, inputs, built.outputs), indent=1) + "\n"
    folder = cache_folder() / "exports" / f"{FORMAT}-{hashlib.sha256(content.encode()).hexdigest()}"
    for attempt in range(TRIES):
        if pin(folder) and (artifact := read_artifact(folder, cached=attempt == 0)) is not None:
            prune_caches()
            return artifact
        with new_entry(folder) as work:
            (work / FILE).write_text(content, encoding="utf-8")
            write_record(work, FORMAT, [FILE], LABEL, [])
            pin(work)  # before the rename makes it visible to other processes
    raise StorageError(
        "a description of an endpoint was damaged right after it was written",
        where=str(folder),
        hint="look at the disk, or name another folder: HILGATE_CACHE=…",
    )


def check_request(model: Model, endpoint: Endpoint, calls: Calls, where: str) -> None:
    """Refuse a request that is larger than what the endpoint takes, before any call is made.

    Args:
        model: whose inputs are sent, at the largest sizes that are measured.
        endpoint: the server.
        calls: how it is called.
        where: the key that sets the limit, for errors.

    Raises:
        EndpointError: with both sizes.
    """
    size = set_bytes(model, model.measured_sizes)
    if size > calls.max_request_bytes:
        raise _too_large("a request", size, calls.max_request_bytes, "max_request_bytes", model, endpoint, where)


def _check_answer(built: BuiltModel, endpoint: Endpoint, calls: Calls) -> None:
    size = built.ask(_answer_bytes)
    if size is not None and size > calls.max_response_bytes:
        raise _too_large("an answer", size, calls.max_response_bytes, "max_response_bytes", built.model, endpoint, "")


def _answer_bytes(built: BuiltModel) -> int | None:
    """Add up the bytes of the model's outputs at the sizes that are measured; None where it rejects a drawn input."""
    model = built.model
    try:
        raw = run_eager(built.module, uniform_set(model, model.measured_sizes, 1))
    except Exception:  # noqa: BLE001  # whatever forward raises: parity says so
        return None
    return _bytes_of(raw)


def _bytes_of(raw: Any) -> int:
    if isinstance(raw, Mapping):
        return sum(map(_bytes_of, raw.values()))
    if isinstance(raw, (list, tuple)):
        return sum(map(_bytes_of, raw))
    return int(getattr(raw, "nbytes", np.asarray(raw).nbytes if isinstance(raw, (bool, int, float)) else 0))


def _too_large(
    what: str, size: int, most: int, key: str, model: Model, endpoint: Endpoint, where: str
) -> EndpointError:
    sizes = describe_sizes(model.measured_sizes)
    return EndpointError(
        f"{what} of endpoint {endpoint.name} is larger than it may be",
        wanted=f"at most {most} bytes, as {key} says",
        found=f"{size} bytes of tensors{f', at {sizes}' if sizes else ''}",
        where=where or str(endpoint.path),
        hint=f"measure smaller sizes, Model(measure={{…}}); send a narrower type; or, where the server takes as much, "
        f"set {key} in [options.…] of the device's file",
    )


def _refuse(module: torch.nn.Module, model: Model, outputs: Sequence[str], folder: Path) -> Sequence[str]:
    raise ExportError("the model of an endpoint is served, and not exported", hint="name a backend of the device's own")


EXPORTERS: Mapping[str, Exporter] = {LABEL: _refuse}


def exporters(module: torch.nn.Module) -> Mapping[str, Exporter]:
    """Return the exporters to try, which refuse: nothing is exported."""
    return EXPORTERS


def opened(folder: Path, label: str) -> Run | None:
    """Return None: this host has nothing of the model to run."""
    return None


def read_interface(path: Path, model: Model) -> Interface:
    """Refuse a file that a model file gives as this format."""
    raise ExportError(
        "an endpoint cannot be given in Model(files=…)", hint="write endpoints/NAME.toml (docs/remote.md)"
    )
