"""The tables of a device file and their keys, as pydantic models."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from ..host.file_table import FileTable, described_keys

BACKEND_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]*\Z")
_Backend = Annotated[str, Field(pattern=BACKEND_NAME)]
_PACKAGE = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?==[0-9][A-Za-z0-9.!+_-]*\Z")
# Not strict, so that TOML's lists become tuples; their items stay strict.
_Packages = Annotated[tuple[Annotated[str, Field(pattern=_PACKAGE)], ...], Field(strict=False)]
_Backends = Annotated[tuple[_Backend, ...], Field(strict=False)]


class Runtime(FileTable):
    """The table [runtime]: the libraries on the device, shipped (``packages``) or already there (``environment``)."""

    python: str | None = Field(None, pattern=r"^(3\.[0-9]+|/.+)$", description='3.X or absolute path: python = "3.11"')
    packages: _Packages = Field((), description='a list of exact pins, name==version: packages = ["torch==2.9.1"]')
    environment: str | None = Field(None, pattern="^/", description='absolute path there: environment = "/opt/venv"')

    @property
    def program(self) -> str | None:
        """The path of the Python to use: the environment's, or ``python`` if that is a path; None if neither is."""
        if self.environment:
            return f"{self.environment}/bin/python"
        return self.python if self.python and self.python.startswith("/") else None


class Rules(FileTable):
    """The table [rules]: what is allowed where the device is used."""

    offline: bool = Field(False, description="true or false: offline = true")
    onboard: bool = Field(False, description="true or false: onboard = true")


class Measure(FileTable):
    """The table [measure]: how durations are taken there."""

    block_ms: float = Field(
        100.0,
        gt=0,
        allow_inf_nan=False,
        description="milliseconds, above 0, that inferences judged together last: block_ms = 100",
    )


class Machine(FileTable):
    """The table [device]: the machine."""

    description: str = Field(min_length=1, description='a text: description = "Raspberry Pi 4 Model B, 4 GB"')
    link: str = Field(pattern="^[a-z0-9_]+$", description='the name of a link: link = "ssh"')
    backends: _Backends = Field(description='a list of names, at least one: backends = ["onnxruntime", "libtorch"]')
    optional: _Backends = Field((), description='a list of its C++ backends: optional = ["libtorch"]')
    # Not with a leading dash, which ssh would take for an option.
    host: str | None = Field(None, pattern=r"^[^\s-]\S*$", description='ssh name, [user@]address[:port]: host = "pi4"')
    store: str | None = Field(None, pattern="^(/|~/).", description='a folder there: store = "/mnt/ssd/hilgate"')
    arch: Literal["x86_64", "aarch64"] | None = Field(None, description='x86_64 or aarch64: arch = "aarch64"')
    cpu: str | None = Field(None, min_length=1, description='the name of a CPU: cpu = "cortex-a72"')
    memory_mib: int | None = Field(None, ge=1, description="a whole number ≥ 1: memory_mib = 4096")
    threads: int = Field(1, ge=1, description="a whole number ≥ 1: threads = 4")
    interop_threads: int = Field(1, ge=1, description="a whole number ≥ 1: interop_threads = 2")
    flush_denormals: bool = Field(False, description="true or false: flush_denormals = true")


class File(FileTable):
    """A whole device file."""

    device: Machine = Field(description="a table with description, link and backends: [device]")
    runtime: Runtime = Field(Runtime(), description="a table: [runtime]")
    limits: dict[str, object] = Field({}, description="a table of metrics and numbers: [limits]")
    options: dict[_Backend, dict[str, object]] = Field({}, description="tables, one a backend: [options.onnxruntime]")
    rules: Rules = Field(Rules(), description="a table: [rules]")
    measure: Measure = Field(Measure(), description="a table: [measure]")
    extends: None = Field(
        None, description="a device: extends = 'pi4'"
    )  # declared only for its name in messages: it is removed before validation


# All keys with their descriptions: "device.host".
KEYS = described_keys({"": File, "device.": Machine, "runtime.": Runtime, "rules.": Rules, "measure.": Measure})
