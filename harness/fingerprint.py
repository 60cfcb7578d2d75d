"""What a module is, as hashes: its weights one by one, and everything else that its answers depend on."""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

if TYPE_CHECKING:
    import torch


def tensor_sha256(tensor: torch.Tensor) -> str:
    """A hash of a tensor's type, shape and elements."""
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()


def weight_hashes(module: torch.nn.Module) -> dict[str, str]:
    """A hash of every parameter and buffer, the ones that are not saved included, by its name."""
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {name: tensor_sha256(tensor) for name, tensor in named}


def module_sha256(module: torch.nn.Module) -> str:
    """A hash of a module: its tree, its tensors, its attributes, the code of its own classes and what that refers to.

    It is the hash of what cloudpickle would write, were all of the user's own Python modules to be sent along; code
    that is installed is named only, so whoever uses this adds the installed versions. Equal modules mostly hash
    alike; different ones never do.

    Raises:
        Exception: some attribute cannot be pickled; whatever pickle raises.
    """
    sink = _HashSink()
    with _pickled_by_value(_own_modules()):
        _Pickler(sink, protocol=4).dump(module)
    return sink.digest.hexdigest()


class _HashSink(io.RawIOBase):
    def __init__(self) -> None:
        super().__init__()
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def persistent_id(self, obj: Any) -> Any:
        """Tensors by their hash: a model of gigabytes is never copied."""
        import torch

        if isinstance(obj, torch.Tensor) and obj.layout == torch.strided and not obj.is_quantized:
            return type(obj).__name__, tensor_sha256(obj)
        return None

    def reducer_override(self, obj: Any) -> Any:
        """The user's own classes by their content, without the random identifier that cloudpickle gives them.

        The content comes as state, hence after the class is known to the pickler: a method may refer to its own class.
        """
        if isinstance(obj, type) and obj.__module__ in cloudpickle.list_registry_pickle_by_value():
            content = {key: value for key, value in sorted(vars(obj).items()) if key not in _NOT_CONTENT}
            return type, (obj.__qualname__, obj.__bases__, {}), content
        return super().reducer_override(obj)


# Made anew for each class object, and nothing that its author wrote.
_NOT_CONTENT = {"__dict__", "__weakref__", "_abc_impl"}


def _own_modules() -> list[ModuleType]:
    """Python modules that are neither installed, nor the standard library's, nor hilgate's: the user's own."""
    paths = sysconfig.get_paths()
    foreign = [Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    foreign.append(Path(__file__).resolve().parent)
    found = []
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if name == "__main__" or not path or getattr(module, "__name__", "") != name:
            continue
        resolved = Path(path).resolve()
        if not any(resolved.is_relative_to(folder) for folder in foreign):
            found.append(module)
    return found


@contextlib.contextmanager
def _pickled_by_value(modules: list[ModuleType]) -> Iterator[None]:
    already = cloudpickle.list_registry_pickle_by_value()
    fresh = [module for module in modules if module.__name__ not in already]
    try:
        for module in fresh:
            cloudpickle.register_pickle_by_value(module)
        yield
    finally:
        for module in fresh:
            cloudpickle.unregister_pickle_by_value(module)
