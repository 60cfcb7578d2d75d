"""The user's code: read from its source, and run under settings of its own."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from harness.errors import ModelError
from harness.model import user_code
from harness.model.user_code import LONGEST, is_installed, missing_file_hint, users_code, words

MODEL = """
import importlib.util
from pathlib import Path
import beside_it, parts_of_it, parts_of_it.inner, harness
spec = importlib.util.spec_from_file_location("by_path", Path(__file__).with_name("by_path.py"))
by_path = importlib.util.module_from_spec(spec)
spec.loader.exec_module(by_path)
said = ["one", beside_it.SAID, parts_of_it.SAID, parts_of_it.inner.SAID, by_path.SAID]
model = harness.Model(build=lambda: None, inputs=[harness.Input("x", shape=(1,))], name="-".join(said))
"""
READ = """
import sys
from pathlib import Path
from harness.model.model_file import read_model
print(read_model(Path(sys.argv[1])).name)
"""


def read_with_byte_code(path: Path) -> str:
    """The name of a model, read in a process that may write byte code."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", READ, str(path)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_an_edit_within_a_second_that_keeps_the_length_is_read(tmp_path: Path) -> None:
    (tmp_path / "parts_of_it").mkdir()
    beside = ["beside_it.py", "parts_of_it/__init__.py", "parts_of_it/inner.py", "by_path.py"]
    texts = {"net.py": MODEL} | dict.fromkeys(beside, "SAID = 'one'\n")
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (1e9, 1e9))
    assert read_with_byte_code(tmp_path / "net.py") == "one-one-one-one-one"
    for name, text in texts.items():
        (tmp_path / name).write_text(text.replace("one", "two"))
        os.utime(tmp_path / name, (1e9, 1e9))
    assert read_with_byte_code(tmp_path / "net.py") == "two-two-two-two-two"
    assert not [*tmp_path.rglob("*.pyc")]


@pytest.mark.parametrize(
    ("path", "installed"),
    [
        pytest.param(Path(np.__file__), True, id="an installed package"),
        pytest.param(Path(os.__file__), True, id="the standard library"),
        pytest.param(Path(sys.modules["harness"].__file__ or ""), True, id="hilgate"),
        pytest.param(Path("/home/someone/project/net.py"), False, id="a project"),
    ],
)
def test_what_is_installed_is_not_the_users(path: Path, installed: bool) -> None:
    assert is_installed(path) == installed


def test_a_warning_of_the_users_code_is_no_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with users_code(), pytest.warns(UserWarning, match="old"):
            warnings.warn("the data set is old", UserWarning, stacklevel=1)


def test_numpys_error_state_is_the_users_in_its_code_and_ours_beside_it() -> None:
    ours = np.geterr()
    with users_code():
        before = np.geterr()
        np.seterr(under="raise")
    assert np.geterr() == ours
    with users_code():
        assert np.geterr()["under"] == "raise"
        np.seterr(**before)


class Unspeakable(Exception):
    """An error of a user's own."""

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(ValueError("bad"), "ValueError: bad", id="as it is"),
        pytest.param(Unspeakable(), "Unspeakable: (its text cannot be had: ValueError)", id="without a text"),
    ],
)
def test_an_error_is_said_by_its_type_and_text(error: Exception, said: str) -> None:
    assert words(error) == said


def test_a_long_error_is_said_by_its_beginning_and_its_end() -> None:
    said = words(ModelError("Missing keys: " + "layer " * 10000 + "the end"))
    assert len(said) < LONGEST + 100
    assert said.startswith("ModelError: Missing keys")
    assert said.endswith("the end")


def test_a_relative_path_is_said_to_begin_at_the_current_folder() -> None:
    assert "Path(__file__).with_name('net.pt')" in missing_file_hint(FileNotFoundError(2, "No such file", "net.pt"))
    assert missing_file_hint(FileNotFoundError(2, "No such file", "/net.pt")) == ""
    assert missing_file_hint(ValueError("net.pt")) == ""


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(lambda: torch.jit.load("mynet.pt"), id="torch.jit.load"),  # type: ignore[no-untyped-call]
        pytest.param(lambda: onnxruntime.InferenceSession("weights/net.onnx"), id="onnxruntime, in a folder"),
        pytest.param(lambda: torch.load("mynet.pt"), id="torch.load"),
    ],
)
def test_a_file_beside_the_model_file_is_found_in_the_words_of_any_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Callable[[], object]
) -> None:
    for name in ("project/mynet.pt", "project/weights/net.onnx", "here/other"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(user_code, "_folders", {tmp_path / "project"})
    with pytest.raises(Exception, match="net") as caught:
        load()
    assert f"begins at the current folder, {tmp_path / 'here'}; beside the model file" in missing_file_hint(
        caught.value
    )
    monkeypatch.setattr(user_code, "_folders", {tmp_path / "here"})
    assert isinstance(caught.value, FileNotFoundError) or missing_file_hint(caught.value) == ""
