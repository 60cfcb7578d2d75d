"""What the gate lets through, and what it refuses: each reason in its own words, and nothing written."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.errors import StorageError
from harness.release import gate as gating
from harness.signing.keys import load_signer
from tests.support.gate_evidence import reseal
from tests.support.gate_files import policy_text
from tests.support.gate_project import GateProject, make_project
from tests.support.gating import copy_project, examined, gate, hilgate, put_behind_link, release, share_model_processes
from tests.support.keys import pair, private_pem

SAMPLES = 600
CELL = "net/rig/onnxruntime"


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    share_model_processes(monkeypatch)
    monkeypatch.setattr(gating, "sync_file_system", lambda _: None)  # it waits for all that others write there


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> GateProject:
    return make_project(tmp_path_factory.mktemp("honest"), samples=SAMPLES)


@pytest.fixture
def project(honest: GateProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateProject:
    """A project whose evidence the gate lets through, and the current folder is its."""
    return enter(copy_project(honest, tmp_path), monkeypatch)


def enter(project: GateProject, monkeypatch: pytest.MonkeyPatch) -> GateProject:
    monkeypatch.setenv("HILGATE_CACHE", str(project.cache))
    monkeypatch.chdir(project.root)
    return project


def left(project: GateProject) -> list[str]:
    """Name what lies in build/ beside the evidence, hidden things too."""
    return sorted(path.name for path in (project.root / "build").iterdir() if path != project.evidence)


def refused(project: GateProject, *texts: str, words: tuple[str, ...] = ()) -> str:
    """Run the gate, which refuses in these words, and writes nothing."""
    before = snapshot(project.root)
    result = gate(project, *words)
    assert result.exit_code == 1, result.output
    assert [text for text in texts if text not in result.output] == [], result.output
    assert snapshot(project.root) == before
    assert "Traceback" not in result.output
    return result.output


def snapshot(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if ".git" not in path.parts}


def change_policy(project: GateProject, *changes: tuple[str, str]) -> None:
    """Change the policy, and commit it."""
    text = project.policy.read_text()
    for old, new in changes:
        assert text.count(old) == 1, (old, text)
        text = text.replace(old, new)
    project.policy.write_text(text)
    project.commit()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shipped": False},
        {"backends": ("onnxruntime", "torchscript", "libtorch", "onnxruntime-cpp")},
        {"backends": ("onnxruntime", "torchscript"), "backend": "torchscript"},
        {"devices": ("rig", "other")},
        {"emulated": True},
    ],
    ids=["one", "installed", "decision of four", "named", "two devices", "emulated"],
)
def test_honest_evidence_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    """Evidence of every kind passes, says what was judged, and what was made is verified."""
    project = enter(make_project(tmp_path, samples=SAMPLES, **options), monkeypatch)
    result = gate(project)
    assert result.exit_code == 0, result.output
    backend = options.get("backend", "onnxruntime")
    for device in options.get("devices", ("rig",)):
        assert f"judged again: net/{device}/{backend}: PASS (parity, " in result.output
    assert "next: hilgate verify build/release --policy gate.toml" in result.output
    assert left(project) == ["release"]
    names = sorted(path.name for path in (project.root / "build/release").iterdir())
    assert names == ["net", "net.model.sig", "net.sigstore.json"]
    verified = hilgate("verify", "build/release", "--policy", "gate.toml")
    assert (verified.exit_code, verified.output.partition(":")[0]) == (0, "verified")


def test_ed25519_key(project: GateProject) -> None:
    """Such a key signs the attestation, and no model.sig: OpenSSF's format does not know it."""
    signer, _ = pair(project.key.parent / "ed", "Ed25519")
    shutil.copyfile(project.key.parent / "ed" / "public.pem", project.public)
    shutil.copyfile(project.key.parent / "ed" / "private.pem", project.key)
    project.commit()
    assert gate(project).exit_code == 0
    assert signer.public.scheme == "ed25519"
    assert sorted(path.name for path in (project.root / "build/release").iterdir()) == ["net", "net.sigstore.json"]
    assert hilgate("verify", "build/release", "--policy", "gate.toml").exit_code == 0


def check_of(content: dict[str, Any], metric: str = "latency_p99_ms") -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in content["cells"][0]["checks"] if each["metric"] == metric)
    return found


def _set(metric: str, **keys: Any) -> Callable[[GateProject], object]:
    return lambda project: project.change(lambda content: check_of(content, metric).update(keys))


def _cell(**keys: Any) -> Callable[[GateProject], object]:
    return lambda project: project.change(lambda content: content["cells"][0].update(keys))


def _run(**keys: Any) -> Callable[[GateProject], object]:
    return lambda project: project.change(lambda content: content.update(keys))


def _inside(*way: Any, value: Any) -> Callable[[GateProject], object]:
    def change(content: Any) -> None:
        for key in way[:-1]:
            content = content[key]
        content[way[-1]] = value

    return lambda project: project.change(change)


def _without(metric: str) -> Callable[[GateProject], object]:
    def change(content: dict[str, Any]) -> None:
        content["cells"][0]["checks"].remove(check_of(content, metric))

    return lambda project: project.change(change)


def _samples(change: Callable[[bytes], bytes], *, sealed: bool) -> Callable[[GateProject], object]:
    def attack(project: GateProject) -> None:
        path = project.evidence / "samples" / "net-rig-onnxruntime.npy"
        path.write_bytes(change(path.read_bytes()))
        if sealed:
            project.change(lambda content: reseal(project.evidence, content["cells"][0]))

    return attack


def _another_runs(project: GateProject) -> None:
    """Give it the samples of a run of another backend, which is faster, or slower."""
    other = make_project(project.key.parent / "another", samples=SAMPLES, backends=("torchscript",))
    path = other.evidence / "samples" / "net-rig-torchscript.npy"
    shutil.copyfile(path, project.evidence / "samples" / "net-rig-onnxruntime.npy")
    project.change(lambda content: reseal(project.evidence, content["cells"][0]))


def _loosened(project: GateProject) -> None:
    path = project.root / "net.py"
    path.write_text(path.read_text().replace("'latency_p99_ms': 60", "'latency_p99_ms': 600"))


def _loosened_and_judged(project: GateProject) -> None:
    """Loosen a limit in the working tree, and edit the evidence so that it was judged by that; of any commit."""
    change_policy(project, ('commit = "HEAD"', 'commit = "any"'))
    _loosened(project)
    project.change(lambda content: check_of(content).update(limit=600.0))


def _signed_by_another(project: GateProject) -> None:
    change_policy(project, ("signed_by = []", 'signed_by = ["keys/team.pub"]'))


def _edited_after_signing(project: GateProject) -> None:
    """Edit evidence that was signed, for a policy that asks for no signature."""
    project.sign_evidence()
    project.change(lambda content: content["cells"][0]["notes"].append("one more"))


def _ago(**keys: float) -> Callable[[GateProject], object]:
    def change(content: dict[str, Any]) -> None:
        for key in ("started", "finished"):
            moment = datetime.fromisoformat(content[key]) - timedelta(**keys)
            content[key] = moment.isoformat(timespec="seconds").replace("+00:00", "Z")

    return lambda project: project.change(change)


def _answers(project: GateProject) -> None:
    path = project.evidence / "answers" / "net-rig-onnxruntime.npz"
    path.write_bytes(path.read_bytes()[:-1])


def _manifest(change: Callable[[Path], object]) -> Callable[[GateProject], object]:
    return lambda project: change(next((project.evidence / "bundles").iterdir()))


def _of_no_commit(project: GateProject) -> None:
    project.git("commit", "--quiet", "--allow-empty", "-m", "Later")


def _named(attack: Callable[[GateProject], object]) -> Callable[[GateProject], object]:
    """Attack where the policy names the backend: no decision speaks first."""

    def change(project: GateProject) -> None:
        change_policy(project, ('backend = "decision"', 'backend = "onnxruntime"'))
        attack(project)

    return change


def _inconclusive(project: GateProject) -> None:
    _set("latency_p99_ms", verdict="INCONCLUSIVE", reason="too few samples")(project)
    _cell(verdict="INCONCLUSIVE")(project)
    _run(verdict="INCONCLUSIVE")(project)


def _fifo(project: GateProject) -> None:
    (project.evidence / "evidence.json").unlink()
    os.mkfifo(project.evidence / "evidence.json")


NOT = f"of {CELL} does not follow from its evidence: "
ATTACKS: dict[str, tuple[Callable[[GateProject], object], tuple[str, ...]]] = {
    "verdict": (
        _set("latency_p999_ms", verdict="PASS"),
        (f"{CELL}: latency_p999_ms: PASS, although there is no limit",),
    ),
    "verdict of the cell": (_cell(verdict="MEASURED"), ("MEASURED", "do not change evidence")),
    "verdict of the run": (_run(verdict="FAIL"), ("the evidence's verdict is FAIL, although PASS follows",)),
    "value": (_set("latency_p99_ms", value=20.5), (f"latency_p99_ms {NOT}value: the evidence says 20.5, and 2",)),
    "bound": (_set("latency_p99_ms", bound=22.5), (f"latency_p99_ms {NOT}bound: the evidence says 22.5, and 2",)),
    "lower bound": (_set("latency_p99_ms", bound_low=0.5), (f"latency_p99_ms {NOT}bound_low: the evidence says 0.5",)),
    "limit": (_set("latency_p99_ms", limit=61.0), (f"latency_p99_ms {NOT}limit: the evidence says 61.0, and 60.0",)),
    "device's limit": (
        _set("memory_peak_mib", limit=300.0),
        (f"memory_peak_mib {NOT}limit: the evidence says 300.0, and 256.0 follows",),
    ),
    "sample count": (
        _set("latency_p99_ms", samples=60_000),
        (f"latency_p99_ms {NOT}samples: the evidence says 60000, and 600 follows",),
    ),
    "confidence": (_set("latency_p99_ms", confidence=0.5), (f"latency_p99_ms {NOT}confidence: the evidence says 0.5",)),
    "samples changed": (
        _samples(lambda content: content[:-8] + bytes([content[-8] ^ 1]) + content[-7:], sealed=False),
        (f"latency_p50_ms {NOT}raw: ", f"latency_p99_ms {NOT}raw: "),
    ),
    "samples changed and hashed": (
        _samples(lambda content: content[:-80] + content[-160:-80], sealed=True),
        (NOT, ", and 2", " follows"),
    ),
    "samples cut": (_samples(lambda content: content[:-80], sealed=True), (f"latency_p99_ms {NOT}raw: ",)),
    "another run's": (_another_runs, (f"latency_p99_ms {NOT}",)),
    "answers": (_answers, ("the answers are not those of the evidence",)),
    "no answers": (_cell(answers=None), (f"{CELL}: the evidence does not say what it should answer",)),
    "manifest": (
        _manifest(lambda path: path.write_bytes(path.read_bytes() + b" ")),
        ("the bundle's manifest is not the one that the evidence names",),
    ),
    "no manifest": (_manifest(Path.unlink), ("the manifest of the bundle that was tested cannot be read",)),
    "manifest linked": (
        _manifest(put_behind_link),
        ("the manifest of the bundle that was tested cannot be read",),
    ),
    "limit loosened in the tree": (
        _loosened,
        ("the working tree is not clean: net.py", "take these back; or commit them"),
    ),
    "judged by a loosened limit": (
        _loosened_and_judged,
        (f"latency_p99_ms {NOT}limit: the evidence says 600.0, and 60.0 follows",),
    ),
    "check taken out": (
        _without("load_time_s"),
        (f"{CELL}: load_time_s has a limit (devices/rig.toml: limits.load_time_s), and was not checked",),
    ),
    "required check taken out": (_without("parity"), (f"{CELL}: parity is required, and was not checked",)),
    "threads": (
        _inside("cells", 0, "load", "threads", value=8),
        (f"{CELL}: load.threads is 8 by the evidence, and 1 by the device file rig.toml",),
    ),
    "options": (
        _inside("cells", 0, "load", "options", value={"opt": 1}),
        (f"{CELL}: load.options is {{'opt': 1}} by the evidence, and ",),
    ),
    "python": (
        _inside("cells", 0, "fingerprint", "python", value="3.9.1"),
        (f"{CELL}: fingerprint.python is '3.9.1' by the evidence, and '3.",),
    ),
    "a wheel": (
        _inside("cells", 0, "bundle", "wheels", 0, "version", value="9"),
        (f"{CELL}: bundle.wheels is ", "by the bundle's manifest"),
    ),
    "library": (
        _inside("cells", 0, "load", "library", value="/tmp/evil.so"),
        (f"{CELL}: load.library is '/tmp/evil.so' by the evidence, and None by the bundle's manifest",),
    ),
    "artifact": (
        _inside("cells", 0, "load", "artifact", value="artifact/other.onnx"),
        ("the evidence says that a file was loaded that was not in the bundle",),
    ),
    "emulated by its account": (_cell(emulated=True), ("rig is emulated by the evidence, and real by its file",)),
    "emulator's fingerprint": (
        _named(_inside("cells", 0, "fingerprint", "emulator", value={"qemu": "7.2", "image": "pi4", "state": None})),
        (f"{CELL}: rig was emulated, and a real device is asked for",),
    ),
    "commit": (
        _run(commit="0" * 40),
        ("the evidence is of commit 000000000000, and ", "commit 000000000000 is not in"),
    ),
    "another commit": (_of_no_commit, ("is checked out", "run the tests again on what is checked out, or check out ")),
    "dirty tree": (
        lambda project: project.change(lambda content: content.update(commit=content["commit"] + "+changes")),
        ("the evidence is of a tree with changes that are not in commit ",),
    ),
    "no commit": (_run(commit=None), ("the evidence is of no commit", "put the project under git")),
    "too old": (_ago(days=15), ("the evidence is 15.0 days old, and may be 14: ",)),
    "from the future": (
        _ago(days=-2),
        ("the evidence is from the future: started ", "set the clocks of both machines"),
    ),
    "xfailed": (
        _named(_cell(unfinished=["test_latency.py::test_latency"])),
        (f"{CELL}: tests came to no check: test_latency.py::test_latency", "without skipping them"),
    ),
    "narrowed": (
        lambda project: project.change(lambda content: content["asked"].update(selected="parity", narrowed=True)),
        ("the run was narrowed to some tests: -k 'parity'", "run the tests again, without -k"),
    ),
    "going on": (_run(finished=None), ("the run has not ended: it goes on, or was killed", "wait for its end")),
    "the decision takes none": (
        _inconclusive,
        ("the decision takes no backend of net on rig: onnxruntime: latency_p99_ms is not settled", "what would: "),
    ),
    "inconclusive": (
        _named(_inconclusive),
        (f"{CELL}: latency_p99_ms is INCONCLUSIVE: too few samples", "--allow-inconclusive does not count"),
    ),
    "not signed": (
        _signed_by_another,
        ("the evidence is not signed by a key of evidence.signed_by (team.pub)", "pytest -m hil --sign KEY"),
    ),
    "edited after it was signed": (
        _edited_after_signing,
        ("evidence.sigstore.json beside the evidence is of another evidence.json", "do not change evidence"),
    ),
    "another device": (
        lambda project: change_policy(project, ('devices = ["rig"]', 'devices = ["robot"]')),
        ("net did not run on robot, only on rig", "pytest -m hil --device rig --device robot"),
    ),
    "another model": (
        lambda project: change_policy(project, ('model = "net"', 'model = "digits"')),
        ("the model digits did not run; net did",),
    ),
    "another backend": (
        lambda project: change_policy(project, ('backend = "decision"', 'backend = "torchscript"')),
        ("net on rig did not run with torchscript, only with onnxruntime",),
    ),
    "only measured": (
        lambda project: change_policy(project, ('"latency_p99_ms"', '"latency_p50_ms"')),
        (f"{CELL}: latency_p50_ms is required to PASS, and is only MEASURED", "set a limit on it in the model file"),
    ),
    "cache emptied": (
        lambda project: shutil.rmtree(project.cache / "exports"),
        ("parts of the bundle that was tested cannot be had any more", "the artifact: model.onnx (SHA-256 "),
    ),
    "wheel damaged": (
        lambda project: [
            path.write_bytes(path.read_bytes() + b"x") for path in project.cache.glob("wheels/files/*/numpy*.whl")
        ],
        ("parts of the bundle that was tested cannot be had any more", "the wheel numpy-"),
    ),
    "truncated": (
        lambda project: os.truncate(project.evidence / "evidence.json", 3000),
        ("the evidence is not JSON, or was cut short",),
    ),
    "newer": (_run(schema=2), ("the evidence was written by a newer hilgate", "found:  schema 2")),
    "older": (
        lambda project: project.change(
            lambda content: [content["cells"][0].pop(key) for key in ("load", "answers", "timed")]
        ),
        ("the evidence is of an older hilgate (hilgate 0.1.0), and lacks ", f"{CELL}: answers, {CELL}: load"),
    ),
    "none": (lambda project: (project.evidence / "evidence.json").unlink(), ("the evidence is not there",)),
    "FIFO": (
        _fifo,
        ("the evidence is no regular file",),
    ),
    "key for all": (lambda project: project.key.chmod(0o644), ("others may read the signing key", "mode 0644")),
    "key for the group": (lambda project: project.key.chmod(0o640), ("others may read the signing key", "mode 0640")),
    "no key": (lambda project: project.key.unlink(), ("the signing key is not there",)),
    "public key": (
        lambda project: shutil.copyfile(project.public, project.key),
        ("this is a public key, and signing takes the private one",),
    ),
    "another's key": (
        lambda project: project.key.write_bytes(private_pem("P-256 of another")),
        ("the policy does not take releases that this key signs", "keys/team.pub", "signers.keys"),
    ),
    "RSA key": (lambda project: project.key.write_bytes(private_pem("RSA")), ("RSA",)),
    "encrypted key": (
        lambda project: project.key.write_bytes(private_pem("P-256", b"secret")),
        ("passphrase",),
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks(project: GateProject, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each is refused in words that name it, with exit status 1, and nothing is written."""
    monkeypatch.setattr("harness.cli.gating.terminal_prompt", lambda: None)
    attack, texts = ATTACKS[name]
    attack(project)
    output = refused(project, *texts)
    assert "next: " in output or "wanted: " in output


def test_tracked_key(project: GateProject) -> None:
    """A key that git tracks is everybody's."""
    key = project.root / "team.key"
    key.touch(mode=0o600)
    key.write_bytes(project.key.read_bytes())
    project.commit()
    result = hilgate("gate", project.evidence, "--policy", project.policy, "--key", key)
    assert result.exit_code == 1
    assert "git tracks the signing key" in result.output
    assert "git rm --cached team.key, and make a new key" in result.output


def test_all_reasons_at_once(project: GateProject) -> None:
    """Everything that speaks against a release is told in one refusal, numbered, each with what would satisfy it."""
    _ago(days=20)(project)
    _set("latency_p99_ms", limit=61.0)(project)
    _set("memory_peak_mib", value=1.5)(project)
    _answers(project)
    (project.root / "net.py").write_text((project.root / "net.py").read_text() + "\n")
    (project.cache / "exports").rename(project.cache / "elsewhere")
    output = refused(
        project,
        "refused: the gate does not release net: 6 reasons",
        "1. the evidence is 20.0 days old",
        "2. the working tree is not clean: net.py",
        f"3. latency_p99_ms {NOT}limit: ",
        f"4. memory_peak_mib {NOT}value: ",
        "5. parts of the bundle",
        "6. the answers are not those of the evidence",
        f"policy: {project.policy}",
    )
    assert output.count("     next: ") == 6


def test_same_thing_is_told_once(project: GateProject) -> None:
    """A required metric that is only MEASURED is one reason."""
    change_policy(project, ('"latency_p99_ms"', '"latency_p50_ms"'))
    refused(project, "refused: the gate does not release net: 1 reason\n")


def test_dry_run_writes_nothing(project: GateProject) -> None:
    """It judges and collects, with a key or without; what it says of a bad key, or bad evidence, is what counts."""
    before = snapshot(project.root)
    words = ("gate", project.evidence, "--policy", "gate.toml", "--dry-run")
    for more in ((), ("--key", project.key)):
        result = hilgate(*words, *more)
        assert (result.exit_code, snapshot(project.root)) == (0, before)
        assert "passed: net would be made in build/release; nothing was, for --dry-run" in result.output
    project.key.chmod(0o644)
    assert "others may read the signing key" in hilgate(*words, "--key", project.key).output
    _ago(days=20)(project)
    assert "the evidence is 20.0 days old" in hilgate(*words).output
    assert snapshot(project.root) == before


@pytest.mark.parametrize("kind", ["a folder", "an empty folder", "a file", "a dangling link", "a link to a folder"])
def test_output_is_there_already(project: GateProject, kind: str) -> None:
    """Whatever has that name stays as it is; it is told before anything is judged."""
    place = project.root / "build" / "release"
    if "folder" in kind and "link" not in kind:
        (place / "net").mkdir(parents=True)
    if kind == "an empty folder":
        (place / "net").rmdir()
    if kind == "a file":
        place.write_text("mine")
    if "link" in kind:
        place.symlink_to("nowhere" if "dangling" in kind else project.evidence)
    output = refused(project, "the release has no room: something of that name is there", "name another with -o")
    assert "judged again" not in output
    assert hilgate("gate", project.evidence, "--policy", "gate.toml", "--key", project.key).exit_code == 1  # default


def test_output_through_a_link(project: GateProject) -> None:
    """A folder above the release may be a link of the user's; the release is made where it leads."""
    (project.key.parent / "releases").mkdir()
    (project.root / "build" / "out").symlink_to(project.key.parent / "releases")
    assert gate(project, output="build/out/new/first").exit_code == 0
    assert (project.key.parent / "releases/new/first/net/run").is_file()


@pytest.mark.parametrize(
    "place", ["/proc/nothing/release", "/dev/null/release", "gate.toml/release", "build/" + "x" * 300]
)
def test_output_cannot_be_written(project: GateProject, place: str) -> None:
    """Where no folder can be made, it is a clear error, and nothing is left of what was begun."""
    before = snapshot(project.root)
    result = gate(project, output=place)
    assert (result.exit_code, "Traceback" in result.output) == (1, False), result.output
    assert "cannot be written" in result.output
    assert snapshot(project.root) == before


# The steps at which the disk may be full, as places where a function is called while a release is made.
STEPS = ["mkdir", "mkdtemp", "first file", "a file in the middle", "unpack", "sums", "seal", "second seal", "rename"]


@pytest.mark.parametrize("step", STEPS)
def test_disk_is_full(project: GateProject, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """At each step: a message, exit status 1, and no folder, no hidden one, not even one above it that was made."""
    fail_at(monkeypatch, step, OSError(errno.ENOSPC, "No space left on device"))
    before = snapshot(project.root)
    result = gate(project, output="new/folders/release")
    assert result.exit_code == 1, result.output
    assert "No space left on device" in result.output
    assert "free some space there, or name another folder: -o DIR; nothing of the release was left" in result.output
    assert snapshot(project.root) == before


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt(), SystemExit(143)])
def test_nothing_is_left(
    project: GateProject, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    """Whatever ends it at whatever step, a broken disk, Ctrl-C or SIGTERM: nothing is left."""
    found = examined(project)
    before = snapshot(project.root)
    fail_at(monkeypatch, step, error)
    signer = load_signer(str(project.key))
    with pytest.raises((StorageError, KeyboardInterrupt, SystemExit)):
        gating.make_release(found, signer, project.root / "new/folders/release", now=datetime.now(UTC))
    assert snapshot(project.root) == before


def fail_at(monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException) -> None:
    """Have one step of making a release fail."""
    from harness.release import layout

    if step == "mkdir":
        make = Path.mkdir

        def mkdir(path: Path, *arguments: Any, **keys: Any) -> None:
            if path.name == "folders":
                raise error
            make(path, *arguments, **keys)

        monkeypatch.setattr(Path, "mkdir", mkdir)
        return
    place, name, count = {
        "mkdtemp": (tempfile, "mkdtemp", 0),
        "first file": (layout._Writing, "_create", 0),
        "a file in the middle": (layout._Writing, "_create", 20),
        "unpack": (layout, "unpack", 0),
        "sums": (layout, "write_sums", 0),
        "seal": (gating, "_write", 0),
        "second seal": (gating, "_write", 1),
        "rename": (Path, "rename", 0),
    }[step]
    calls, real = list[Any](), getattr(place, name)

    def fail(*arguments: Any, **keys: Any) -> Any:
        is_ours = step != "mkdtemp" or str(keys["prefix"]).startswith(".release")  # the cache makes folders, too
        calls.extend([arguments] * is_ours)
        if is_ours and len(calls) > count:
            raise error
        return real(*arguments, **keys)

    monkeypatch.setattr(place, name, fail)


def test_output_appears_meanwhile(project: GateProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who makes the folder while the release is laid out keeps it."""
    place = project.root / "build" / "release"
    monkeypatch.setattr(gating, "sync_file_system", lambda _: place.mkdir())
    result = gate(project)
    assert (result.exit_code, list(place.iterdir()), left(project)) == (1, [], ["release"])
    assert "the release has no room" in result.output


def test_a_part_is_swapped_meanwhile(project: GateProject) -> None:
    """Who changes the artifact in the cache after it was collected has it refused, and nothing is left."""
    found = examined(project)
    file = next(iter(found.parts.artifact.values()))
    before = snapshot(project.root)
    file.source.chmod(0o600)
    file.source.write_bytes(b"x" * file.bytes)
    signer = load_signer(str(project.key))
    from harness.errors import InputError

    with pytest.raises(InputError, match="a part of the bundle that was tested is damaged in the cache: artifact/"):
        gating.make_release(found, signer, project.root / "build/release", now=datetime.now(UTC))
    assert snapshot(project.root) == before


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGHUP, signal.SIGINT))],
)
def test_signals(project: GateProject, number: int) -> None:
    """The real program, ended while it lays out: its hidden folder goes, too."""
    code = (
        "import os, time; from pathlib import Path; from harness.release import gate, layout\n"
        "def wait(*arguments): Path('ready').touch(); time.sleep(60)\n"
        "layout.write_sums = wait\n"
        "from harness.cli import main; main()"
    )
    words = ["gate", "build/hil", "--policy", "gate.toml", "--key", str(project.key), "-o", "build/release"]
    project.git("config", "core.excludesFile", "/dev/null")
    (project.root / ".git/info/exclude").write_text("ready\n")
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 60
    while not (project.root / "ready").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [name[:9] for name in left(project)] == [".release-"]
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, -number), output
    assert left(project) == []


def test_predicate(project: GateProject) -> None:
    """It is written where it is asked for; where that cannot be, nothing is released."""
    for place, text in (
        ("build/release/net/predicate.json", "the predicate cannot be written there"),
        ("build", "the predicate cannot be written there"),
        ("gate.toml/predicate.json", "cannot be written"),
    ):
        refused(project, text, words=("--write-predicate", place))
    assert gate(project, "--write-predicate", "build/predicate.json").exit_code == 0
    assert '"passedTests"' in (project.root / "build/predicate.json").read_text()
    assert hilgate("verify", "build/release", "--policy", "gate.toml").exit_code == 0


@pytest.mark.parametrize("umask", [0o077, 0o002, 0o000])
def test_umask(project: GateProject, umask: int) -> None:
    """All users may read a release, and none but its owner may write to it, whatever the umask."""
    before = os.umask(umask)
    try:
        made = release(project, load_signer(str(project.key)), project.root / "build/release")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.lstat().st_mode) for path in (made.folder, *made.folder.rglob("*"))}
    assert modes == {0o644, 0o755}
    assert hilgate("verify", "build/release", "--policy", "gate.toml").exit_code == 0


def test_other_current_folders(project: GateProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project is that of the nearest pytest.ini; outside of one, its devices are missed."""
    (project.root / "build" / "deep").mkdir()
    monkeypatch.chdir(project.root / "build" / "deep")
    key = ("--key", project.key)
    assert hilgate("gate", "../hil", "--policy", "../../gate.toml", *key, "-o", "../one").exit_code == 0
    assert (project.root / "build/one/net/run").is_file()
    monkeypatch.chdir(project.root.parent)
    output = hilgate("gate", project.evidence, "--policy", project.policy, *key).output
    assert "'rig'" in output
    named = ("--devices", project.root / "devices", "gate", project.evidence, "--policy", project.policy, *key)
    output = hilgate(*named).output
    assert "the project is in no git repository" in output
    verified = hilgate("verify", project.root / "build/one", "--policy", project.policy)  # the policy's own devices
    assert verified.exit_code == 0, verified.output


def test_project_without_pytest_ini(project: GateProject) -> None:
    """The current folder is the project's then."""
    (project.root / "pytest.ini").unlink()
    project.commit()
    assert hilgate("gate", "build/hil", "--policy", "gate.toml", "--key", project.key).exit_code == 0
    assert left(project) == ["release"]


def test_evidence_behind_links(project: GateProject) -> None:
    """A link to the evidence, or to its folder, leads to all that lies beside it."""
    (project.root / "build" / "last").symlink_to("hil")
    (project.root / "build" / "last.json").symlink_to("hil/evidence.json")
    for name in ("last", "last.json", "hil/evidence.json"):
        words = ("gate", f"build/{name}", "--policy", "gate.toml", "--dry-run")
        assert hilgate(*words).exit_code == 0


def test_policy_of_another_folder(project: GateProject) -> None:
    """Its keys lie beside it; the devices are the project's."""
    folder = project.key.parent / "rules"
    (folder / "keys").mkdir(parents=True)
    shutil.copyfile(project.public, folder / "keys" / "team.pub")
    shutil.copyfile(project.policy, folder / "gate.toml")
    assert hilgate("gate", "build/hil", "--policy", folder / "gate.toml", "--key", project.key).exit_code == 0


def test_another_locale(project: GateProject) -> None:
    """Where the locale has no Unicode, the program still says all, and a release's names are what they are."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = ["gate", "build/hil", "--policy", "gate.toml", "--key", str(project.key)]
    program = [sys.executable, "-c", "from harness.cli import main; main()"]
    for more in (words, ["verify", "build/release", "--policy", "gate.toml"]):
        done = subprocess.run([*program, *more], cwd=project.root, env=environment, capture_output=True, check=False)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr


def test_evidence_is_read_once(project: GateProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is judged is what is released: who changes the evidence while it is judged changes nothing."""
    from harness.release import conditions
    from harness.release import examine as examining

    honest = (project.evidence / "evidence.json").read_bytes()
    cells = conditions.cells_of

    def change_and_choose(*arguments: Any) -> Any:
        project.change(lambda content: content.update(tool="another"))
        return cells(*arguments)

    monkeypatch.setattr(examining, "cells_of", change_and_choose)
    assert gate(project).exit_code == 0
    assert (project.root / "build/release/net/evidence.json").read_bytes() == honest


def test_other_tables_of_the_policy(project: GateProject) -> None:
    """A policy's mistakes are told all at once, before any evidence is read."""
    text = policy_text(devices=("rigg",), require=("latency_p99",), backend="onxruntime")
    project.policy.write_text(text.replace("[target]", "surprise = 1\n[target]"))
    refused(project, "the policy has 4 errors", "'rigg'", "'latency_p99'", "'onxruntime'", "surprise")


def test_predicate_over_what_is_read(project: GateProject) -> None:
    """A slip of the hand would cost the key, or make policy and keys another thing than what is committed."""
    for place in (project.policy, project.public, project.key, project.evidence / "evidence.json"):
        before = place.read_bytes()
        refused(
            project, "the predicate cannot be written there", "the gate reads", words=("--write-predicate", str(place))
        )
        assert place.read_bytes() == before


@pytest.mark.parametrize("what", ["evidence", "predicate", "output"])
def test_paths_that_cannot_be(project: GateProject, what: str) -> None:
    """Too long for the system, or links in a circle: an error of ours, and nothing is left."""
    (project.root.parent / "circle").symlink_to("circle")
    for place, text in (("a" * 5000, "File name too long"), (str(project.root.parent / "circle"), "")):
        words = ["gate", place if what == "evidence" else project.evidence, "--policy", project.policy]
        words += ["--key", project.key, "-o", place if what == "output" else "build/release"]
        words += ["--write-predicate", place] if what == "predicate" else []
        if (what, text) == ("predicate", ""):  # a link is replaced, wherever it leads
            continue
        result = hilgate(*words)
        assert (result.exit_code, text in result.output) == (1, True), result.output
        assert left(project) == []
