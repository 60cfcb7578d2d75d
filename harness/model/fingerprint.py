"""Fingerprints: hashes of a module's weights one by one, and of everything else that its outputs depend on."""

from __future__ import annotations

import dis
import functools
import hashlib
import io
import sys
from collections.abc import Iterable, Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path, PurePath
from types import CodeType, FunctionType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from ..errors import ModelError
from .user_code import is_installed, words

if TYPE_CHECKING:
    import torch


def tensor_sha256(tensor: torch.Tensor) -> str:
    """Hash a tensor's type, shape and elements."""
    import torch

    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()


def weight_hashes(module: torch.nn.Module, where: str = "") -> dict[str, str]:
    """Hash every parameter and buffer of a module, buffers that are not saved included.

    Args:
        module: The module.
        where: The model file, for messages.

    Returns:
        The hashes by name.

    Raises:
        ModelError: One of them has no plain numbers, which every backend needs; the message names it.
    """
    parameters, buffers = module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)
    named = [
        *((name, "parameter", tensor) for name, tensor in parameters),
        *((name, "buffer", tensor) for name, tensor in buffers),
    ]
    return {name: _weight_sha256(f"{kind} {name}", tensor, where) for name, kind, tensor in named}


def _weight_sha256(name: str, tensor: torch.Tensor, where: str) -> str:
    try:
        return tensor_sha256(tensor)
    except Exception as error:
        found, hint = _explain_unusual(tensor)
        raise ModelError(
            f"{name} has no plain numbers",
            wanted="parameters and buffers that are dense tensors with values",
            found=f"{name} {found} ({words(error).splitlines()[0]})",
            where=where,
            hint=hint,
        ) from error


def _explain_unusual(tensor: torch.Tensor) -> tuple[str, str]:
    """Explain why a tensor has no plain numbers, and what to do about it."""
    import torch

    if torch.nn.parameter.is_lazy(tensor):
        return "is lazy: it has no size yet", "run the module once in build(), on an input of the right size"
    if tensor.layout != torch.strided:
        kind = str(tensor.layout).removeprefix("torch.")
        return f"is sparse ({kind})", "make it dense in build(): .to_dense(), and the product with it an ordinary one"
    if tensor.device.type == "meta":
        return "is on the device meta, without values", "load the weights in build(): to_empty(device='cpu') has none"
    if tensor.is_quantized:
        hint = ".dequantize() it in build(); or quantize the exported file, Model(files={…})"
        return f"is quantized ({tensor.qscheme()})", hint
    kind = type(tensor).__name__
    hint = "make a plain tensor of it in build(); or quantize the exported file instead, Model(files={…})"
    return f"is a {kind}, a subclass of torch.Tensor", hint


def module_sha256(module: torch.nn.Module, tree: Path | None = None) -> str:
    """Hash a module: its tree, its tensors, its attributes, and the user's own code that it can reach.

    The user's own code is what is neither installed, nor in the standard library, nor part of hilgate. Own functions
    and classes are hashed with their bytecode and every global that they name, recursively; an own Python module that
    they name or import is hashed as a whole. Tensors are hashed with their strides, and with which of them share
    memory. Installed code is hashed by name only: the caller adds the installed versions, and torch's global settings.
    What forward reads from outside while it runs (files, environment variables, modules imported by a computed name)
    is not seen. Folders, line numbers and comments do not count.

    Equal modules mostly have equal hashes, in every process; different modules have different ones.

    Args:
        module: The module.
        tree: A folder: paths below it count relative to it, so that a copy of it elsewhere has the same hash.

    Raises:
        Exception: An attribute cannot be pickled, or is compiled code of the user's own; whatever pickle raises.
    """
    return _digest(module, _own_modules(), tree)


def code_sha256(function: Any, tree: Path | None = None) -> str:
    """Hash a callable, and the user's own code that it can reach, as module_sha256 does.

    Raises:
        Exception: As module_sha256.
    """
    return _digest(function, _own_modules(), tree)


def _digest(value: Any, own: Mapping[str, ModuleType], tree: Path | None) -> str:
    sink = _HashSink()
    _Pickler(sink, own, tree).dump(value)
    return sink.digest.hexdigest()


class _HashSink(io.RawIOBase):
    def __init__(self) -> None:
        super().__init__()
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)


class _StandIn:
    """The class under which an object's content is pickled: (_StandIn, a name, the content). It is never unpickled."""


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """A pickler whose output depends on an object's content alone, and is the same in every process.

    Content is passed as state, which pickle writes after it has memoized the object: a method may refer to its class.
    """

    def __init__(self, sink: io.RawIOBase, own: Mapping[str, ModuleType], tree: Path | None) -> None:
        super().__init__(sink, protocol=4)
        self.own, self.tree = own, tree
        # Each tensor's number, by its id. The tensor is held, so that no other one gets its id or its memory.
        self.tensors: dict[int, tuple[int, torch.Tensor]] = {}
        self.storages: dict[tuple[str, int], int] = {}

    def persistent_id(self, obj: Any) -> Any:
        """Replace what pickle would write by identity or order.

        Tensors are replaced by their hash, because a model of gigabytes must not be copied; texts by their content,
        because two equal ones may be one object or two; sets by their members' hashes, sorted, because their order
        changes from process to process.
        """
        import torch

        if isinstance(obj, (str, bytes)):
            data = self._portable(obj).encode("utf-8", "surrogatepass") if isinstance(obj, str) else obj
            return int.from_bytes(hashlib.sha256(type(obj).__name__.encode() + b" " + data).digest(), "big")
        if isinstance(obj, torch.Tensor) and obj.layout == torch.strided:
            return _quantized(obj) if obj.is_quantized else self._tensor(obj)
        if type(obj) in (set, frozenset):
            return type(obj).__name__, *sorted(_digest(member, self.own, self.tree) for member in obj)
        return None

    def _portable(self, text: str) -> str:
        """Return a path below the tree relative to it, and any other text as it is."""
        if self.tree is None or not text.startswith(str(self.tree)):
            return text
        path = PurePath(text)
        return f"<tree>/{path.relative_to(self.tree)}" if path.is_relative_to(self.tree) else text

    def _tensor(self, tensor: torch.Tensor) -> tuple[Any, ...]:
        """Describe a tensor: its hash, its layout, and the number of its storage, in the order of first use.

        Weights that share memory are exported as one, and strides decide which operators are exported.
        """
        if id(tensor) in self.tensors:
            return "tensor", self.tensors[id(tensor)][0]
        self.tensors[id(tensor)] = len(self.tensors), tensor
        device = str(tensor.device)
        place = (device, tensor.untyped_storage().data_ptr())
        storage = self.storages.setdefault(place, len(self.storages))
        layout = (device, tensor.stride(), tensor.storage_offset(), storage, tensor.requires_grad)
        return type(tensor).__name__, tensor_sha256(tensor), layout, vars(tensor)

    def reducer_override(self, obj: Any) -> Any:
        """Pickle by content what pickle would write by name, or cloudpickle with paths and random identifiers."""
        if isinstance(obj, PurePath):
            return _StandIn, ("path", type(obj).__name__), (str(obj),)
        if _is_parametrized(obj):  # torch refuses to pickle it
            return _StandIn, ("parametrized", type(obj)), vars(obj)
        if isinstance(obj, CodeType):
            return _StandIn, ("code",), tuple(getattr(obj, name) for name in _CODE)
        if isinstance(obj, ModuleType) and obj.__name__ in self.own:
            _refuse_compiled(obj)
            return _StandIn, ("module", obj.__name__), _content(vars(obj), _MACHINERY)
        if isinstance(obj, FunctionType) and self._by_value(obj):
            return _StandIn, ("function", obj.__qualname__), self._function(obj)
        if isinstance(obj, type) and self._by_value(obj):
            _refuse_compiled(self.own.get(obj.__module__))
            return _StandIn, ("class", obj.__qualname__, type(obj), obj.__bases__), _content(vars(obj), _NOT_CONTENT)
        if isinstance(obj, (staticmethod, classmethod)):
            return _StandIn, (type(obj).__name__,), (obj.__func__, vars(obj))
        if isinstance(obj, MappingProxyType):
            return _StandIn, ("mapping",), dict(obj)
        if isinstance(obj, functools.cached_property):  # before Python 3.12 it holds a lock, which cannot be pickled
            return _StandIn, ("cached_property",), obj.func
        return self._by_name(obj) or super().reducer_override(obj)

    def _by_value(self, obj: Any) -> bool:
        """Tell whether a function or class is hashed by content: it is the user's, or its name leads elsewhere."""
        if obj.__module__ in self.own:
            return True
        named: Any = sys.modules.get(obj.__module__)
        for name in obj.__qualname__.split("."):
            named = getattr(named, name, None)
        return named is not obj

    def _function(self, function: FunctionType) -> tuple[Any, ...]:
        """Collect what a function's behaviour depends on: code, defaults, closure, globals and imports."""
        names, imports = _names(function.__code__)
        used = {name: function.__globals__[name] for name in sorted(names) if name in function.__globals__}
        modules = [
            module
            for name, module in sorted(self.own.items())
            if any(name == imported or name.endswith("." + imported) for imported in imports)
        ]
        cells = [_cell_content(cell) for cell in function.__closure__ or ()]
        defaults = (function.__defaults__, function.__kwdefaults__)
        return function.__code__, defaults, cells, used, modules, vars(function), function.__annotations__

    def _by_name(self, obj: Any) -> Any:
        """Reduce objects of the user's own that pickle writes by name only, such as a function behind lru_cache."""
        if isinstance(obj, (type, FunctionType)) or getattr(obj, "__module__", None) not in self.own:
            return None
        if type(obj).__module__ == "typing":
            return _StandIn, (repr(obj),)
        if not isinstance(name := obj.__reduce_ex__(4), str):
            return None
        if not hasattr(obj, "__wrapped__"):
            raise TypeError(f"what {obj.__module__}.{name} is cannot be told from its name")
        return _StandIn, ("wrapped", name), obj.__wrapped__


_CODE = (
    *("co_code", "co_consts", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_exceptiontable"),
    *("co_flags", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_name"),
)
# Attributes that Python makes anew for each class object; and __doc__, on which no output depends (that of a dataclass
# shows a set's members in any order).
_NOT_CONTENT = {"__dict__", "__weakref__", "_abc_impl", "__static_attributes__", "__firstlineno__", "__doc__"}
# Attributes of a module that say how it was imported, or that Python and pytest add.
_MACHINERY = {
    *("__file__", "__cached__", "__spec__", "__loader__", "__path__", "__builtins__", "__warningregistry__"),
    *("__doc__", "@py_builtins", "@pytest_ar"),
}


def _quantized(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Describe a quantized tensor, which pickle would write with its address: its integers, and what they stand for."""
    import torch

    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        scales: tuple[Any, ...] = (tensor.q_scale(), tensor.q_zero_point())
    else:
        axis = tensor.q_per_channel_axis()
        scales = (tensor_sha256(tensor.q_per_channel_scales()), tensor_sha256(tensor.q_per_channel_zero_points()), axis)
    return "quantized", str(tensor.dtype), str(tensor.qscheme()), tensor_sha256(tensor.int_repr()), *scales


def _is_parametrized(value: Any) -> bool:
    from torch.nn import Module
    from torch.nn.utils.parametrize import is_parametrized

    return isinstance(value, Module) and is_parametrized(value)


def _content(values: Mapping[str, Any], without: set[str]) -> dict[str, Any]:
    return {key: value for key, value in sorted(values.items()) if key not in without}


def _cell_content(cell: Any) -> Any:
    try:
        return [cell.cell_contents]
    except ValueError:  # not yet set
        return []


def _names(code: CodeType) -> tuple[set[str], set[str]]:
    """Collect the globals that code names and the modules that it imports, inner functions included."""
    names, imports = set(), set()
    for step in dis.get_instructions(code):
        if step.opname in ("IMPORT_NAME", "IMPORT_FROM"):
            imports.add(step.argval)
        elif step.opname.endswith(("_GLOBAL", "_NAME", "_OR_GLOBALS")):
            names.add(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner_names, inner_imports = _names(constant)
            names |= inner_names
            imports |= inner_imports
    return names, imports - {""}


def _refuse_compiled(module: ModuleType | None) -> None:
    if str(getattr(module, "__file__", "")).endswith(tuple(EXTENSION_SUFFIXES)):
        raise TypeError(f"what compiled code does cannot be told: {module}")


def _own_modules() -> dict[str, ModuleType]:
    """List the user's own modules: not installed, not in the standard library, not part of hilgate."""
    own = {}
    for name, module in list(sys.modules.items()):
        if name == "__main__" or getattr(module, "__name__", "") != name:
            continue
        places = list(_places(module))
        if places and not any(is_installed(place) for place in places):
            own[name] = module
    return own


def _places(module: ModuleType) -> Iterable[str]:
    """Return a module's file; for a package without one, its folders."""
    path = getattr(module, "__file__", None)
    return [path] if path else getattr(module, "__path__", ())
