"""The process of a model file: what it answers, how it dies, and what stays in it."""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from harness.errors import AgentFailure, ModelError, ProcessError
from harness.measure import known_metrics
from harness.model.model import Array, Closeness, Input
from harness.model.model_file import ModelFile, read_model
from harness.model.process import Bounds, HostedFile, HostedModel, ModelProcess, Raised, read_hosted
from harness.parity.rounding.conditioning import _direction

# Without torch: a process starts in a fraction of a second.
FILE = """
import os, signal, subprocess, sys, time
import numpy as np
from harness import Input, Model

class Own(Exception):
    pass

class Unspeakable(Exception):
    def __str__(self):
        raise ValueError

def build():
    {code}

model = Model(build=build, inputs=[Input("x", shape=(2,))])
"""
Host = Callable[..., ModelProcess]


# Questions: they run in the model's process, which finds this file as this one does.


def build_it(file: ModelFile) -> Any:
    """What the file's build returns."""
    return file.model.build()


def doubled(file: ModelFile, arrays: Sequence[Array]) -> list[Array]:
    """Arrays there and back."""
    return [np.asarray(array * 2) for array in arrays]


def called(file: ModelFile, function: Callable[..., Any], *args: Any) -> Any:
    """What a function of the asking process makes of arguments."""
    return function(*args)


def called_and_caught(file: ModelFile, function: Callable[[], Any]) -> str:
    """What the error of a function of the asking process says here."""
    try:
        function()
    except AgentFailure as error:
        return f"{error.what}, {error.found}"
    return ""


def where_it_is(file: ModelFile) -> int:
    """The process."""
    return os.getpid()


def functions_of_harness(file: ModelFile) -> list[Callable[..., Any]]:
    """A method, and a function within a function."""
    moved = _direction(Input("x", shape=(2,)), np.array([1, 2], np.float32), np.random.default_rng(0))
    return [Closeness(rtol=0.5).allowed, moved]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A process for a file whose build has some code."""
    made: list[ModelProcess] = []

    def start(code: str = "return 1", **bounds: Any) -> ModelProcess:
        path = tmp_path / f"net{len(made)}.py"
        path.write_text(FILE.format(code=code))
        made.append(ModelProcess(path, Bounds(**bounds)))
        return made[-1]

    yield start
    for process in made:
        process.close()


def is_gone(pid: int) -> bool:
    """Whether a process has ended, within two seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return True
        time.sleep(0.02)
    return False


def test_arrays_of_all_kinds_go_there_and_back(host: Host) -> None:
    arrays: list[Array] = [
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.ones((300, 300), np.float32)[:, ::2],
        np.zeros((0, 4), np.float16),
        np.asarray(3.5),
        np.full(3_000_000, 1e-310),
    ]
    found = host().ask_file(doubled, arrays)
    assert all(np.array_equal(one, other * 2) for one, other in zip(found, arrays, strict=True))
    assert all(one.dtype == other.dtype and one.flags.writeable for one, other in zip(found, arrays, strict=True))


def test_it_is_one_process_as_long_as_it_is_not_closed(host: Host) -> None:
    process = host()
    first = process.ask_file(where_it_is)
    assert process.ask_file(where_it_is) == first != os.getpid()
    process.close()
    assert is_gone(first)
    assert process.ask_file(where_it_is) != first


@pytest.mark.parametrize(
    ("code", "found"),
    [
        pytest.param("os._exit(3)", "exit status 3", id="ends"),
        pytest.param("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV", id="crashes"),
        pytest.param("os.closerange(3, 1 << 16); time.sleep(60)", "it closed all its files", id="closes all files"),
        pytest.param("print('so long', file=sys.stderr); os.abort()", "so long", id="tells why"),
        pytest.param("os.write(2, b'x' * 10**7 + b'the end'); os._exit(1)", "the end", id="says much"),
    ],
)
def test_a_process_that_ends_is_an_error_and_the_next_question_has_another(host: Host, code: str, found: str) -> None:
    process = host(code)
    with pytest.raises(ModelError, match=r"ended in the middle of a question(.|\n)*" + found) as caught:
        process.ask_file(build_it)
    assert len(caught.value.found) < 3000
    assert process.ask_file(where_it_is)


def test_a_question_that_takes_too_long_is_ended(host: Host) -> None:
    with pytest.raises(ModelError, match=r"not done in time(.|\n)*within 1 s"):
        host("time.sleep(60)", seconds=1).ask_file(build_it)


def test_one_that_says_things_all_the_time_is_ended_too(host: Host) -> None:
    with pytest.raises(ModelError, match="not done in time"):
        host("while True: os.write(1, b'x' * 65536)", seconds=1).ask_file(build_it)


def test_a_process_that_takes_too_much_memory_is_ended(host: Host) -> None:
    process = host("kept = np.ones(400 << 17); time.sleep(60)", memory_mib=300, seconds=50)
    with pytest.raises(ModelError, match=r"more memory(.|\n)*at most 300 MiB"):
        process.ask_file(build_it)


def test_mapped_files_are_not_its_own_memory(host: Host) -> None:
    code = "kept = np.memmap('/dev/zero', np.uint8, 'r', shape=1 << 29); return int(kept[::4096].sum()) + len(kept)"
    assert host(code, memory_mib=300).ask_file(build_it) == 1 << 29


def test_what_it_has_forked_ends_with_it(host: Host) -> None:
    process = host("return subprocess.Popen(['sleep', '60']).pid")
    child = process.ask_file(build_it)
    process.close()
    assert is_gone(child)


def test_a_fork_that_comes_back_does_not_answer_for_it(host: Host) -> None:
    process = host("return 1 if os.fork() else 2")
    assert [process.ask_file(build_it) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("code", "name", "said"),
    [
        pytest.param("raise Own('bad')", "Own", "bad", id="a class of the user's"),
        pytest.param("raise Unspeakable", "Unspeakable", "its text cannot be had", id="one that cannot be told"),
        pytest.param("sys.exit(4)", "SystemExit", "4", id="SystemExit"),
        pytest.param("raise KeyboardInterrupt", "KeyboardInterrupt", "in the model's process", id="KeyboardInterrupt"),
        pytest.param("return Own('bad')", "TypeError", "Own cannot leave the model's process", id="returned"),
        pytest.param("return [build]", "TypeError", "build cannot leave the model's process", id="a function"),
    ],
)
def test_an_error_of_its_own_comes_by_its_name_and_text(host: Host, code: str, name: str, said: str) -> None:
    process = host(code)
    with pytest.raises(Raised, match=said) as caught:
        process.ask_file(build_it)
    assert type(caught.value).__name__ == name
    assert process.ask_file(where_it_is)


def test_hilgates_errors_come_as_they_are(host: Host) -> None:
    with pytest.raises(ModelError) as caught:
        host("from harness.errors import ModelError; raise ModelError('bad', hint='mend it')").ask_file(build_it)
    assert (caught.value.what, caught.value.hint) == ("bad", "mend it")


def test_what_it_prints_is_told_on_stderr(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    code = "print('to stdout'); os.write(2, b'to stderr\\n'); import warnings; warnings.warn('old'); return 1"
    assert host(code).ask_file(build_it) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert all(text in said.err for text in ("to stdout", "to stderr", "UserWarning: old"))


def test_it_has_no_stdin(host: Host) -> None:
    assert host("return sys.stdin.read()").ask_file(build_it) == ""


def test_a_function_stays_where_it_is(host: Host) -> None:
    told: list[Any] = []
    assert host().ask_file(called, lambda *args: [os.getpid(), *args], 3) == [os.getpid(), 3]
    host().ask_file(called, told.append, 4)
    assert told == [4]


def test_such_a_function_may_ask_something_itself(host: Host) -> None:
    process = host()

    def ask(number: int) -> Any:
        return process.ask_file(called, ask, number - 1) + 1 if number else process.ask_file(build_it)

    assert process.ask_file(called, ask, 3) == 4
    dying = host("os._exit(5)")
    with pytest.raises(ModelError, match="exit status 5"):
        dying.ask_file(called, lambda: dying.ask_file(build_it))
    assert dying.ask_file(where_it_is)


def test_an_error_of_such_a_function_is_met_there_and_comes_back_as_itself(host: Host) -> None:
    error = AgentFailure("refused", found="Relu")

    def fail() -> None:
        raise error

    process = host()
    assert process.ask_file(called_and_caught, fail) == "refused, Relu"
    with pytest.raises(AgentFailure) as caught:
        process.ask_file(called, fail)
    assert caught.value is error
    assert process.ask_file(where_it_is)


def test_functions_of_harness_may_be_in_an_answer(host: Host) -> None:
    allowed, moved = host().ask_file(functions_of_harness)
    assert allowed(np.array([4], np.float32)).tolist() == [2]
    assert np.array_equal(moved(0.25), functions_of_harness(cast("ModelFile", None))[1](0.25))


def test_an_interruption_while_it_is_asked_ends_it(host: Host) -> None:
    process = host()
    first = process.ask_file(where_it_is)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.ask_file(called, interrupt)
    assert is_gone(first)


def test_a_process_ends_with_whoever_started_it(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(FILE.format(code="time.sleep(60)"))
    pids, child = os.pipe()
    if not (own := os.fork()):
        process = ModelProcess(path)
        os.write(child, str(process.ask_file(where_it_is)).encode())
        process.ask_file(build_it)
    pid = int(os.read(pids, 20))
    os.kill(own, signal.SIGKILL)
    os.waitpid(own, 0)
    assert is_gone(pid)


def test_what_a_file_says_comes_without_its_code(tmp_path: Path) -> None:
    path = tmp_path / "told.py"
    path.write_text(
        "import secret_of_the_file, numpy as np\nfrom harness import Input, Model, Closeness\n"
        "class Own(Input): pass\nclass Text(str): pass\n"
        "model = Model(build=lambda: 1, inputs=[Own('x', shape=(2, 'b'))], dims={Text('b'): (1, 3)},\n"
        "    score=lambda outputs, labels: 1.0, tolerance=Closeness(rtol=np.float32(0.5)))\n"
    )
    (tmp_path / "secret_of_the_file.py").write_text("")
    file = read_hosted(path, ())
    file.process.close()
    assert (file.name, file.model.samples, file.model.dims) == ("told", None, {"b": range(1, 4)})
    assert type(file.model.inputs[0]).__module__ == "harness.model.input_spec"
    assert "secret_of_the_file" not in sys.modules
    found: Any = file.model.build()  # a test of the user's own may have it here
    assert found == 1
    assert "secret_of_the_file" in sys.modules


def test_the_sizes_that_a_file_says_itself_are_known(tmp_path: Path) -> None:
    path = tmp_path / "sized.py"
    path.write_text(
        "from harness import Input, Model\nmodel = Model(build=lambda: 1, inputs=[Input('x', shape=('b', 'n', 'm'))],"
        " dims=dict.fromkeys('bnm', (2, 64)), measure={'n': 8})\n"
    )
    file = read_hosted(path, ())
    file.process.close()
    assert file.model.usual_sizes == read_model(path).usual_sizes == {"b": 2, "n": 8, "m": 2}
    assert file.model.measure == {"b": 64, "n": 8, "m": 64}


def test_a_module_elsewhere_is_printed_without_being_built_here(tmp_path: Path) -> None:
    path = tmp_path / "printed.py"
    path.write_text(FILE.format(code="raise AssertionError"))
    built = HostedModel(HostedFile(path, read_model(path), (), ModelProcess(path)), ("output",), {})
    assert "printed.py" in repr(built)


def test_one_that_died_while_nobody_asked_is_started_anew(host: Host) -> None:
    process = host()
    first = process.ask_file(where_it_is)
    ended = os.pidfd_open(first)
    os.kill(first, signal.SIGKILL)
    select.select([ended], [], [], 10)  # it is a zombie before its other threads have ended
    os.close(ended)
    assert process.ask_file(where_it_is) != first


def test_what_it_has_forked_counts_and_what_they_share_counts_once(host: Host) -> None:
    forks = "kept = np.ones({} << 17); [os.fork() or (np.ones({} << 17), time.sleep(60)) for _ in 'abc']"
    shared = "; time.sleep(2); return 1"
    assert (
        host(
            forks.format(200, 0).replace("time.sleep(60)", "time.sleep(60), os._exit(0)") + shared, memory_mib=500
        ).ask_file(build_it)
        == 1
    )
    with pytest.raises(ProcessError, match="more memory"):
        host(forks.format(0, 200) + "; time.sleep(60)", memory_mib=500, seconds=50).ask_file(build_it)


def test_a_file_that_is_not_read_in_time_is_told_and_ended(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.model.process.connection.TELL_AFTER_S", 0.5)
    with pytest.raises(ProcessError, match="within 1 s"):
        host("while True: pass", reading_s=1).ask_file(build_it)
    assert capsys.readouterr().err.count("to be read, 1 s at most") == 1


def test_it_finds_modules_where_they_were_found_when_it_was_planned(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = host("return sys.path")
    monkeypatch.syspath_prepend(str(tmp_path / "later"))
    assert str(tmp_path / "later") not in process.ask_file(build_it)


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        pytest.param("'n': 8", "'n': 8", False, id="the same"),
        pytest.param("'n': 8", "'n': 9", True, id="another size"),
        pytest.param("'n': 8", "'n': 8, 'b': 64", True, id="a size that was the largest before is said now"),
        pytest.param("model =", "no_model =", True, id="no model any more"),
    ],
)
def test_a_file_that_is_read_again_must_say_the_same(tmp_path: Path, old: str, new: str, refused: bool) -> None:
    path = tmp_path / "sized.py"
    text = (
        "from harness import Input, Model\nmodel = Model(build=lambda: 1, inputs=[Input('x', shape=('b', 'n'))],"
        " dims=dict.fromkeys('bn', (2, 64)), measure={'n': 8})\n"
    )
    path.write_text(text)
    file = read_hosted(path, list(known_metrics().values()))
    file.process.close()
    path.write_text(text.replace(old, new))
    for _ in "ab":
        with pytest.raises(ProcessError, match="the model file") if refused else contextlib.nullcontext():
            file.process.ask_file(where_it_is)
    file.process.close()


@pytest.mark.parametrize(
    "build",
    [
        pytest.param("@dataclass\nclass Made:\n    size: int\n    def __call__(self): return 7", id="dataclass"),
        pytest.param("class Made(dict):\n    __call__ = lambda self: 7\n    __init__ = lambda *_: None", id="dict"),
    ],
)
def test_what_builds_may_be_any_object_that_can_be_called(tmp_path: Path, build: str) -> None:
    path = tmp_path / "made.py"
    text = "from dataclasses import dataclass\nfrom harness import Input, Model\n{}\nmodel = Model(build=Made(3), "
    path.write_text((text + "score=Made(4), inputs=[Input('x', shape=(2,))])\n").format(build))
    file = read_hosted(path, ())
    file.process.close()
    assert file.model.samples is None
    assert callable(file.model.score)
    assert file.process.ask_file(build_it) == 7
    file.process.close()


def test_whatever_a_file_raises_when_it_is_read_is_a_model_error(tmp_path: Path) -> None:
    path = tmp_path / "raising.py"
    path.write_text("raise KeyboardInterrupt('at import')\n")
    with pytest.raises(ModelError, match=r"KeyboardInterrupt: at import(.|\n)*raising.py"):
        read_hosted(path, ())
