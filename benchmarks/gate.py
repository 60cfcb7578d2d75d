"""The release gate: verifying 1 GB against openssl and model_signing; judging four cells with 20,000 samples each.

The project is made by hand (tests/support/gate_project.py): nothing is measured, and every number follows from samples
that are drawn. openssl hashes the same files one after the other; model_signing is the OpenSSF's, from PyPI, which
hashes them beside each other. CPU time is of all threads and processes of a side.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.host.cache import cache_folder, file_sha256
from harness.release.verify import verify_release
from tests.support.foreign import ModelSigning, Unavailable, provide_model_signing
from tests.support.gate_project import GateProject, make_project

from .support.interleave import Block, interleave, median_of
from .support.row import Aim, Options, Row, ratio_row

NEEDS = ("network",)

BACKENDS = ("onnxruntime", "onnxruntime-cpp", "libtorch", "torchscript")
SAMPLES = 20_000
GB = 1_000_000_000
ROUNDS = 7
# 0.9 of openssl's rate, as time; 0.6 of model_signing's time.
OPENSSL, MODEL_SIGNING, GATE_S = Aim(1 / 0.9), Aim(0.6), Aim(3.0)
HILGATE = "import sys; from harness.cli import main; sys.exit(main())"


def run(options: Options) -> Iterator[Row]:
    """Yield what verifying costs, then what judging does."""
    rounds = 3 if options.quick else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        yield from _verifying(_made(Path(folder) / "large", more_bytes=GB), rounds)
    with tempfile.TemporaryDirectory() as folder:
        yield from _judging(make_project(Path(folder), backends=BACKENDS, samples=SAMPLES), rounds)


def _made(folder: Path, *, more_bytes: int) -> GateProject:
    """Make a project and its release, in build/release."""
    folder.mkdir()
    project = make_project(folder, samples=600, more_bytes=more_bytes)
    _child(project, _gate(project, project.root / "build" / "release"))
    return project


def _gate(project: GateProject, output: Path) -> list[str]:
    options = ["--policy", str(project.policy), "--key", str(project.key), "-o", str(output)]
    return [sys.executable, "-c", HILGATE, "gate", str(project.evidence), *options]


def _verifying(project: GateProject, rounds: int) -> Iterator[Row]:
    """Compare the function with openssl, and it and the command, with its start, with model_signing's command."""
    made = project.root / "build" / "release"
    release = made / "net"
    files = sorted(path for path in release.rglob("*") if path.is_file())
    policy = project.load_policy()
    verify = [sys.executable, "-c", HILGATE, "verify", str(release), "--policy", str(project.policy)]
    key = ["--signature", str(made / "net.model.sig"), "--public_key", str(project.public), "--no-ignore-git-paths"]
    theirs = _model_signing()
    command = [] if theirs is None else [str(theirs.python), "-m", "model_signing", "verify", "key", str(release), *key]
    function, openssl, ours, other = interleave(
        rounds,
        _here(lambda: verify_release(release, policy)),
        lambda: _child(project, ["openssl", "dgst", "-sha256", *map(str, files)]),
        lambda: _child(project, verify),
        lambda: _child(project, command) if command else [0.0, 0.0],
    )
    what = f"verify of {sum(path.stat().st_size for path in files) / GB:.2f} GB"
    yield from _both(what, "openssl dgst -sha256", function, openssl, OPENSSL)
    if command:
        yield from _both(what, "model_signing verify key", function, other)
        yield from _both(f"hilgate {what}", "model_signing verify key", ours, other, MODEL_SIGNING)
    else:
        yield Row(f"hilgate {what}: NOT COMPARED, for model_signing cannot be had", 0, "comparisons")


def _both(
    what: str, other: str, ours: Sequence[Block], theirs: Sequence[Block], aim: Aim | None = None
) -> Iterator[Row]:
    """Yield the ratios of CPU and of wall time, of which each block has one each."""
    for place, kind in enumerate(("CPU", "wall")):
        mine, others = [[block[place]] for block in ours], [[block[place]] for block in theirs]
        against = f"{other}: {median_of(others):.2f} s; ours {median_of(mine):.2f} s"
        yield ratio_row(f"{what}: {kind}", mine, others, against, aim, {"ours": mine, "theirs": others})


def _model_signing() -> ModelSigning | None:
    try:
        return provide_model_signing(cache_folder())
    except Unavailable:
        return None


def _judging(project: GateProject, rounds: int) -> Iterator[Row]:
    """Gate, and hash what was laid out: CPU time of the one over that of the other."""
    places = (project.root / "build" / f"release-{number}" for number in itertools.count())
    first = next(places)
    _child(project, _gate(project, first))
    files = [path for path in first.rglob("*") if path.is_file()]
    gated, hashed = interleave(
        rounds,
        lambda: _child(project, _gate(project, next(places))),
        _here(lambda: [file_sha256(path) for path in files]),
    )
    gate_s, hash_s = (median_of([[block[0]] for block in blocks]) for blocks in (gated, hashed))
    what = f"hilgate gate of {len(BACKENDS)} cells with {SAMPLES} samples each: CPU over hashing"
    against = f"hashing what it lays out: {hash_s:.3f} s; with the interpreter's start"
    yield Row(what, gate_s - hash_s, "s", against, GATE_S, {"gate": gated, "hashing": hashed})


def _here(action: Callable[[], object]) -> Callable[[], Block]:
    """Return a side that does something in this process: CPU seconds of all threads, then wall seconds."""

    def block() -> Block:
        cpu, wall = time.process_time(), time.perf_counter()
        action()
        return [time.process_time() - cpu, time.perf_counter() - wall]

    return block


def _child(project: GateProject, command: Sequence[str]) -> Block:
    """Run a program in the project: CPU seconds of it and its children, then wall seconds."""
    start = time.perf_counter()
    environment = {**os.environ, **project.environment}
    child = subprocess.Popen(command, cwd=project.root, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise subprocess.CalledProcessError(child.returncode, command)
    return [used.ru_utime + used.ru_stime, time.perf_counter() - start]
