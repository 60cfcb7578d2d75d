"""What the host and the agent expect of a backend: the types that a backend's file is read into."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import BackendError


class EngineType(Protocol):
    """The interface of a backend's ``Engine`` class, as the agent on the device uses it."""

    def __init__(self, settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        """Prepare the runtime without loading a model.

        Args:
            settings: "threads", "interop_threads" and "flush_denormals", which the engine must apply.
            options: the keys of ``[options.NAME]`` in the device file.
        """

    def load(self, artifact: str) -> None:
        """Load the artifact at this path."""

    def prepare(self, inputs: Mapping[str, Any]) -> Any:
        """Convert numpy arrays to what ``run`` takes, without copying them; not timed.

        The agent compares the arrays after the inference to detect a model that writes into its inputs.
        """

    def run(self, prepared: Any) -> Any:
        """Run one inference; this call is what is timed."""

    def arrays(self, raw: Any) -> Any:
        """Convert what ``run`` returned to numpy arrays, in the nesting that the artifact gives them."""

    def profile(self, take: Callable[[], Any], count: int) -> list[tuple[str, str, list[float]]]:
        """Time the operators of ``count`` inferences.

        Args:
            take: returns a prepared input; called anew for each inference.
            count: the number of inferences.

        Returns:
            For each operator: its kind, its name or "", and the nanoseconds of each of its calls, in order.
        """

    def output_names(self) -> list[str]:
        """Return the outputs' names; empty where the artifact has none and their nesting names them."""

    def versions(self) -> dict[str, str]:
        """Return the versions of the loaded runtime's packages by name."""

    def settings(self) -> dict[str, Any]:
        """Return the settings that are in force in the runtime."""


@dataclass(frozen=True, kw_only=True)
class Native:
    """The build recipe of a C++ backend's runner. Paths are relative to the package's folder, as in its wheel.

    Attributes:
        engine: name of the source file in harness/runners/engines.
        library: the runtime's main library, which the runner opens; "{version}" stands for the package's version.
        linked: further libraries that the engine is linked with.
        includes: folders of headers; empty where the package ships none and Debian's are used.
        opened: path prefix of the libraries that the runtime opens by name.
        stub: a library without code beside the main one, which libraries of operators need; "" for none.
    """

    engine: str
    library: str
    linked: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    opened: str = ""
    stub: str = ""

    def library_in(self, version: str) -> str:
        """Return the path of the runtime's main library in a version of the package."""
        return self.library.format(version=version.partition("+")[0])

    def linked_in(self, version: str) -> tuple[str, ...]:
        """Return the paths of all libraries that the engine is linked with, in a version of the package."""
        return (self.library_in(version), *self.linked)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: Any) -> bool:
    """Whether it is a whole number from 1 on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_positive(value: Any) -> bool:
    """Whether it is a finite number above 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= sys.float_info.max


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


# What a backend may require of an option's value, by name. In place of a name it may list the values, default first.
OPTION_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "texts": _is_texts,
    "text": _is_text,
    "count": _is_count,
    "positive": _is_positive,
    "flag": _is_flag,
}


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A backend as the host sees it, read from its file.

    Attributes:
        artifact: the export format that it runs.
        providers: for each package that it needs, the distribution names that provide it, the preferred one first.
        options: for each key of ``[options.NAME]``: the kind of its value (a key of OPTION_KINDS, or the allowed
            values with the default first), and a description for error messages.
        source: the backend's own file, which is shipped to the device.
        native: the build recipe of a C++ backend; None for one in Python.
        operators: whether libraries can register operators with it; see Model(imports=…).
        remote: whether it is a client on the device, and the model runs on another computer.
        cloud: whether that computer is in the cloud; such a one is remote, too.
    """

    name: str
    artifact: str
    providers: tuple[tuple[str, ...], ...]
    options: Mapping[str, tuple[str | tuple[str, ...], str]]
    source: Path
    native: Native | None = None
    operators: bool = False
    remote: bool = False
    cloud: bool = False

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that it needs, each by its preferred name."""
        return tuple(names[0] for names in self.providers)

    @property
    def defaults(self) -> dict[str, str]:
        """The values of the options that a device file leaves out."""
        return {key: kind[0] for key, (kind, _) in self.options.items() if isinstance(kind, tuple)}

    def check_options(self, options: Mapping[str, Any], where: str) -> None:
        """Reject options that this backend does not know, and values that it cannot use.

        Raises:
            BackendError: names the key and the values that are allowed.
        """
        for key in options:
            if key not in self.options:
                known = "; ".join(f"{name} = {what}" for name, (_, what) in self.options.items()) or "no options"
                raise BackendError(
                    f"unknown option {key!r} of backend {self.name}", wanted=known, found=repr(key), where=where
                )
            kind, what = self.options[key]
            if not (options[key] in kind if isinstance(kind, tuple) else OPTION_KINDS[kind](options[key])):
                raise BackendError(
                    f"option {key!r} of backend {self.name} is not usable",
                    wanted=what,
                    found=repr(options[key]),
                    where=where,
                )
