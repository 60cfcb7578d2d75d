"""Which of the model's modules each node of an exported graph came from."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

# The name under which the exporters see the user's module: see harness.export.example.laid_flat.
WRAPPED = "model"
# The older exporter counts the calls of a module that is called again.
CALL = re.compile(r"_\d+\Z")

Stack = tuple[str, ...]


def node_scopes(
    nodes: Sequence[onnx.NodeProto], modules: Collection[str], unnamed: Collection[str] = ()
) -> list[Stack]:
    """List, for each node, the modules that it is in, outermost first; () is the model itself.

    Args:
        nodes: of the graph, in order.
        modules: the names of all the model's modules.
        unnamed: of these the ones that the older exporter leaves out of its paths: every ModuleDict.
    """
    noted = [_noted(node, modules, unnamed) for node in nodes]
    producers = {name: index for index, node in enumerate(nodes) for name in node.output}
    for index, node in enumerate(nodes):
        if noted[index] is None:  # a rewrite of the exporter's: it belongs to what it continues
            noted[index] = next((noted[producers[name]] for name in node.input if name in producers), None)
    followers = _followers(nodes, noted)
    return [stack if stack is not None else followers.get(index, ()) for index, stack in enumerate(noted)]


def _noted(node: onnx.NodeProto, modules: Collection[str], unnamed: Collection[str]) -> Stack | None:
    notes = {note.key.rpartition(".")[2]: note.value for note in node.metadata_props}
    if "name_scopes" in notes:
        *scopes, _ = ast.literal_eval(notes["name_scopes"])
        names = (scope.partition("@")[0].removeprefix(WRAPPED).lstrip(".") for scope in scopes)
        return tuple(name for name in names if name)
    if node.name.startswith("/"):
        return _from_path(node.name, modules, unnamed)
    return None


def _from_path(path: str, modules: Collection[str], unnamed: Collection[str]) -> Stack:
    """Read the older exporter's paths, such as "/model/layers/layers.0/linear_1/Gemm".

    A module's name begins anew in a container.

    Of a name that may be one of two, the path ends before it: no module is better than a wrong one.
    """
    stack: list[str] = []
    before = ""
    for part in path.split("/")[1:-1]:
        if not stack and not before and part == WRAPPED:
            before = WRAPPED
            continue
        parent = stack[-1] if stack else ""
        found = _children(parent, before, part, modules, unnamed) or _children(
            parent, before, CALL.sub("", part), modules, unnamed
        )
        if len(found) != 1:
            break
        stack += found
        before = part
    return tuple(stack)


def _children(parent: str, before: str, part: str, modules: Collection[str], unnamed: Collection[str]) -> list[str]:
    last = CALL.sub("", before)
    inside = part.removeprefix(last + ".") if part.startswith(last + ".") else ""
    prefix = f"{parent}." if parent else ""
    own = next((f"{prefix}{name}" for name in (part, inside) if name and f"{prefix}{name}" in modules), None)
    others = [f"{one}.{part}" for one in unnamed if one.rpartition(".")[0] == parent and f"{one}.{part}" in modules]
    return [*([own] if own is not None else []), *others]


def _followers(nodes: Sequence[onnx.NodeProto], noted: Sequence[Stack | None]) -> Mapping[int, Stack]:
    """Find the modules of nodes without a note, and without a noted node before them: that of their first user."""
    users: dict[str, Stack] = {}
    result: dict[int, Stack] = {}
    for index in reversed(range(len(nodes))):
        stack = noted[index]
        if stack is None:
            stack = next((users[name] for name in nodes[index].output if name in users), ())
            result[index] = stack
        users.update(dict.fromkeys(nodes[index].input, stack))
    return result
