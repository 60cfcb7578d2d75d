"""Export formats: found by their files, checked, and read into a Format.

A file ``harness/export/NAME.py`` is a format if it defines

    FILE                         the name of the exported file; its suffix tells people what it is
    EXPORTERS                    LABEL: FUNCTION of all exporters (see Exporter); a model file may choose a label
    exporters(module)            those that are tried for a module, by label, in order
    opened(folder, label)        a function that runs the exported file on this host; None where that cannot be done
    read_interface(path, model)  the inputs and outputs of a file that a model file gives in place of an export

and, where it can do more,

    correct_shapes(folder, seen)          the shapes that the file declares, once wrong ones are removed from it
    node_modules(path)                    for nodes by name: the module of the model that each came from
    node_types(path, operator, name)      the element types that a node computes with
    refusal_hint(found, given)            what to do about a runtime that refuses the file in these words; "" where
                                          that is not known
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ExportError
from ..host.plugins import check_module, function, load_module, module_names
from ..model.inputs import Arrays
from ..model.model import Model
from .given import Interface
from .shapes import Declared, Shapes

if TYPE_CHECKING:
    import torch

PACKAGE = "harness.export"

# An exporter: takes the module, its model, the outputs' names and an empty folder; writes files into the folder and
# returns their names, the one that a runtime opens first.
Exporter = Callable[["torch.nn.Module", Model, Sequence[str], Path], Sequence[str]]
# An exported file that was opened: takes arrays by input and returns the outputs.
Run = Callable[[Arrays], Any]


def _no_modules(path: Path) -> Mapping[str, str]:
    return {}


def _no_types(path: Path, operator: str, name: str) -> Sequence[str]:
    return []


def _no_hint(found: str, given: str) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Format:
    """An export format, read from its file; see above for each attribute.

    Attributes:
        source: the format's own file.
        file: its FILE.
        exporters: its EXPORTERS.
        choose: its exporters().
        open: its opened().
        correct_shapes: None where a file says nothing of shapes.
    """

    name: str
    source: Path
    file: str
    exporters: Mapping[str, Exporter]
    choose: Callable[[torch.nn.Module], Mapping[str, Exporter]]
    open: Callable[[Path, str], Run | None]
    read_interface: Callable[[Path, Model], Interface]
    correct_shapes: (
        Callable[[Path, Iterable[tuple[Mapping[str, int], Shapes]]], tuple[Declared, Sequence[str]]] | None
    ) = None
    node_modules: Callable[[Path], Mapping[str, str]] = _no_modules
    node_types: Callable[[Path, str, str], Sequence[str]] = _no_types
    refusal_hint: Callable[[str, str], str] = _no_hint


def load_format(name: str) -> Format:
    """Load an export format by its name, which is that of its file.

    Raises:
        ExportError: there is no such file; or it cannot be imported, or lacks what a format must have.
    """
    if name not in module_names(PACKAGE):
        raise ExportError(
            f"there is no export format {name!r}",
            wanted=f"a file {name}.py in harness/export, or in the folder export of plug-ins",
            found="none of that name",
            hint="add it, or correct ARTIFACT in the backend's file (CONTRIBUTING.md)",
        )
    module: Any = load_module(PACKAGE, name, REQUIRED, "export format", ExportError)
    more = {key: getattr(module, key) for key in OPTIONAL if hasattr(module, key)}
    check_module(module, {key: OPTIONAL[key] for key in more}, "export format", ExportError)
    return Format(
        name=name,
        source=Path(module.__file__),
        file=module.FILE,
        exporters=module.EXPORTERS,
        choose=module.exporters,
        open=module.opened,
        read_interface=module.read_interface,
        **more,
    )


def exporter_labels(artifact_format: str) -> list[str]:
    """List the exporters of a format, by the labels that a model file may choose from.

    Raises:
        ExportError: as load_format.
    """
    return list(load_format(artifact_format).exporters)


def _file_problem(value: Any) -> str:
    is_name = isinstance(value, str) and value not in ("", ".", "..") and "/" not in value
    return "" if is_name else f"it is {value!r}"


def _exporters_problem(value: Any) -> str:
    if not isinstance(value, Mapping) or not value:
        return f"it is {value!r}"
    usable = {key: isinstance(key, str) and callable(exporter) for key, exporter in value.items()}
    return next((f"it has {key!r}: {value[key]!r}" for key, is_usable in usable.items() if not is_usable), "")


Contract = dict[str, tuple[Callable[[Any], str], str]]
REQUIRED: Contract = {
    "FILE": (_file_problem, 'the name of the exported file, such as FILE = "model.onnx"'),
    "EXPORTERS": (_exporters_problem, "a dict of exporters, LABEL: FUNCTION; see harness.export.formats.Exporter"),
    "exporters": (function, "exporters(module): the exporters to try, in order"),
    "opened": (function, "opened(folder, label): a function that runs the exported file on this host, or None"),
    "read_interface": (function, "read_interface(path, model): the inputs and outputs of a given file"),
}
OPTIONAL: Contract = {
    "correct_shapes": (function, "correct_shapes(folder, seen): the shapes that the file declares, corrected"),
    "node_modules": (function, "node_modules(path): the model's module that each node came from"),
    "node_types": (function, "node_types(path, operator, name): the element types that a node computes with"),
    "refusal_hint": (function, "refusal_hint(found, given): what to do about a runtime that refuses the file"),
}
