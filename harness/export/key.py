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
    """A hash of all that an export depends on; None where the module has parts that cannot be hashed.

    The module itself, its code included; the declared inputs and dimensions, and what prepares inputs; the exporters'
    source; torch's settings; every installed package (conservative, and cheap: a new environment exports anew); Python
    and the machine.

    Args:
        given: a file that is taken as it is, by its "path" and "sha256".
    """
    return built.ask(_key, artifact_format, dict(given) if given else None)


def _key(built: BuiltModel, artifact_format: str, given: Mapping[str, str] | None) -> str | None:
    try:
        module, prepare = module_sha256(built.module), code_sha256(built.model.prepare)  # it makes the example
    except Exception:  # noqa: BLE001  # whatever an attribute's own pickling raises: then there is no caching, only time is lost
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
    """What is installed: by the hashes of its files, for other code may have the same version.

    Debian's packages have no such list: there the time of the installation has to do.
    """
    if record := item.read_text("RECORD"):
        origin = item.read_text("direct_url.json") or ""
        return f"{item.name} {hashlib.sha256(f'{record}{origin}'.encode()).hexdigest()}"
    path = getattr(item, "_path", None)  # of a folder, or of a lone .egg-info; inside a zip there is no time
    changed = path.stat().st_mtime_ns if isinstance(path, Path) and path.exists() else 0
    return f"{item.name}=={item.version} {changed}"
