"""Attacks on a release that was signed: verify refuses each, and names the thing. There is no network and no cache."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.release.policy import Policy
from harness.release.refusal import Refused
from harness.release.sums import read_sums
from harness.release.verify import Verified, describe, verify_release
from harness.signing.keys import Signer, load_signer
from tests.support.gate_project import GateProject, make_project
from tests.support.gating import load, put_behind_link, release, share_model_processes, sign_again, statement_of
from tests.support.keys import pair

RANDOM_PLACES = 200
OTHER = b"another version\n"


@dataclass(frozen=True)
class Made:
    """Releases that were made once: each the folder that the gate wrote. Tests change copies.

    Attributes:
        first: the release that is attacked.
        second: of the same project, made a day later.
        sha256: the first's name.
    """

    project: GateProject
    signer: Signer
    first: Path
    second: Path
    sha256: str


@dataclass
class Attacked:
    """A copy of the first release.

    Attributes:
        outer: the folder that the gate wrote.
        policy: the policy's file, which may be changed.
    """

    outer: Path
    policy: Path
    made: Made

    @property
    def folder(self) -> Path:
        return self.outer / "net"

    @property
    def attestation(self) -> Path:
        return self.outer / "net.sigstore.json"

    def load(self) -> Policy:
        return load(self.made.project, self.policy)

    def verify(self, *, over: Path | None = None) -> Verified:
        return verify_release(self.outer, self.load(), over=over)

    def replace(self, old: str, new: str) -> None:
        """Change the policy of whoever verifies."""
        text = self.policy.read_text()
        assert text.count(old) == 1
        self.policy.write_text(text.replace(old, new))

    def sums(self, change: Callable[[bytes], bytes]) -> None:
        """Change SHA256SUMS, and have the team's key sign that."""
        import hashlib

        place = self.folder / "SHA256SUMS"
        place.write_bytes(change(place.read_bytes()))
        sha256 = hashlib.sha256(place.read_bytes()).hexdigest()

        def adopt(statement: dict[str, Any]) -> None:
            statement["predicate"]["hilgate"]["sums_sha256"] = sha256
            next(each for each in statement["subject"] if each["name"] == "SHA256SUMS")["digest"]["sha256"] = sha256

        sign_again(self.attestation, self.made.signer, adopt)

    def facts(self, **keys: Any) -> None:
        """Change our own facts in the attestation, and have the team's key sign that."""
        sign_again(self.attestation, self.made.signer, lambda statement: statement["predicate"]["hilgate"].update(keys))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        share_model_processes(patch)
        project = make_project(folder, shipped=True)
        patch.setenv("HILGATE_CACHE", str(project.cache))
        signer = load_signer(str(project.key))
        first = release(project, signer, folder / "first")
        now = datetime.now(UTC) + timedelta(days=1)
        second = release(project, signer, folder / "second", now=now)
    shutil.rmtree(project.cache)
    return Made(project, signer, first.folder, second.folder, first.sha256)


@pytest.fixture(autouse=True)
def alone(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take network and cache away."""

    def refuse(*args: object, **keys: object) -> None:
        raise AssertionError("verify asks for the network")

    nowhere = tmp_path / "no cache"
    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setenv("HILGATE_CACHE", str(nowhere))
    yield
    assert not nowhere.exists()


@pytest.fixture
def attacked(made: Made, tmp_path: Path) -> Iterator[Attacked]:
    outer = tmp_path / "release"
    shutil.copytree(made.first, outer)
    policy = made.project.root / "verify.toml"  # its paths begin in its folder
    shutil.copyfile(made.project.policy, policy)
    yield Attacked(outer, policy, made)
    policy.unlink()


def refused(attacked: Attacked, *texts: str, over: Path | None = None) -> str:
    """Verify, and return the refusal, which has these texts."""
    with pytest.raises((InputError, Refused)) as caught:
        attacked.verify(over=over)
    message = str(caught.value)
    assert [text for text in texts if text not in message] == [], message
    return message


def test_release_is_verified(attacked: Attacked, made: Made) -> None:
    """A release that nobody touched passes, by either of its folders, over an older one and over itself."""
    policy = attacked.load()
    for place in (attacked.outer, attacked.folder, attacked.outer / "net" / ".." / "net"):
        verified = verify_release(place, policy)
        assert (verified.attested.sums_sha256, verified.signer) == (made.sha256, made.signer.public.fingerprint)
        assert verified.files == sum(path.is_file() for path in attacked.folder.rglob("*"))
    assert verify_release(made.second, policy, over=attacked.outer).attested.name == "net"
    assert attacked.verify(over=made.first).attested.name == "net"
    (attacked.outer.parent / "current").symlink_to(attacked.folder)
    assert verify_release(attacked.outer.parent / "current", policy).folder == attacked.folder


def test_every_file_has_its_hash(attacked: Attacked) -> None:
    """A byte of each file of each kind, the first, the last, or one between: the message names the file."""
    files = sorted(path for path in attacked.folder.rglob("*") if path.is_file())
    kinds = {path.relative_to(attacked.folder).parts[0] for path in files}
    assert kinds >= {"artifact", "runtime", "agent", "check", "manifest.json", "evidence.json", "run", "env"}
    policy = attacked.load()
    for number, path in enumerate(files):
        content = path.read_bytes()
        if content:
            _flip(path, content, (0, len(content) // 2, len(content) - 1)[number % 3], 0x01)
        else:
            path.write_bytes(b"\n")
        with pytest.raises(InputError, match="what was signed") as caught:
            verify_release(attacked.outer, policy)
        assert str(path.relative_to(attacked.folder)) in str(caught.value)
        path.write_bytes(content)
    verify_release(attacked.outer, policy)


def test_random_bytes(attacked: Attacked) -> None:
    """200 bytes at random places of files and signatures, to random values: refused, and named."""
    draw = random.Random(21)
    files = sorted(path for path in attacked.outer.rglob("*") if path.is_file())
    sizes = [path.stat().st_size for path in files]
    policy = attacked.load()
    for _ in range(RANDOM_PLACES):
        path = draw.choices(files, sizes)[0]
        content = path.read_bytes()
        _flip(path, content, draw.randrange(len(content)), draw.randrange(1, 256))
        if path.parent == attacked.outer and _means_the_same(path, content):  # white space of JSON
            verify_release(attacked.outer, policy)
        else:
            with pytest.raises(InputError) as caught:
                verify_release(attacked.outer, policy)
            assert path.name in str(caught.value)
        path.write_bytes(content)
    verify_release(attacked.outer, policy)


def _flip(path: Path, content: bytes, place: int, bits: int) -> None:
    path.write_bytes(content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :])


def _means_the_same(path: Path, content: bytes) -> bool:
    try:
        return bool(json.loads(path.read_bytes()) == json.loads(content))
    except ValueError:
        return False


# What is put into the folder, or taken away: who does it, and the words of the refusal.
Attack = Callable[[Path], object]


def _write(name: str, content: bytes = b"import os\n", mode: int = 0o644) -> Attack:
    def write(folder: Path) -> None:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(mode)

    return write


def _in_place(name: str, make: Callable[[Path], object]) -> Attack:
    def put(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return put


def _linked(path: Path) -> None:
    """Move the file away, and leave a link to it: every byte that is read through it is the right one."""
    away = path.parents[1] / "away"
    shutil.copyfile(path.parents[1] / "whole" / path.name, away)
    path.symlink_to(away)


def _device(path: Path) -> None:
    try:
        os.mknod(path, 0o644 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this user may not make device nodes")


def _bind(path: Path) -> None:
    import _socket  # the fixture took socket.socket away

    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path has 108 bytes at most
    try:
        own = _socket.socket(_socket.AF_UNIX)
        own.bind(path.name)
        own.close()
    finally:
        os.chdir(here)


def _mode(name: str, mode: int) -> Attack:
    return lambda folder: (folder / name).chmod(mode)


def _rename(name: str, new: bytes | str) -> Attack:
    return lambda folder: (folder / name).rename(folder / os.fsdecode(new))


def _deep(folder: Path) -> None:
    """Make 1500 folders in each other, deeper than Python's stack."""
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)


MORE = "there are files that are not of the release"
LESS = "files of the release are missing"
KIND = "something in the release is no regular file"
MODE = "a file of the release has a wrong mode"
NAME = "a file has a name that no release has"
FOLDER: dict[str, tuple[Attack, tuple[str, ...]]] = {
    "sitecustomize": (_write("sitecustomize.py"), (MORE, "sitecustomize.py")),
    "sitecustomize of the runtime": (_write("runtime/sitecustomize.py"), (MORE, "runtime/sitecustomize.py")),
    "byte code": (_write("agent/__pycache__/check.cpython-311.pyc"), (MORE, "agent/__pycache__/check.cpython-311.pyc")),
    "byte code beside": (_write("agent/check.pyc"), (MORE, "agent/check.pyc")),
    "library": (_write("runtime/libm.so.6", b"\x7fELF"), (MORE, "runtime/libm.so.6")),
    "path file": (_write("runtime/x.pth"), (MORE, "runtime/x.pth")),
    "hidden": (_write(".env"), (MORE, ".env")),
    "four": (lambda folder: [_write(f"{n}.py")(folder) for n in "abcd"], (MORE, "a.py, b.py, c.py and 1 more")),
    "empty folder": (lambda folder: (folder / "numpy").mkdir(), (MORE, "numpy/")),
    "less": (lambda folder: (folder / "env").unlink(), (LESS, "no env")),
    "less of the artifact": (
        lambda folder: (folder / "artifact/model.onnx").unlink(),
        (LESS, "no artifact/model.onnx"),
    ),
    "folder less": (lambda folder: shutil.rmtree(folder / "check"), (LESS, "no check/0-in-0.bin, check/0-out-0.bin")),
    "no sums": (lambda folder: (folder / "SHA256SUMS").unlink(), ("SHA256SUMS cannot be read", "No such file")),
    "link": (_in_place("env", _linked), (KIND, "a link", "net/env")),
    "dangling link": (_in_place("env", lambda path: path.symlink_to("nowhere")), (KIND, "a link", "net/env")),
    "link of the sums": (_in_place("SHA256SUMS", _linked), ("SHA256SUMS cannot be read", "symbolic links")),
    "link more": (lambda folder: (folder / "more").symlink_to("env"), (KIND, "a link", "net/more")),
    "linked folder": (
        lambda folder: put_behind_link(folder / "check"),
        (KIND, "a link", "net/check"),
    ),
    "FIFO": (_in_place("run", os.mkfifo), (KIND, "a FIFO", "net/run")),
    "FIFO of the sums": (_in_place("SHA256SUMS", os.mkfifo), ("SHA256SUMS is no regular file",)),
    "socket": (_in_place("run", _bind), (KIND, "a socket", "net/run")),
    "device": (_in_place("env", _device), (KIND, "a device", "net/env")),
    "folder in a file's place": (_in_place("env", lambda path: path.mkdir()), (LESS, "no env")),
    "executable": (_mode("env", 0o755), (MODE, "not executable", "0755", "net/env")),
    "executable for one": (_mode("agent/check.py", 0o744), (MODE, "not executable", "0744", "net/agent/check.py")),
    "executable sums": (_mode("SHA256SUMS", 0o755), (MODE, "not executable", "0755", "net/SHA256SUMS")),
    "not executable": (_mode("run", 0o644), (MODE, "0644", "net/run")),
    "others write": (_mode("env", 0o646), (MODE, "nobody but its owner may write to it", "0646", "net/env")),
    "the group writes": (_mode("run", 0o775), (MODE, "nobody but its owner may write to it", "0775", "net/run")),
    "setuid": (_mode("run", 0o4755), (MODE, "no setuid", "4755", "net/run")),
    "setgid": (_mode("run", 0o2755), (MODE, "no setuid", "2755", "net/run")),
    "sticky": (_mode("run", 0o1755), (MODE, "no setuid", "1755", "net/run")),
    "others write to a folder": (_mode("agent", 0o777), (MODE, "0777", "net/agent")),
    "others write to the release": (_mode("", 0o777), (MODE, "0777", "/net")),
    "newline": (_rename("env", "e\nv"), (NAME, "it has a newline", r"e\nv")),
    "backslash": (_rename("env", "e\\v"), (NAME, "it has a backslash")),
    "not UTF-8": (_rename("env", b"e\xffv"), (NAME, "it is not UTF-8", r"e\udcffv")),
    "right to left": (_rename("env", "e\u202ev"), (NAME, "a character that cannot be seen")),
    "deep": (_deep, (NAME, "it has 1025 bytes, more than 1024")),
    "another case": (_rename("env", "ENV"), (LESS, "no env")),
}


@pytest.mark.parametrize("name", FOLDER)
def test_folder_is_exactly_the_release(attacked: Attacked, name: str) -> None:
    """A file more or less, another mode, and what is no regular file."""
    shutil.copytree(attacked.folder, attacked.outer / "whole")
    attack, texts = FOLDER[name]
    attack(attacked.folder)
    try:
        refused(attacked, *texts)
    finally:
        if name == "deep":
            os.system(f"rm -rf '{attacked.folder}/d'")  # noqa: S605  # Python's own goes no deeper than its stack


def test_another_library_with_new_sums(attacked: Attacked) -> None:
    """Who swaps a library and makes SHA256SUMS anew has no signature on that; nor if the name in it is another's."""
    library = next(path for path in sorted(attacked.folder.rglob("runtime/*/data/table.bin")))
    library.write_bytes(OTHER)
    name = str(library.relative_to(attacked.folder))
    refused(attacked, "files of the release are not what was signed", name)
    _write_sums(attacked.folder)
    refused(attacked, "SHA256SUMS is not what was signed", attacked.made.sha256)


def _write_sums(folder: Path) -> None:
    import hashlib

    place = folder / "SHA256SUMS"
    names = read_sums(place.read_bytes(), "")
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    place.write_text("".join(lines))


def _named(name: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content + b"f" * 64 + b"  " + name + b"\n"


SUMS = "the sums of the release name what cannot be in a release"
NAMES: dict[str, tuple[Callable[[bytes], bytes], tuple[str, ...]]] = {
    "absolute": (_named(b"/etc/passwd"), (SUMS, "it is absolute: '/etc/passwd'")),
    "out": (_named(b"x/../../y"), (SUMS, "it leads out of its folder")),
    "newline": (_named(b"x\ny"), ("the sums of the release have a line that is none", "'y'")),
    "escaped": (lambda content: content + b"\\" + b"f" * 64 + b"  x\\ny\n", ("have a line that is none",)),
    "backslash": (_named(b"x\\y"), (SUMS, "it has a backslash")),
    "not UTF-8": (_named(b"x\xff"), (SUMS, "it is not UTF-8")),
    "long": (_named(b"x" * 4000), (SUMS, "it has 4000 bytes, more than 1024")),
    "doubled": (lambda content: content + content.splitlines()[-1] + b"\n", ("name a file twice",)),
    "doubled slash": (_named(b"x//y"), (SUMS, "it is not the shortest way to write it")),
    "the list": (_named(b"SHA256SUMS"), (SUMS, "it is the list itself")),
    "order": (lambda content: b"".join(content.splitlines(True)[::-1]), ("are not in order",)),
    "cut": (lambda content: content[:-1], ("are cut short",)),
    "empty": (lambda content: b"", ("are empty",)),
    "binary": (_named(b"y*"), (LESS, "no y*")),
    "one more": (_named(b"x"), (LESS, "no x")),
    "one less": (lambda content: b"".join(content.splitlines(True)[1:]), (MORE, "README.md")),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_in_signed_sums(attacked: Attacked, name: str) -> None:
    """Not even the team's own signature makes another name of these."""
    change, texts = NAMES[name]
    attacked.sums(change)
    message = refused(attacked, *texts)
    assert len(message) < 2000


def test_whole_release_hidden_in_another(attacked: Attacked, made: Made) -> None:
    """An older release that somebody put into the folder, signed as it is, does not speak for it."""
    shutil.copytree(made.second, attacked.folder, dirs_exist_ok=True)
    with pytest.raises(InputError, match=MORE):
        verify_release(attacked.folder, attacked.load())
    attacked.attestation.unlink()
    with pytest.raises(InputError, match="the release has no attestation"):
        verify_release(attacked.folder, attacked.load())


def _swap(name: str) -> Callable[[Attacked], object]:
    return lambda attacked: shutil.copyfile(attacked.made.second / name, attacked.outer / name)


def _other_key(attacked: Attacked) -> None:
    signer, _ = pair(attacked.outer.parent / "other", "P-256 of another")
    sign_again(attacked.attestation, signer)


def _removed_key(attacked: Attacked) -> None:
    pair(attacked.outer.parent / "other", "P-256 of another")
    attacked.replace("keys/team.pub", str(attacked.outer.parent / "other" / "public.pem"))


def _signed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Attacked], object]:
    return lambda attacked: sign_again(attacked.attestation, attacked.made.signer, change)


def _other_subject(name: str) -> Callable[[dict[str, Any]], Any]:
    def change(statement: dict[str, Any]) -> None:
        next(each for each in statement["subject"] if each["name"] == name)["digest"]["sha256"] = "0" * 64

    return change


def _without_subject(name: str) -> Callable[[dict[str, Any]], Any]:
    def change(statement: dict[str, Any]) -> None:
        statement["subject"] = [each for each in statement["subject"] if each["name"] != name]

    return change


def _target(attacked: Attacked, **keys: Any) -> None:
    facts = statement_of(attacked.attestation)["predicate"]["hilgate"]
    attacked.facts(target={**facts["target"], **keys})


def _conditions(attacked: Attacked) -> None:
    facts = statement_of(attacked.attestation)["predicate"]["hilgate"]
    del facts["conditions"]["evidence"]
    attacked.facts(conditions=facts["conditions"])


POLICY = "the release was made under another policy: "
OF_ANOTHER = "the attestation is of another release"
ATTESTATIONS: dict[str, tuple[Callable[[Attacked], object], tuple[str, ...]]] = {
    "another release": (_swap("net.sigstore.json"), ("SHA256SUMS is not what was signed",)),
    "another name": (
        lambda attacked: attacked.facts(name="other"),
        ("the release is other, and the policy is for net", "name the other release, or its own policy"),
    ),
    "a policy for another name": (
        lambda attacked: _renamed(attacked, "arm"),
        ("the release is net, and the policy is for arm",),
    ),
    "another age": (
        lambda attacked: attacked.replace("max_age_days = 14", "max_age_days = 7"),
        (f"{POLICY}evidence.max_age_days was 14.0, and is 7.0", "run the gate again under this policy"),
    ),
    "another require": (
        lambda attacked: attacked.replace('"latency_p99_ms"', '"latency_p99_ms", "load_time_s"'),
        (f"{POLICY}evidence.require was ['parity', 'latency_p99_ms', 'memory_peak_mib'], and is ['parity', ",),
    ),
    "signed evidence": (
        lambda attacked: attacked.replace("signed_by = []", 'signed_by = ["keys/team.pub"]'),
        (
            f"{POLICY}evidence.signed was False, and is True",
            "the evidence is not signed by a key of evidence.signed_by",
        ),
    ),
    "another backend": (
        lambda attacked: attacked.replace('backend = "decision"', 'backend = "torchscript"'),
        (f"{POLICY}release.backend was 'decision', and is 'torchscript'",),
    ),
    "another device": (
        lambda attacked: attacked.replace('devices = ["rig"]', 'devices = ["robot"]'),
        (f"{POLICY}evidence.devices was ['rig'], and is ['robot']", "the evidence has no cell of net on robot"),
    ),
    "another target": (
        lambda attacked: attacked.replace('devices = ["robot"]', 'devices = ["rig"]'),
        (f"{POLICY}target.devices was ['robot'], and is ['rig']",),
    ),
    "another same": (
        lambda attacked: attacked.replace('same = ["arch", ', 'same = ["serial", "arch", '),
        (f"{POLICY}target.same was ['arch', ",),
    ),
    "no conditions": (_conditions, (f"{POLICY}evidence.devices was None, and is ['rig']",)),
    "attested target": (
        lambda attacked: _target(attacked, devices=["robot", "rig"]),
        ("the attestation is for another target: robot, rig, arch ",),
    ),
    "attested sameness": (
        lambda attacked: _target(attacked, same={"arch": "aarch64"}),
        ("the attestation is for another target: robot, arch aarch64; by policy and evidence it is robot, arch x86",),
    ),
    "unknown key": (_other_key, ("no accepted key signed this", "from your team")),
    "removed key": (_removed_key, ("no accepted key signed this",)),
    "revoked": (
        lambda attacked: attacked.replace("revoked = []", f'revoked = ["{attacked.made.sha256}"]'),
        ("is revoked", "make a new release; what is revoked must not run again"),
    ),
    "newer hilgate": (
        lambda attacked: attacked.facts(schema=2),
        ("the release was made by a newer hilgate", "schema 2", "verify it with that hilgate, or a newer one"),
    ),
    "evidence's": (
        _signed(lambda statement: statement["predicate"].pop("hilgate")),
        ("this is no attestation of a release",),
    ),
    "failed": (
        _signed(lambda statement: statement["predicate"].update(result="FAILED")),
        ("the attestation says that tests failed",),
    ),
    "failed tests": (
        _signed(lambda statement: statement["predicate"].update(failedTests=["net/rig/onnxruntime/parity"])),
        ("the attestation says that tests failed",),
    ),
    "subject sums": (_signed(_other_subject("SHA256SUMS")), (OF_ANOTHER, "SHA256SUMS")),
    "subject manifest": (_signed(_other_subject("manifest.json")), (OF_ANOTHER, "manifest.json")),
    "no subject": (_signed(_without_subject("evidence.json")), (OF_ANOTHER, "no evidence.json among its subjects")),
    "no zone": (
        lambda attacked: attacked.facts(created="2026-01-01T00:00:00"),
        ("the attestation is not what hilgate writes", "without its zone", "hilgate.created"),
    ),
    "another type of a fact": (
        lambda attacked: attacked.facts(executable="run"),
        ("the attestation is not what hilgate writes", "hilgate.executable"),
    ),
    "not executable": (lambda attacked: attacked.facts(executable=[]), (MODE, "not executable", "0755", "net/run")),
    "another manifest": (
        lambda attacked: attacked.facts(manifest_sha256="0" * 64),
        (OF_ANOTHER, f"manifest.json: {'0' * 64}"),
    ),
    "purpose": (
        lambda attacked: shutil.copyfile(attacked.outer / "net.model.sig", attacked.attestation),
        ("the key signed something else here",),
    ),
    "none": (lambda attacked: attacked.attestation.unlink(), ("the release has no attestation", "net.sigstore.json")),
    "linked": (
        lambda attacked: put_behind_link(attacked.attestation),
        ("the bundle is a link",),
    ),
    "model.sig of another": (
        _swap("net.model.sig"),
        ("the signature in OpenSSF Model Signing's format is not of this release",),
    ),
    "model.sig of another purpose": (
        lambda attacked: shutil.copyfile(attacked.attestation, attacked.outer / "net.model.sig"),
        ("the key signed something else here",),
    ),
    "model.sig by another": (
        lambda attacked: sign_again(
            attacked.outer / "net.model.sig", pair(attacked.outer.parent / "other", "P-256 of another")[0]
        ),
        ("no accepted key signed this", "net.model.sig"),
    ),
    "half copied": (lambda attacked: shutil.rmtree(attacked.folder / "runtime"), (LESS, "no runtime/")),
    "not there": (lambda attacked: shutil.rmtree(attacked.outer), ("there is no release", "nothing of that name")),
    "folder not there": (lambda attacked: shutil.rmtree(attacked.folder), ("there is no release",)),
    "a file": (
        lambda attacked: attacked.outer.rename(attacked.outer.with_name("away")).with_name("release").write_text(""),
        ("there is no release", "something else than a folder"),
    ),
}


def _renamed(attacked: Attacked, name: str) -> None:
    attacked.replace('name = "net"', f'name = "{name}"')
    for path in list(attacked.outer.iterdir()):
        path.rename(attacked.outer / path.name.replace("net", name, 1))


@pytest.mark.parametrize("name", ATTESTATIONS)
def test_attestation_is_of_this_release_and_policy(attacked: Attacked, name: str) -> None:
    """Signatures of something else, for something else, by somebody else; and what is not there."""
    attack, texts = ATTESTATIONS[name]
    attack(attacked)
    refused(attacked, *texts)


def test_several_reasons_at_once(attacked: Attacked) -> None:
    """All that a policy has against a release is told in one refusal, numbered, each with what to do."""
    attacked.replace("max_age_days = 14", "max_age_days = 7")
    attacked.replace("revoked = []", f'revoked = ["{attacked.made.sha256}"]')
    attacked.replace('devices = ["robot"]', 'devices = ["rig"]')
    message = refused(attacked, "refused: the policy does not take net: 3 reasons\n", "\n  3. ")
    assert message.count("\n     next: ") == 3


def test_not_over_a_newer_one(attacked: Attacked, made: Made) -> None:
    """What is there may not be newer; and must itself be what was signed."""
    message = refused(attacked, "the release is older than what is there: signed ", over=made.second)
    assert "run the gate again: what goes back is a new release, too" in message
    there = attacked.outer.parent / "there"
    shutil.copytree(made.second, there)
    sign_again(there / "net.sigstore.json", pair(attacked.outer.parent / "other", "P-256 of another")[0])
    refused(attacked, "no accepted key signed this", "there/net.sigstore.json", over=there)
    sign_again(there / "net.sigstore.json", made.signer, lambda each: each["predicate"]["hilgate"].update(name="arm"))
    refused(attacked, "what is there is arm, and this is net", over=there)


def test_evidence_is_judged_as_it_was_hashed(attacked: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who swaps the evidence between its hashing and its reading is refused."""
    from harness.release import folder, verify

    check = folder.check_sums

    def check_and_swap(*arguments: Any) -> int:
        size = check(*arguments)
        place = attacked.folder / "evidence.json"
        place.write_text(place.read_text().replace("FAIL", "PASS") + "\n")
        return size

    monkeypatch.setattr(verify, "check_sums", check_and_swap)
    refused(attacked, "evidence.json is not what was signed")


def test_policy_of_another_folder_and_another_current_folder(
    attacked: Attacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths in a policy begin in its folder, wherever the program is run."""
    monkeypatch.chdir(attacked.outer.parent)
    folder = attacked.outer.parent / "rules"
    (folder / "keys").mkdir(parents=True)
    shutil.copyfile(attacked.made.project.public, folder / "keys" / "team.pub")
    shutil.copyfile(attacked.policy, folder / "gate.toml")
    policy = load(attacked.made.project, Path("rules/gate.toml"))
    assert verify_release(Path("release"), policy).folder == attacked.folder


def test_verify_imports_no_gate(made: Made) -> None:
    """What judges, and what measures, is not loaded to verify: that would take longer than the rest together."""
    source = """
import sys
from harness.cli import cli
try:
    cli(sys.argv[1:])
finally:
    print(*sorted(sys.modules))
"""
    command = [sys.executable, "-c", source, "verify", str(made.first), "--policy", str(made.project.policy)]
    done = subprocess.run(command, cwd=made.project.root, capture_output=True, text=True, check=False)
    assert "verified:" in done.stdout, done.stderr
    loaded = set(done.stdout.split())
    unwanted = {f"harness.{name}" for name in ("release.examine", "release.gate", "release.rejudge", "measure")}
    unwanted |= {"harness.board", "harness.deploy", "harness.emulator", "hypothesis", "paramiko", "torch"}
    assert loaded & unwanted == set()


def test_without_model_sig(attacked: Attacked) -> None:
    """It is not asked for, since what it signs the attestation signs as well; but its absence is told."""
    (attacked.outer / "net.model.sig").unlink()
    verified = attacked.verify()
    remark = "there is no net.model.sig: model_signing cannot verify this copy"
    assert verified.remarks == (remark,)
    assert describe(verified)[-1] == f"  {remark}"


def test_paths_that_cannot_be(attacked: Attacked, tmp_path: Path) -> None:
    """Too long for the system, or links in a circle: an error of ours, also of what is there already."""
    (tmp_path / "circle").symlink_to("circle")
    for place in (Path("a" * 5000), Path("b" * 300), tmp_path / "circle"):
        with pytest.raises(InputError, match="there is no release"):
            verify_release(place, attacked.load())
        with pytest.raises(InputError, match="there is no release"):
            attacked.verify(over=place)
