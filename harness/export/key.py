"""The key under which an export is cached: a hash of all that it depends on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from ..host.cache import file_sha256
from ..host.shipped import room_sources
from ..model.build import BuiltModel
from ..model.dimension import declared_dims
from ..model.fingerprint import code_sha256, module_sha256
from .settings import read_settings

# The rooms whose code decides what is exported.
ROOMS = ("export", "model", "agent")


def export_key(built: BuiltModel, artifact_format: str, given: Mapping[str, str] | None = None) -> str | None:
    """Hash all that an export depends on; return None where the module has parts that cannot be hashed.

    That is the module with its code; the declared inputs and dimensions, and the function that prepares inputs; the
    exporters' source; torch's settings; every installed package (conservative and cheap: a new environment exports
    again); Python and the machine.

    Args:
        built: the model.
        artifact_format: the format's name.
        given: the "path" and "sha256" of the file that the model file gives; None where the model is exported.
    """
    return built.ask(_key, artifact_format, dict(given) if given else None)


def _key(built: BuiltModel, artifact_format: str, given: Mapping[str, str] | None) -> str | None:
    try:
        # prepare counts because it makes the example inputs that exporters trace with.
        module, prepare = module_sha256(built.module), code_sha256(built.model.prepare)
    except Exception:  # noqa: BLE001  # an attribute's pickling may raise anything; without a key only time is lost
        return None
    parts = {
        "module": module,
        "name": built.file.path.name,
        "format": artifact_format,
        "inputs": [asdict(item) for item in built.model.inputs],
        "outputs": list(built.outputs),
        "prepare": prepare,
        "dims": declared_dims(built.model.dims),
        "given": [Path(given["path"]).name, given["sha256"]] if given else None,
        "exporter": [built.model.exporter, built.model.opset, list(built.model.imports)],
        "exporters": [file_sha256(path) for path in room_sources(*ROOMS)],
        "settings": read_settings(),
        "installed": sorted(_identity(item) for item in importlib.metadata.distributions()),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _identity(item: importlib.metadata.Distribution) -> str:
    """Identify an installed distribution by the hashes of its files, because other code may have the same version.

    Debian's packages list no hashes: there the time of the installation has to do.
    """
    if record := item.read_text("RECORD"):
        origin = item.read_text("direct_url.json") or ""
        return f"{item.name} {hashlib.sha256(f'{record}{origin}'.encode()).hexdigest()}"
    path = getattr(item, "_path", None)  # of a folder, or of a lone .egg-info; inside a zip there is no time
    changed = path.stat().st_mtime_ns if isinstance(path, Path) and path.exists() else 0
    return f"{item.name}=={item.version} {changed}"
