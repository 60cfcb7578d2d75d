"""A model's identity: the same in every folder, process and run, another once its weights or its code are others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from harness.measure import known_metrics
from harness.model.build import build_model
from harness.model.identity import IDENTITY, Identity, model_identity
from harness.model.model_file import load_model

FILES = {
    "net.py": """
import torch
from harness import Input, Model
import near_module
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)
        self.register_buffer("scale", torch.full((3,), 2.0), persistent=False)
        self.register_buffer("calls", torch.zeros(1))
        self.seen = {}
    def forward(self, x):
        from late_module import later
        self.calls += 1
        self.seen[x.shape[0]] = float(x.sum())
        return later(near_module.act(self.fc(x)) * self.scale)
def build():
    torch.manual_seed(0)
    return Net().eval()
model = Model(build=build, inputs=[Input("x", shape=("b", 4))], dims={"b": (1, 4)}, imports=["ops_module"])
""",
    "near_module.py": """
import os
from pathlib import Path
ROOT = Path(__file__).parent
NAMES = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "names.txt")]
def act(x):
    return x.relu()
""",
    "late_module.py": "def later(x):\n    return x + 1\n",
    "ops_module.py": "FACTOR = 3\n",
}
METRICS = list(known_metrics().values())
Identify = Callable[[str, Mapping[str, str]], Identity]


def write(folder: Path, files: Mapping[str, str]) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder / "net.py"


@pytest.fixture
def identified(tmp_path: Path) -> Iterator[Identify]:
    """Writes a model file and its modules into a folder, and builds it as a process of its own would."""
    path = list(sys.path)

    def forget() -> None:
        sys.path[:] = path
        for name in [name for name in sys.modules if name.endswith("_module") or name == "hilgate_model_net"]:
            del sys.modules[name]

    def identify(folder: str, files: Mapping[str, str]) -> Identity:
        forget()
        built = build_model(load_model(write(tmp_path / folder, files), METRICS), identified=True)
        assert model_identity(built) is built.kept[IDENTITY]
        return model_identity(built)

    yield identify
    forget()


def replaced(name: str, old: str, new: str) -> dict[str, str]:
    assert FILES[name].count(old) == 1
    return {**FILES, name: FILES[name].replace(old, new)}


def test_it_changes_with_weights_buffers_and_code(identified: Identify) -> None:
    changes = {
        "a weight": replaced("net.py", "manual_seed(0)", "manual_seed(1)"),
        "a buffer": replaced("net.py", "2.0)", "3.0)"),
        "forward": replaced("net.py", "* self.scale", "+ self.scale"),
        "a module beside it": replaced("near_module.py", "x.relu()", "x.tanh()"),
        "a module that forward imports": replaced("late_module.py", "x + 1", "x + 2"),
        "a module that registers operators": replaced("ops_module.py", "3", "4"),
    }
    found = {what: identified(f"{index}", files) for index, (what, files) in enumerate(changes.items())}
    found["nothing"] = identified("unchanged", FILES)
    assert all(identity.sha256 and not identity.problem for identity in found.values()), found
    assert len({identity.sha256 for identity in found.values()}) == len(found), found


def test_it_does_not_change_with_how_a_model_is_tested_and_where_it_lies(identified: Identify) -> None:
    """Whatever running it has changed, for which sizes are tried depends on ``dims`` and on the time."""
    changes = {
        "a comment": replaced("net.py", "self.calls += 1", "self.calls += 1  # so many"),
        "limits": replaced("net.py", "Model(build", 'Model(limits={"deadline_ms": 3}, build'),
        "sizes": replaced("net.py", "(1, 4)}", "(2, 9)}"),
        "prepare": replaced("net.py", "Model(build", "Model(prepare=lambda arrays: arrays, build"),
        "canonical": replaced("net.py", "Model(build", "Model(canonical=lambda outputs: outputs, build"),
        "name": replaced("net.py", "Model(build", 'Model(name="other", build'),
        "another folder": FILES,
    }
    first = identified("first", FILES)
    found = {what: identified(f"deeper/{index}", files) for index, (what, files) in enumerate(changes.items())}
    assert {what for what, identity in found.items() if identity != first} == set()


def test_a_model_that_cannot_be_hashed_has_none_and_says_why(identified: Identify) -> None:
    lock = replaced("net.py", "self.seen = {}", "self.seen, self.lock = {}, __import__('threading').Lock()")
    assert identified("lock", lock) == Identity(problem="TypeError: cannot pickle '_thread.lock' object")


def test_the_version_of_an_installed_package_counts_where_a_part_is_of_its_class(
    identified: Identify, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    own = replaced("net.py", "class Net(torch.nn.Module):", "class Net(torch.nn.Module):\n    __module__ = 'numpy'")
    first = identified("first", own)
    assert identified("again", own) == first
    monkeypatch.setattr(np, "__version__", "0.0")
    assert identified("other", own) != first


AWKWARD = """
import functools, json, sys
from pathlib import Path
import torch
from torch import nn
from harness.model.identity import identify
from harness.model.model import Input, Model
from harness.model.model_file import ModelFile

class Holding(nn.Module):
    def __init__(self, **values):
        super().__init__()
        vars(self).update(values)

def hooked():
    net = nn.Linear(4, 3)
    net.register_forward_hook(lambda module, inputs, output: output * 2)
    return net

def networks():
    from torch.ao.quantization import quantize_dynamic
    from torch.nn.utils import parametrizations
    sequential = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    yield "quantized", quantize_dynamic(sequential, {nn.Linear})
    yield "weight norm", parametrizations.weight_norm(nn.Linear(4, 3))
    yield "spectral norm", nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 3)))
    yield "old weight norm", torch.nn.utils.weight_norm(nn.Linear(4, 3))
    yield "hook", hooked()
    yield "graph", torch.fx.symbolic_trace(sequential)
    yield "attention", nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    yield "average", torch.optim.swa_utils.AveragedModel(sequential)
    yield "held", Holding(names={"a", "b", "c"}, path=Path(__file__), make=lambda x: x, generator=torch.Generator())

torch.manual_seed(int(sys.argv[1]))
file = ModelFile(Path(__file__), Model(build=hooked, inputs=[Input("x", shape=(2, 4))]), ())
print(json.dumps({name: vars(identify(file, net)) for name, net in networks()}))
"""


# As a model file is imported: its code is its own module's, not __main__'s.
RUN = """
import importlib.util, sys
sys.argv[:] = sys.argv[1:]
spec = importlib.util.spec_from_file_location("awkward", sys.argv[0])
sys.modules["awkward"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""


def test_networks_that_pickle_awkwardly_have_the_same_hash_in_every_process(tmp_path: Path) -> None:
    """In another folder, with sets in another order and objects at other addresses; other weights have another."""

    def start(folder: str, hash_seed: str, weights: str) -> subprocess.Popen[str]:
        path = tmp_path / folder / "awkward.py"
        path.parent.mkdir()
        path.write_text(AWKWARD)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-W", "ignore", "-c", RUN, str(path), weights]
        return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE)

    processes = [start("a", "1", "0"), start("b", "2", "0"), start("c", "2", "1")]
    first, again, other = (json.loads(process.communicate(timeout=120)[0]) for process in processes)
    assert all(len(identity["sha256"]) == 64 for identity in first.values()), first
    assert again == first
    assert {name for name in first if other[name] == first[name]} == {"held"}
