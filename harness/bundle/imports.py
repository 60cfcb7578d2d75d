"""The modules that a model file imports for their operators (``Model(imports=…)``), in the wheels of a runtime."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence

from ..agent.unpack import installed_path
from ..errors import BackendError
from .wheels import Wheel


def module_files(wheel: Wheel, name: str) -> list[str]:
    """List the installed paths of a module's top-level package in a wheel; empty where the wheel does not have it."""
    top = name.partition(".")[0]
    with zipfile.ZipFile(wheel.path) as archive:
        paths = [path for member in archive.namelist() if (path := installed_path(member)) is not None]
    return [path for path in paths if path.startswith(f"{top}/") or _is_module(path, top)]


def _is_module(path: str, top: str) -> bool:
    """Return whether a file is a top-level module: NAME.py, or NAME.….so."""
    return path == f"{top}.py" or (path.startswith(f"{top}.") and path.endswith(".so"))


def check_imports(wheels: Sequence[Wheel], imports: Iterable[str], where: str) -> None:
    """Refuse a runtime that lacks a module to import, before it is sent.

    Args:
        wheels: the runtime's.
        imports: the modules' names.
        where: the device, for errors.

    Raises:
        BackendError: names the module.
    """
    for name in imports:
        if not any(module_files(wheel, name) for wheel in wheels):
            raise BackendError(
                f"the device's runtime has no module {name}, which the model file imports for its operators",
                wanted=f"a package with {name}",
                found=", ".join(f"{wheel.name} {wheel.version}" for wheel in wheels),
                where=where,
                hint=f'pin its package there, in the version that fits torch: "{name.partition(".")[0]}==VERSION"',
            )
