"""A backend or an export format whose file lacks what it must have: the error names the file and what is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.backends import backend_names, load_backend
from harness.errors import BackendError, ExportError
from harness.export import exporter_labels, load_format
from harness.host.plugins import VARIABLE

Write = Callable[[str, str], Path]

BACKEND = """
ARTIFACT = "toy"
PACKAGES = ("numpy|numpy-mkl",)
OPTIONS = {"speed": (("fast", "slow"), '"fast" or "slow"')}

def preload(): pass

class Engine:
    def __init__(self, settings, options): pass
    def load(self, artifact): pass
    def prepare(self, inputs): pass
    def run(self, prepared): pass
    def arrays(self, raw): pass
    def profile(self, take, count): pass
    def output_names(self): pass
    def versions(self): pass
    def settings(self): pass
"""
NATIVE = """
from harness.backends import Native

ARTIFACT = "toy"
PACKAGES = ("toy",)
OPTIONS = {}
NATIVE = Native(engine="toy", library="toy/libtoy.so")
"""
FORMAT = """
FILE = "model.toy"
EXPORTERS = {"toy": lambda module, model, outputs, folder: [FILE]}
def exporters(module): return EXPORTERS
def opened(folder, label): return None
def read_interface(path, model): raise NotImplementedError
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a file into the folder of plug-ins, and returns its path."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    before = set(sys.modules)

    def write(place: str, text: str) -> Path:
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    yield write
    for name in set(sys.modules) - before:
        if name.startswith(("harness.backends.toy", "harness.export.toy")):
            del sys.modules[name]


def test_a_backend_is_found_by_its_file_alone(write: Write) -> None:
    path = write("backends/toy_fast.py", BACKEND)
    assert "toy-fast" in backend_names()
    backend = load_backend("toy-fast")
    assert (backend.artifact, backend.packages, backend.source) == ("toy", ("numpy",), path)
    assert backend.defaults == {"speed": "fast"}


def test_a_cpp_backend_needs_no_engine_of_pythons(write: Write) -> None:
    write("backends/toy.py", NATIVE)
    native = load_backend("toy").native
    assert native is not None
    assert native.engine == "toy"


def test_the_rooms_own_modules_are_no_backends() -> None:
    assert backend_names() == ["libtorch", "oip", "onnxruntime", "onnxruntime-cpp", "sagemaker", "torchscript"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param('ARTIFACT = "toy"', "", ["ARTIFACT: it is not there", "the export format"], id="no-artifact"),
        pytest.param('ARTIFACT = "toy"', "ARTIFACT = 3", ["ARTIFACT: it is 3"], id="artifact-a-number"),
        pytest.param('("numpy|numpy-mkl",)', '"numpy"', ["PACKAGES: it is 'numpy'"], id="packages-a-text"),
        pytest.param('("numpy|numpy-mkl",)', '("numpy|",)', ["PACKAGES: 'numpy|' is in it"], id="no-alternative"),
        pytest.param('("fast", "slow")', '"number"', ["OPTIONS: it has 'speed'"], id="an-option-of-no-kind"),
        pytest.param("OPTIONS = {", "OPTIONS = 1 or {", ["OPTIONS: it is 1"], id="options-a-number"),
        pytest.param("def preload(): pass", "preload = 1", ["preload: it is 1"], id="preload-a-number"),
        pytest.param("def profile", "def _profile", ["Engine: the class has no profile"], id="a-method-is-missing"),
        pytest.param("class Engine:", "class Motor:", ["Engine: it is not there"], id="no-engine"),
        pytest.param("OPTIONS =", "OPERATORS = 1\nOPTIONS =", ["OPERATORS: it is 1"], id="operators-a-number"),
        pytest.param("OPTIONS =", "NATIVE = 1\nOPTIONS =", ["NATIVE: it is 1", "Native"], id="native-a-number"),
        pytest.param("OPTIONS =", "import nowhere\nOPTIONS =", ["No module named 'nowhere'"], id="not-imported"),
    ],
)
def test_a_backends_file_that_lacks_something_is_named(write: Write, old: str, new: str, words: list[str]) -> None:
    path = write("backends/toy.py", BACKEND.replace(old, new))
    with pytest.raises(BackendError) as caught:
        load_backend("toy")
    assert [word for word in [*words, str(path)] if word not in str(caught.value)] == []


def test_an_export_format_is_found_by_its_file_alone(write: Write) -> None:
    path = write("export/toy.py", FORMAT)
    assert exporter_labels("toy") == ["toy"]
    toy = load_format("toy")
    assert (toy.file, toy.source, toy.correct_shapes) == ("model.toy", path, None)
    assert (toy.node_modules(path), toy.node_types(path, "Add", "a"), toy.refusal_hint("no", "")) == ({}, [], "")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param('FILE = "model.toy"', "FILE = 0", ["FILE: it is 0", "name of the exported file"], id="file"),
        pytest.param('"model.toy"', '"../model.toy"', ["FILE: it is '../model.toy'"], id="file-elsewhere"),
        pytest.param("EXPORTERS = ", "EXPORTERS = 1 or ", ["EXPORTERS: it is 1"], id="exporters-a-number"),
        pytest.param('{"toy": lambda', '{"toy": 1, "other": lambda', ["EXPORTERS: it has 'toy': 1"], id="no-function"),
        pytest.param("def exporters", "def other", ["exporters: it is not there"], id="no-exporters"),
        pytest.param("def opened", "def other", ["opened: it is not there"], id="no-opened"),
        pytest.param("def read_interface", "def other", ["read_interface: it is not there"], id="no-interface"),
        pytest.param("FILE =", "correct_shapes = 1\nFILE =", ["correct_shapes: it is 1"], id="shapes-a-number"),
        pytest.param("FILE =", "import nowhere\nFILE =", ["No module named 'nowhere'"], id="not-imported"),
    ],
)
def test_a_formats_file_that_lacks_something_is_named(write: Write, old: str, new: str, words: list[str]) -> None:
    path = write("export/toy.py", FORMAT.replace(old, new))
    with pytest.raises(ExportError) as caught:
        load_format("toy")
    assert [word for word in [*words, str(path)] if word not in str(caught.value)] == []


def test_a_format_that_no_file_has_is_named() -> None:
    with pytest.raises(ExportError, match="there is no export format 'nothing'"):
        load_format("nothing")


def test_a_module_of_the_room_that_is_no_format_is_refused() -> None:
    with pytest.raises(ExportError, match="FILE: it is not there"):
        load_format("ports")
