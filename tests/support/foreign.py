"""Verifiers that are not ours: cosign and model_signing, each as others get it, in the user's cache, made once.

cosign is Debian trixie's package, fetched, verified and unpacked as the headers of ONNX Runtime are; it runs on older
systems, too. model_signing is installed by pip into an environment of its own (50 MB), never beside hilgate; its
environment has in-toto-attestation's protobuf classes as well.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.bundle.native.packages import DEBIAN_ARCH, HEADER_SUITE, _provide
from harness.errors import BuildError

REQUIREMENTS = Path(__file__).with_name("foreign-requirements.txt")
MADE = "made.json"
LIMIT_S = 600.0
# What a verifier may not need: whoever tries to reach the network is refused at once.
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
OFFLINE = {variable: "http://127.0.0.1:9" for name in PROXIES for variable in (name, name.upper())}
# cosign's "trusted root" of Sigstore's own services, of which none is trusted.
EMPTY_ROOT = '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}\n'
# Without it files of git's in a folder, such as .gitignore, are neither signed nor refused.
ALL_FILES = "--no-ignore-git-paths"
# Unknown fields, wrong types and missing digests are errors.
PARSE = """
import sys
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
parsed = json_format.Parse(open(sys.argv[1], "rb").read(), statement_pb2.Statement())
statement = Statement.copy_from_pb(parsed)
statement.validate()
for subject in statement.pb.subject:
    print(subject.name, subject.digest["sha256"])
"""


class Unavailable(Exception):
    """A verifier cannot be had here, and why."""


@dataclass(frozen=True)
class Ran:
    """What a program came to."""

    status: int
    output: str
    cpu_s: float = 0.0

    @property
    def accepts(self) -> bool:
        """Whether it ended with status 0."""
        return self.status == 0


def run_offline(command: Sequence[str | Path], cwd: Path | None = None, **more: str) -> Ran:
    """Run a program without a network and with an empty home; further variables by name."""
    environment = {**os.environ, **OFFLINE, "NO_PROXY": "", "no_proxy": "", "HOME": "/nonexistent", **more}
    before = os.times()
    done = subprocess.run(
        list(map(str, command)),
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        timeout=LIMIT_S,
    )
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Ran(done.returncode, done.stdout, cpu_s)


@dataclass(frozen=True)
class Cosign:
    """cosign: it verifies an attestation about one file, of at most 128 MiB."""

    program: Path

    def verify(self, blob: Path, bundle: Path, public: Path, predicate_type: str) -> Ran:
        """Verify a Sigstore bundle over a file. It does not compare the predicate type (cosign 2.5).

        Args:
            blob: the file, one of the statement's subjects.
            bundle: the bundle.
            public: the public key, PEM.
            predicate_type: a URI.
        """
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder, "root.json")
            root.write_text(EMPTY_ROOT, encoding="utf-8")
            options: list[str | Path] = ["--bundle", bundle, "--new-bundle-format", "--trusted-root", root]
            return self._verify(blob, options, public, predicate_type)

    def verify_envelope(self, blob: Path, bundle: Path, public: Path, predicate_type: str) -> Ran:
        """Verify the envelope in a Sigstore bundle by itself: this form does compare the predicate type."""
        with tempfile.TemporaryDirectory() as folder:
            envelope = Path(folder, "envelope.json")
            envelope.write_text(json.dumps(json.loads(bundle.read_bytes())["dsseEnvelope"]), encoding="utf-8")
            return self._verify(blob, ["--signature", envelope], public, predicate_type)

    def _verify(self, blob: Path, options: Sequence[str | Path], public: Path, predicate_type: str) -> Ran:
        command = [self.program, "verify-blob-attestation", "--key", public, *options]
        return run_offline([*command, "--insecure-ignore-tlog", "--type", predicate_type, blob])


@dataclass(frozen=True)
class ModelSigning:
    """model_signing, and the Python that has it and in-toto-attestation."""

    python: Path

    def verify(self, folder: Path, signature: Path, public: Path) -> Ran:
        """Verify the signature over a folder, and that nothing else lies in it."""
        command: list[str | Path] = [self.python, "-m", "model_signing", "verify", "key", folder, ALL_FILES]
        return run_offline([*command, "--signature", signature, "--public_key", public])

    def sign(self, folder: Path, signature: Path, private: Path) -> Ran:
        """Sign a folder as it does itself."""
        command: list[str | Path] = [self.python, "-m", "model_signing", "sign", "key", folder, ALL_FILES]
        return run_offline([*command, "--signature", signature, "--private_key", private])

    def parse_statement(self, statement: Path) -> Ran:
        """Parse a statement with in-toto-attestation's protobuf classes; prints each subject's name and SHA-256."""
        return run_offline([self.python, "-c", PARSE, statement])


def provide_cosign(cache: Path) -> Cosign:
    """Return cosign, fetched now where the cache does not have it.

    Raises:
        Unavailable: this machine has no mirror of Debian's, or none that answers.
    """
    arch = DEBIAN_ARCH[platform.machine()]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HILGATE_CACHE", str(cache))
            root = _provide(HEADER_SUITE, arch, ("cosign",))
    except BuildError as error:
        why = " ".join(f"{error.found}".split())
        raise Unavailable(f"cosign, a package of Debian {HEADER_SUITE}, cannot be fetched: {why[-300:]}") from error
    return Cosign(root / "usr" / "bin" / "cosign")


def provide_model_signing(cache: Path) -> ModelSigning:
    """Return model_signing, installed now where the cache does not have it.

    Raises:
        Unavailable: pip cannot get it.
    """
    key = json.dumps([platform.python_version(), platform.machine(), REQUIREMENTS.read_text(encoding="utf-8")])
    folder = cache / "test-foreign" / hashlib.sha256(key.encode()).hexdigest()[:16]
    python = folder / "bin" / "python"
    with _alone(folder.parent):
        if not (folder / MADE).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder, python)
    return ModelSigning(python)


def _install(folder: Path, python: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, timeout=LIMIT_S)
    install = ["install", "--quiet", "--no-deps", "--only-binary=:all:", "--requirement", str(REQUIREMENTS)]
    pip = [str(python), "-m", "pip", *install]
    done = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise Unavailable(f"model_signing cannot be installed into an environment of its own: {said[:300]}")
    (folder / MADE).write_text("{}\n", encoding="utf-8")


def cosign_or_skip(cache: Path) -> Cosign:
    """Return cosign; skip the test where it cannot be had, which the session's last lines count."""
    try:
        return provide_cosign(cache)
    except Unavailable as error:
        pytest.skip(str(error))


def model_signing_or_skip(cache: Path) -> ModelSigning:
    """Return model_signing; skip the test where it cannot be had."""
    try:
        return provide_model_signing(cache)
    except Unavailable as error:
        pytest.skip(str(error))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
