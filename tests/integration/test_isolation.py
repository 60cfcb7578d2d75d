"""A model file that changes whatever belongs to its whole process, beside an ordinary one."""

from __future__ import annotations

import locale
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import ProcessError
from harness.export import export_artifact
from harness.measure.accuracy import AccuracyRun
from harness.measure.sample_set import searched_samples
from harness.measure.score import score, scored_samples
from harness.model.build import BuiltModel
from harness.model.model_file import load_model
from harness.model.process import HostedFile, build_hosted, read_hosted
from harness.parity.judging import Judging
from harness.parity.rule.reference import Reference

from .conftest import Project

# Every line of what research code does when it is imported; the model's own answers use some of it.
LOUD = """
    import atexit, gc, locale, os, random, resource, signal, sys, threading, time, warnings
    import numpy as np
    import torch
    from harness import Input, Model

    early = torch.ones(3)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(7); random.seed(7); np.random.seed(7)
    original, torch.relu = torch.relu, lambda x: original(x) + 1
    np.seterr(all="raise")
    warnings.simplefilter("error")
    os.chdir("/")
    os.environ.update(OMP_NUM_THREADS="3", HILGATE_CACHE="/nowhere", LOUD="1")
    os.umask(0o777)
    sys.path[:0] = ["relative", "/nowhere"]
    sys.setrecursionlimit(600)
    sys.stdout = None
    gc.disable()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, lambda *args: None)
    locale.setlocale(locale.LC_ALL, "C")
    np.set_printoptions(precision=1)
    atexit.register(time.sleep, 3600)
    threading.Thread(target=time.sleep, args=(3600,)).start()

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("ones", early)

        def forward(self, x):
            warnings.warn("forward is old")
            assert torch.get_default_dtype() == torch.float64 and os.environ["LOUD"] == "1"
            return torch.relu(x) * self.ones * torch.ones(3).float()

    class Label:
        pass

    def samples():
        warnings.warn("the data set is old", DeprecationWarning)
        return {"x": np.full((8, 3), 1e-50)}, [Label() for _ in range(8)]

    def score(outputs, labels):
        warnings.warn("score is old")
        assert all(isinstance(label, Label) for label in labels)
        assert np.geterr()["under"] == "raise"
        return float(outputs.mean())

    model = Model(build=lambda: Net().eval(), inputs=[Input("x", ("b", 3), min_value=-1.0, max_value=1.0)],
                  dims={"b": (1, 4)}, samples=samples, score=score)
"""
QUIET = """
    import os
    import torch
    from harness import Input, Model

    class Net(torch.nn.Module):
        def forward(self, x):
            assert "LOUD" not in os.environ
            return torch.relu(x) + torch.arange(3) * 0.1

    model = Model(build=lambda: Net().eval(), inputs=[Input("x", ("b", 3), min_value=-1.0, max_value=1.0)],
                  dims={"b": (1, 4)})
"""


def of_the_process() -> dict[str, Any]:
    """What a file could have changed here."""
    return {
        "numpy": np.geterr(),
        "printing": np.get_printoptions()["precision"],
        "folder": Path.cwd(),
        "environment": dict(os.environ),
        "path": list(sys.path),
        "recursion": sys.getrecursionlimit(),
        "filters": list(warnings.filters),
        "signals": [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
        "locale": locale.setlocale(locale.LC_ALL),
        "streams": (sys.stdout, sys.stderr),
    }


@pytest.fixture
def files(project: Project) -> Iterator[dict[str, HostedFile]]:
    """Both, read one after the other, both processes alive."""
    made = {name: read_hosted(project.write(f"{name}.py", text), ()) for name, text in both().items()}
    yield made
    for file in made.values():
        file.process.close()


def both() -> dict[str, str]:
    """The texts, the loud one first."""
    return {"loud": LOUD, "quiet": QUIET}


def _reference(built: BuiltModel) -> Reference:
    return Reference(built, lambda: built.ask(searched_samples))


def test_what_a_file_changes_stays_in_its_process(files: dict[str, HostedFile]) -> None:
    before = of_the_process()
    x = np.array([[-1.0, 0.5, 1.0]], np.float32)
    wanted = {"loud": np.maximum(x, 0) + 1, "quiet": np.maximum(x, 0) + np.array([0, 0.1, 0.2], np.float32)}
    for name, file in files.items():
        built = build_hosted(file)
        (output,) = _reference(built)({"x": x})
        assert (str(output.eager.dtype), str(output.exact.dtype)) == ("float32", "float64")
        np.testing.assert_allclose(output.eager, wanted[name], rtol=1e-6)
        artifact = export_artifact(built, "torchscript")
        assert artifact.bytes
        assert export_artifact(built, "torchscript").cached
    assert of_the_process() == before


def test_warnings_and_numpys_errors_of_samples_and_score_are_the_files_own(files: dict[str, HostedFile]) -> None:
    built = build_hosted(files["loud"])
    scored = built.ask(scored_samples, None)
    assert scored is not None
    samples, eager = scored
    assert (samples.given, str(samples.sets[0]["x"].dtype), eager) == (8, "float32", 1.0)
    assert built.ask(score, samples, [[np.full((1, 3), 2, np.float32)]] * 8) == 2


def test_a_test_of_the_users_own_may_have_the_module_here(files: dict[str, HostedFile]) -> None:
    import torch

    built = build_hosted(files["quiet"])
    assert isinstance(built.module, torch.nn.Module)
    assert built.module is built.module
    assert built.module(torch.zeros(1, 3)).shape == (1, 3)
    assert isinstance(built.structure, torch.Tensor)
    assert built.outputs == ("output",)


SMALL = """
from harness import Input, Model
model = Model(build=list, inputs=[Input("x", (2,))])
"""
DYING = """
    import os
    import numpy as np
    import torch
    from harness import Input, Model

    class Label:
        pass

    def samples():
        os.write(2, b"samples() was called;")
        return {"x": np.ones((4, 3), np.float32)}, np.array([(Label(), 2)] * 4, [("what", object), ("size", int)])

    def canonical(outputs):
        if outputs.max() > 100:
            os._exit(3)
        return outputs

    def score(outputs, labels):
        canonical(outputs)
        assert all(isinstance(label, Label) for label in labels["what"])
        return float(outputs.mean())

    model = Model(build=lambda: torch.nn.ReLU().eval(), inputs=[Input("x", ("b", 3), min_value=-1.0, max_value=1.0)],
                  dims={"b": (1, 4)}, samples=samples, score=score, canonical=canonical)
"""


def test_a_process_that_ends_in_score_or_canonical_is_not_the_backends_fault_and_the_next_has_the_labels_too(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    file = read_hosted(project.write("dying.py", DYING), ())
    built = build_hosted(file)
    scored = built.ask(scored_samples, None)
    assert len(built.ask(searched_samples)) == 1
    assert capsys.readouterr().err.count("samples() was called") == 1
    answers = [np.full((4, 3), value, np.float32) for value in (1000, 2)]
    died, scores = (
        AccuracyRun(built, scored, lambda sets, answer=answer: [[answer]] * len(sets), lambda *_: None)  # type: ignore[misc]
        for answer in answers
    )
    with pytest.raises(ProcessError, match="exit status 3"):
        died()
    assert scores().value == 2
    reference = _reference(built)
    recipe = reference.space.essential()[0]
    shape = reference.space.make(recipe)["x"].shape
    judging = Judging(reference, lambda recipes: [[np.full(shape, 1000, np.float32)] for _ in recipes], built.outputs)
    with pytest.raises(ProcessError, match="exit status 3"):
        judging.judge(recipe, climbed=False)
    file.process.close()


def test_a_run_that_is_refused_ends_the_process_of_its_file_properly(project: Project) -> None:
    ended = project.folder / "ended.txt"
    project.write(
        "leaving.py", f"import atexit, pathlib\natexit.register(pathlib.Path({str(ended)!r}).touch)\n" + SMALL
    )
    done = project.run(f"--model={project.folder}/leaving.py", "--device=local", "--write-baseline")
    assert (done.status, ended.exists()) == (4, True), done.output
    assert "none of the devices counts" in done.output


@pytest.mark.slow  # it starts with torch five times
def test_a_module_that_is_built_again_must_be_the_same_and_of_the_same_source(project: Project) -> None:
    file = read_hosted(project.write("again.py", QUIET), ())
    built = build_hosted(file)
    file.process.close()
    assert built.ask(searched_samples) == []
    file.process.close()
    project.write("again.py", QUIET.replace("0.1", "0.2"))
    for _ in "ab":
        with pytest.raises(ProcessError, match=r"changed during the run(.|\n)*another source"):
            built.ask(searched_samples)
    project.write("again.py", QUIET)
    assert built.ask(searched_samples) == []
    file.process.close()


PICKS = """
    import torch
    from harness import Input, Model

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(6, 6)

        def forward(self, x):
            scores = self.layer(x).softmax(1)
            return {"best": scores.topk(2).indices, "scores": scores, "sum": scores.exp().sum(1)}

    model = Model(build=lambda: Net().eval(), inputs=[Input("x", ("b", 6), min_value=-1.0, max_value=1.0)],
                  dims={"b": (1, 4)})
"""


def test_the_reference_has_the_same_bits_wherever_the_module_is(project: Project) -> None:
    path = project.write("picks.py", PICKS)
    there, here = (_reference(build_hosted(file)) for file in (read_hosted(path, ()), load_model(path, ())))
    for recipe in there.space.essential():
        arrays = there.space.make(recipe)
        for one, other in zip(there.widened(arrays, recipe.key), here.widened(arrays, recipe.key), strict=True):
            assert (one.name, one.perturbation, one.scale) == (other.name, other.perturbation, other.scale)
            assert one.eager.tobytes() == other.eager.tobytes()
            assert one.exact.tobytes() == other.exact.tobytes()
            if one.picked is not None and other.picked is not None:
                assert one.picked.values.tobytes() == other.picked.values.tobytes()
                sizes = np.abs(one.picked.values)
                ratios = [each.ratios(sizes, sizes * 1.001).tolist() for each in (one.picked, other.picked)]
                assert ratios[0] == ratios[1]
            assert (one.picked is None) == (other.picked is None) == (one.name != "output_best")
    assert there.computed == here.computed > 0
    there.release()
    assert isinstance(there.built.file, HostedFile)
    there.built.file.process.close()


PLUGIN = """
    import sys

    def pytest_unconfigure(config):
        print("imported here:", sorted({"torch", "shared", "shared.parts"} & set(sys.modules)), file=sys.__stdout__)
"""
PROJECT = """
    import warnings
    import numpy as np
    import torch
    from harness import Input, Model
    from shared.parts import FACTOR

    warnings.warn("the whole file is old", DeprecationWarning)

    class Net(torch.nn.Module):
        def forward(self, x):
            return x * FACTOR

    def build():
        warnings.warn("build is old")
        return Net().eval()

    def samples():
        warnings.warn("the data set is old")
        return {"x": np.ones((4, 3), np.float32)}, np.zeros(4, np.int64)

    def score(outputs, labels):
        warnings.warn("score is old")
        return float(outputs.mean()) == FACTOR

    model = Model(build=build, inputs=[Input("x", ("b", 3), min_value=-1.0, max_value=1.0)], dims={"b": (1, 4)},
                  samples=samples, score=score, limits={"accuracy_min": 1})
"""


@pytest.mark.slow
def test_two_projects_with_a_package_of_one_name_in_one_run_where_warnings_are_errors(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\nfilterwarnings = error\nhil_device = local\n")
    project.write("looking.py", PLUGIN)
    project.environment |= {"PYTHONWARNINGS": "error::UserWarning", "PYTHONPATH": str(project.folder)}
    for index, name in enumerate(("one", "two")):
        project.write(f"{name}/{name}.py", PROJECT)
        project.write(f"{name}/shared/__init__.py", "")
        project.write(f"{name}/shared/parts.py", f"FACTOR = {index + 2}\n")
    models = [f"--model={project.folder}/{name}/{name}.py" for name in ("one", "two")]
    done = project.run(*models, "--backend=torchscript", "-k", "parity or accuracy", "-p", "looking")
    assert done.status == 0, done.output
    assert [done.check("accuracy", index)["verdict"] for index in (0, 1)] == ["PASS", "PASS"]
    hashes = [cell["artifact"]["sha256"] for cell in done.evidence["cells"]]
    assert hashes[0] != hashes[1]
    assert "imported here: []" in done.output
