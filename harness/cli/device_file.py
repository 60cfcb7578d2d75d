"""The device file that `hilgate add` writes: for a known board only what differs from that board's own file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import backend_names, load_backend
from ..device import Device, load_device
from ..device.memory_size import memory_fits
from ..errors import DeviceError
from ..host.shipped import DEVICES
from ..host.work import work_folder
from ..measure import known_metrics
from ..printable import is_hidden
from ..protocol import BoardFacts
from .project import Project

# How the device tree names a board, and the device that its file extends.
FAMILIES = (
    (re.compile(r"Raspberry Pi (4|400|Compute Module 4)\b"), "pi4"),
    (re.compile(r"Raspberry Pi (5|500|Compute Module 5)\b"), "pi5"),
    (re.compile(r"NVIDIA Jetson Orin Nano\b"), "jetson-orin-nano"),
)
# Boards have memory of these sizes, and report less: the kernel and the GPU keep some.
MEMORY_MIB = tuple(256 << step for step in range(12))
# The versions to ship by the device's Python; the newest of each that still has wheels for an older one.
PINS = {
    "3.9": ("torch==2.8.0", "onnxruntime==1.19.2", "numpy==2.0.2"),
    "3.10": ("torch==2.9.1", "onnxruntime==1.23.2", "numpy==2.2.6"),
}
NEWER_PINS = ("torch==2.9.1", "onnxruntime==1.32.0", "numpy==2.4.6")

X86_COMMENT = """\
# Without torch: on x86-64 pip's own index has it with CUDA only, gigabytes that this device may have no use for. To run
# {names} too, install the build that fits the device there, name its folder here in place of the packages,
# environment = "/opt/hilgate", and add {listed} to the backends.
"""
NO_GLIBC_COMMENT = """\
# This system's C library is not glibc, and wheels that are shipped need that: install the packages there.
"""


def base_for(project: Project, name: str, facts: BoardFacts) -> Device | None:
    """Find the device that a board's file extends: that of its family, if the board is what that one's file says.

    Raises:
        DeviceError: the family's file is wrong, or it would be overwritten.
    """
    family = next((base for pattern, base in FAMILIES if pattern.match(facts.board)), None)
    if family is None:
        return None
    if family == name and project.folder.resolve() == DEVICES.resolve():
        where, hint = str(project.folder / f"{name}.toml"), "give the device another name"
        raise DeviceError(f"{name} is what other devices extend", where=where, hint=hint)
    base = load_device(family, (DEVICES,) if family == name else project.folders, known_metrics().values())
    fits = base.link == "ssh" and base.arch in (None, facts.arch) and base.cpu in (None, facts.cpu)
    return base if fits else None


def nominal_memory(reported_mib: int, base: Device | None = None) -> int:
    """Return the memory that is soldered on, in MiB, where what the board reports tells; else what it reports."""
    sizes = (base.memory_mib,) if base and base.memory_mib else ()
    return next((size for size in (*sizes, *MEMORY_MIB) if memory_fits(size, reported_mib)), reported_mib)


def pins_for(python: str) -> tuple[str, ...]:
    """Return the packages to ship to a device with this Python ("3.11"), as "NAME==VERSION"."""
    return PINS.get(python, NEWER_PINS)


def backends_for(pins: Sequence[str], *, native: bool) -> list[str]:
    """List the backends that a device with these packages can have, in the order in which the pins name their runtimes.

    Args:
        pins: "NAME==VERSION".
        native: whether those in C++ count: the host builds them for glibc only.
    """
    names = [pin.partition("==")[0] for pin in pins]
    usable = list[tuple[int, bool, str]]()
    for backend in map(load_backend, backend_names()):
        places = [[names.index(name) for name in each if name in names] for each in backend.providers]
        # What a remote one calls, nobody has said yet.
        if all(places) and (native or backend.native is None) and not backend.remote:
            usable.append((min(map(min, places)), backend.native is not None, backend.name))
    return [name for _, _, name in sorted(usable)]


def device_text(name: str, host: str, facts: BoardFacts, base: Device | None) -> str:
    """Write the text of a board's device file.

    Args:
        name: the device's.
        host: as it is written into the file.
        facts: what the board says of itself.
        base: the device that it extends; None where no known one fits.
    """
    memory = nominal_memory(facts.memory_mib, base)
    python = ".".join(facts.python.split(".")[:2])
    model = re.sub(r"[^\x20-\x7e]", "", facts.board) or f"{facts.cpu}, {facts.cores} cores"
    described = f"{model}, {memory / 1024:.3g} GB"
    if base is not None:
        return _extending(base, host, described, memory, python)
    return _complete(host, described, memory, python, facts)


def _extending(base: Device, host: str, described: str, memory: int, python: str) -> str:
    machine: dict[str, Any] = {"description": described, "host": host}
    if memory != base.memory_mib:
        machine["memory_mib"] = memory
    runtime: dict[str, Any] = {}
    if base.runtime.packages and python != base.runtime.python:
        runtime["python"] = python
        if pins_for(python) != pins_for(base.runtime.python or ""):
            runtime["packages"] = pins_for(python)
    head = f"# Written by hilgate add. What is not said here, {base.name} says.\n\nextends = {_toml(base.name)}\n"
    return head + _table("device", machine) + _table("runtime", runtime)


def _complete(host: str, described: str, memory: int, python: str, facts: BoardFacts) -> str:
    x86, glibc = facts.arch == "x86_64", facts.libc.startswith("glibc")
    machine: dict[str, Any] = {"description": described, "link": "ssh", "host": host, "arch": facts.arch}
    if facts.cpu not in ("", "unknown"):
        machine["cpu"] = facts.cpu
    machine |= {"memory_mib": memory} if memory else {}
    pins = [pin for pin in pins_for(python) if not (x86 and pin.startswith("torch=="))]
    backends = backends_for(pins, native=glibc)
    machine |= {"backends": backends, "threads": 1}
    runtime = {"python": python, "packages": pins} if glibc else {"environment": "/opt/hilgate"}
    left_out = [name for name in backends_for(pins_for(python), native=False) if name not in backends]
    x86_comment = X86_COMMENT.format(names=", ".join(left_out), listed=", ".join(map(_toml, left_out)))
    comment = NO_GLIBC_COMMENT if not glibc else x86_comment if x86 else ""
    return "# Written by hilgate add.\n" + _table("device", machine) + _table("runtime", runtime, comment)


def _table(name: str, values: Mapping[str, Any], comment: str = "") -> str:
    lines = "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())
    return f"\n[{name}]\n{comment}{lines}" if values else ""


def _toml(value: str | int | Sequence[str]) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        # JSON's strings are TOML's, save for DEL, and for half of a surrogate pair, which TOML cannot say. A person who
        # reads what a board said of itself sees all that is in it (issue 17).
        return re.sub(r"[^\x00-\x7e]", lambda found: _toml_character(found[0]), json.dumps(value, ensure_ascii=False))
    return f"[{', '.join(map(_toml, value))}]"


def _toml_character(character: str) -> str:
    if not is_hidden(character):
        return character
    number = ord(character)
    if 0xD800 <= number < 0xE000:
        return f"\\\\u{number:04x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def check_text(project: Project, name: str, text: str, base: Device | None) -> Device:
    """Load a device file's text as if it were in the project already.

    Raises:
        DeviceError: it would be wrong.
    """
    # A file that extends its own name means a later folder's; an older one of the project is about to go.
    later = (DEVICES,) if base is not None and base.name == name else project.folders
    with work_folder() as folder:
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
        return load_device(name, (folder, *later), known_metrics().values())
