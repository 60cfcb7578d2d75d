"""The hash of a module: it changes with everything that an answer depends on, and with nothing else."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch

from harness.model.fingerprint import module_sha256, tensor_sha256, weight_hashes

NET = """
import enum
import functools
import os
from dataclasses import dataclass, field

import names.far
import parts
import torch
from parts import apart, remembered

SCALE = float(os.environ.get("HILGATE_TEST_SCALE", "1.5"))


class Mode(enum.Enum):
    FAST = 1


@dataclass(frozen=True)
class Config:
    mode: Mode = Mode.FAST
    words: frozenset = frozenset({"one", "two", "three", "four"})
    sizes: dict = field(default_factory=lambda: {"a": 1})


def times(factor):
    def multiply(x):
        return x * factor
    return multiply


class Base(torch.nn.Module):
    eps = 1e-5

    @torch.no_grad()
    def before(self, x):
        return x - self.eps


class Net(Base):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.register_buffer("kept", torch.zeros(2), persistent=False)
        self.constant = torch.full((3,), 0.25)
        self.config = Config()
        self.activation = times(2.0)
        self.part = functools.partial(apart, y=1)
        self.limit = 4

    @staticmethod
    def halved(x):
        return x / 2

    @classmethod
    def shifted(cls, x):
        return x + cls.eps

    @functools.cached_property
    def table(self):
        return 7

    @property
    def bound(self):
        return 8

    def forward(self, x, bias=0.5):
        from late import later
        x = self.before(x) * SCALE + bias
        if "one" in {"one", "two", "three", "four", "five"}:
            x = parts.near(apart(x)) + names.far.away(x) + remembered(3)
        return later(self.activation(x))  # a comment


net = Net().eval()
"""
FILES = {
    "net.py": NET,
    "parts.py": """
import functools
def near(x):
    return inner(x) + 1
def inner(x):
    return x * 3
def apart(x, y=0):
    return x + OFFSET + y
OFFSET = 2
@functools.lru_cache
def remembered(n):
    return n + 1
""",
    "late.py": "def later(x):\n    return x + 1\n",
    "names/far.py": "def away(x):\n    return x + 1\n",  # names is a namespace package: it has no __init__.py
}

Sha = Callable[[str, Mapping[str, str]], str]


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def sha(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sha]:
    """Writes files into a folder, imports net.py there as a process of its own would, and hashes its ``net``."""
    before = set(sys.modules)

    def forget() -> None:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("net", "parts", "late", "names"):
                del sys.modules[name]

    def hash_files(folder: str, files: Mapping[str, str]) -> str:
        forget()
        write(tmp_path / folder, files)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(tmp_path / folder))
            net = importlib.import_module("net").net
            net(torch.ones(3))
            return module_sha256(net)

    yield hash_files
    forget()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("net.py", "torch.ones(3)", "torch.ones(3) * 2", id="weight"),
        pytest.param("net.py", "torch.zeros(2)", "torch.ones(2)", id="buffer-that-is-not-saved"),
        pytest.param("net.py", "(3,), 0.25", "(3,), 0.5", id="tensor-as-a-plain-attribute"),
        pytest.param("net.py", "self.limit = 4", "self.limit = 5", id="plain-attribute"),
        pytest.param("net.py", "FAST = 1", "FAST = 2", id="value-of-an-enumeration"),
        pytest.param("net.py", '{"a": 1}', '{"a": 2}', id="attribute-of-a-dataclass"),
        pytest.param("net.py", '"four"})', '"for"})', id="member-of-a-set"),
        pytest.param("net.py", "times(2.0)", "times(3.0)", id="closure"),
        pytest.param("net.py", "x * factor", "x / factor", id="inner-function"),
        pytest.param("net.py", "apart, y=1", "apart, y=2", id="partial"),
        pytest.param("net.py", "x / 2", "x / 3", id="static-method"),
        pytest.param("net.py", "x + cls.eps", "x - cls.eps", id="class-method"),
        pytest.param("net.py", "return 7", "return 70", id="cached-property"),
        pytest.param("net.py", "return 8", "return 80", id="property"),
        pytest.param("net.py", "* SCALE + bias", "/ SCALE + bias", id="forward"),
        pytest.param("net.py", "bias=0.5", "bias=0.25", id="default-of-a-parameter"),
        pytest.param("net.py", "eps = 1e-5", "eps = 1e-6", id="attribute-of-a-base-class"),
        pytest.param("net.py", "return x - self.eps", "return x + self.eps", id="decorated-method"),
        pytest.param("net.py", '"1.5"', '"2.5"', id="global"),
        pytest.param("net.py", '"three", "four", "five"', '"three", "five"', id="set-in-the-code"),
        pytest.param("parts.py", "+ OFFSET + y", "- OFFSET + y", id="function-imported-by-name"),
        pytest.param("parts.py", "inner(x) + 1", "inner(x) + 2", id="function-of-an-imported-module"),
        pytest.param("parts.py", "x * 3", "x * 4", id="function-that-a-function-calls"),
        pytest.param("parts.py", "OFFSET = 2", "OFFSET = 3", id="global-of-another-module"),
        pytest.param("parts.py", "n + 1", "n + 2", id="function-behind-lru-cache"),
        pytest.param("late.py", "x + 1", "x + 2", id="function-imported-in-forward"),
        pytest.param("names/far.py", "x + 1", "x + 2", id="function-in-a-namespace-package"),
    ],
)
def test_it_changes_with(sha: Sha, name: str, old: str, new: str) -> None:
    assert FILES[name].count(old) == 1
    changed = {**FILES, name: FILES[name].replace(old, new)}
    assert sha("a", FILES) != sha("b", changed)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("net.py", "", "", id="folder"),
        pytest.param("net.py", "a comment", "another", id="comment"),
        pytest.param("net.py", "class Mode", "\n\n\nclass Mode", id="line-number"),
        pytest.param("net.py", "net = Net()", "unused = 3\nnet = Net()", id="global-that-nobody-names"),
    ],
)
def test_it_does_not_change_with(sha: Sha, name: str, old: str, new: str) -> None:
    assert sha("a", FILES) == sha("b/c", {**FILES, name: FILES[name].replace(old, new)})


def test_a_global_read_from_the_environment_counts(sha: Sha, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sha("a", FILES)
    monkeypatch.setenv("HILGATE_TEST_SCALE", "1.75")
    assert sha("b", FILES) != first


def test_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Whatever the order of sets, and whether Python compiled the source or read what it had compiled before."""
    write(tmp_path, FILES)
    program = "import net, sys; from harness.model.fingerprint import module_sha256; print(module_sha256(net.net))"
    path = os.pathsep.join([str(tmp_path), *sys.path])

    def start(hash_seed: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed, "PYTHONDONTWRITEBYTECODE": ""}
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", program], env=environment, text=True, stdout=subprocess.PIPE
        )

    first, _ = start("0").communicate(timeout=60)
    both = [start("1"), start("2")]
    assert [process.communicate(timeout=60)[0] for process in both] == [first, first]
    assert len(first.strip()) == 64


class Holding(torch.nn.Module):
    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param((number for number in [1]), id="generator"),
        pytest.param(sys.stdout, id="open-file"),
        pytest.param(threading.Thread(), id="thread"),
    ],
)
def test_a_module_that_cannot_be_pickled_raises(value: object) -> None:
    with pytest.raises(TypeError):
        module_sha256(Holding(value))


def linears(*, tied: bool) -> torch.nn.Module:
    """Two layers with equal weights."""
    net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
    weight = torch.nn.Parameter(torch.ones(2, 2))
    net[0].weight, net[1].weight = weight, weight if tied else torch.nn.Parameter(torch.ones(2, 2))
    return net


def scaled(factor: int) -> torch.Tensor:
    """A tensor with an attribute, which refers to the tensor too."""
    tensor = torch.ones(2)
    tensor.notes = {"factor": factor, "of": tensor}  # type: ignore[attr-defined]
    return tensor


def quantized(scale: float, *, by_channel: bool) -> torch.Tensor:
    """Zeros, which are the same integers with every scale."""
    with warnings.catch_warnings():  # deprecated, and still in models that people deploy
        warnings.simplefilter("ignore")
        if by_channel:
            scales, zeros = torch.tensor([scale, 1.0]), torch.zeros(2, dtype=torch.int64)
            return torch.quantize_per_channel(torch.zeros(2, 3), scales, zeros, axis=0, dtype=torch.qint8)
        return torch.quantize_per_tensor(torch.zeros(2, 3), scale, 0, torch.qint8)


BASE = torch.ones(1, 2, 3, 3)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(BASE, BASE.to(memory_format=torch.channels_last), id="memory-format"),
        pytest.param(linears(tied=True), linears(tied=False), id="tied-weights"),
        pytest.param([BASE, BASE.view(-1)], [BASE, BASE.view(-1).clone()], id="view-of-a-tensor"),
        pytest.param(scaled(1), scaled(2), id="attribute-of-a-tensor"),
        pytest.param(quantized(0.5, by_channel=False), quantized(0.25, by_channel=False), id="scale"),
        pytest.param(quantized(0.5, by_channel=True), quantized(0.25, by_channel=True), id="scale-of-a-channel"),
        pytest.param(quantized(1.0, by_channel=True), quantized(1.0, by_channel=False), id="way-of-quantizing"),
    ],
)
def test_tensors_of_equal_values_differ_by(one: object, other: object) -> None:
    assert module_sha256(Holding(one)) != module_sha256(Holding(other))


@pytest.mark.parametrize("by_channel", [True, False])
def test_quantized_tensors_hash_alike_each_time(by_channel: bool) -> None:
    one, other = (module_sha256(Holding(quantized(0.5, by_channel=by_channel))) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_hash_alike_each_time(tied: bool) -> None:
    assert module_sha256(linears(tied=tied)) == module_sha256(linears(tied=tied))


def test_compiled_code_of_the_users_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import math

    monkeypatch.setattr(math, "__file__", "/home/somebody/math.cpython-311-x86_64-linux-gnu.so", raising=False)
    monkeypatch.setitem(sys.modules, "math", math)
    with pytest.raises(TypeError, match="math"):
        module_sha256(Holding(math.sin))


@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(dtype, id=str(dtype).removeprefix("torch."))
        for dtype in (torch.bool, torch.int64, torch.float16, torch.bfloat16, torch.complex64)
    ],
)
def test_a_tensor_of_any_type_has_a_hash(dtype: torch.dtype) -> None:
    tensor = torch.tensor([[0, 1], [1, 1]]).to(dtype)
    assert tensor_sha256(tensor) == tensor_sha256(tensor.t().contiguous().t())
    assert tensor_sha256(tensor) != tensor_sha256(tensor.logical_not().to(dtype))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(torch.zeros(2, 3), torch.zeros(3, 2), id="shape"),
        pytest.param(torch.zeros(2), torch.zeros(2, dtype=torch.int32), id="type"),
        pytest.param(torch.zeros(0), torch.zeros(0, 3), id="empty"),
        pytest.param(torch.zeros(1), -torch.zeros(1), id="sign-of-zero"),
    ],
)
def test_tensors_that_differ_have_different_hashes(one: torch.Tensor, other: torch.Tensor) -> None:
    assert tensor_sha256(one) != tensor_sha256(other)


def test_weights_are_named_with_buffers_that_are_not_saved_and_shared_ones_twice() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    net.register_buffer("kept", torch.zeros(1), persistent=False)
    hashes = weight_hashes(net)
    assert list(hashes) == ["0.weight", "1.weight", "kept"]
    assert hashes["0.weight"] == hashes["1.weight"]
