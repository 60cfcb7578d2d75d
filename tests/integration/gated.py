"""What tests of the gate on real runs share: a project under git, policies beside it, and a release on a board."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.signing.keys import make_key
from tests.support.gate_project import WHO
from tests.support.sshd import BoardServer

from .conftest import Outcome, Project

REQUIRE = ("parity", "latency_p99_ms")
NAME = "tiny"


@dataclass
class Gated:
    """A project under git; policies, the team's key and releases lie beside it, so that its tree stays clean."""

    project: Project
    model: str = "tiny"
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        root = self.project.folder
        self.folder = root.with_name(f"{root.name}-gate")
        (self.folder / "keys").mkdir(parents=True)
        self.key = self.folder / "secret" / "team"
        self.key.parent.mkdir(mode=0o700)
        make_key(self.key, None)
        shutil.copy(self.key.with_name("team.pub"), self.folder / "keys/team.pub")

    def commit(self) -> None:
        """Put all of the project under git; what runs write in it is ignored."""
        self.project.write(".gitignore", "build/\n/.*/\n/summary.md\n/benchmark.json\n")
        who = {**self.project.whole_environment, **WHO}
        for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "A model to release")):
            subprocess.run(["git", "-C", str(self.project.folder), *words], check=True, env=who)

    def policy(
        self,
        *devices: str,
        backend: str = "decision",
        require: Sequence[str] = REQUIRE,
        signed_by: Path | None = None,
        more: str = "",
        target: str = "",
    ) -> Path:
        """Write a policy, which releases to the very devices that were tested.

        Args:
            devices: by their names.
            backend: ``release.backend``.
            require: ``evidence.require``.
            signed_by: a public key for ``evidence.signed_by``.
            more: further lines of [evidence].
            target: further lines of [target].
        """
        signers = [] if signed_by is None else [str(signed_by)]
        names = json.dumps(devices)
        path = self.folder / f"{'-'.join(devices)}-{backend}.toml"
        path.write_text(
            f'[release]\nname = "{NAME}"\nmodel = "{self.model}"\nbackend = "{backend}"\n'
            f"[evidence]\ndevices = {names}\nrequire = {json.dumps(require)}\n"
            f"signed_by = {json.dumps(signers)}\n{more}\n"
            f'[target]\ndevices = {names}\n{target}\n[signers]\nkeys = ["keys/team.pub"]\n'
        )
        return path

    def gate(self, policy: Path, *, key: bool = True) -> Outcome:
        """Have the gate judge the project's evidence, and make the release beside the policy.

        Args:
            policy: the policy's file.
            key: whether the key is named; else it is in the environment, as in CI.
        """
        signing = {"HILGATE_SIGNING_KEY": self.key.read_text()} if not key else {}
        kept = {name: value for name, value in self.project.environment.items() if "SIGNING" not in name}
        project = replace(self.project, environment={**kept, **signing})
        words = ["gate", "build/hil", "--policy", str(policy), "-o", str(self.made(policy))]
        return project.hilgate(*words, *(["--key", str(self.key)] if key else []))

    def verify(self, policy: Path) -> Outcome:
        """Verify the release that a policy let through."""
        words = ["verify", str(self.made(policy)), "--policy", str(policy)]
        return self.project.hilgate(*words)

    def made(self, policy: Path) -> Path:
        """Return where a policy's release is made."""
        return self.folder / policy.stem

    def release(self, policy: Path, *, key: bool = True) -> Path:
        """Have a release made and verified; return its own folder."""
        done = self.gate(policy, key=key)
        assert done.status == 0, done.output
        verified = self.verify(policy)
        assert verified.status == 0, verified.output
        assert verified.output.startswith(f"verified: {NAME} ")
        return self.made(policy) / NAME

    def refused(self, policy: Path) -> str:
        """Have a release refused, of which nothing is left; return the reasons."""
        done = self.gate(policy)
        assert done.status == 1, done.output
        assert "Traceback" not in done.output
        assert [path.name for path in self.folder.iterdir() if path.name.startswith((".", policy.stem))] == [
            policy.name
        ]
        return " ".join(done.output.split())


def check_here(release: Path) -> list[str]:
    """Run a release's own check in an environment that has nothing; return what it says."""
    command = ["env", "-i", str(release / "run"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout.splitlines()


@dataclass(frozen=True)
class OnBoard:
    """A copy of a release in the home of a board's user."""

    server: BoardServer
    release: Path
    folder: str

    @classmethod
    def sent(cls, server: BoardServer, release: Path, umask: str = "022") -> OnBoard:
        """Send a release through the board's sshd, packed by tar, under a umask of its user."""
        folder = f"releases/{release.parent.name}-{umask}"
        unpack = f"umask {umask} && mkdir -p {folder} && tar -xf - -C {folder}"
        ssh = ["ssh", "-F", str(server.folder / "ssh_config"), "-o", "BatchMode=yes", server.user, unpack]
        with subprocess.Popen(["tar", "-cf", "-", "-C", release.parent, NAME], stdout=subprocess.PIPE) as tar:
            subprocess.run(ssh, stdin=tar.stdout, check=True, timeout=300)
        assert tar.returncode == 0
        return cls(server, release, f"{folder}/{NAME}")

    def check(self, environment: str = "") -> tuple[int, list[str], str]:
        """Run its own check there, in an environment that has nothing else; return status, lines and stderr."""
        done = self.server.run(f"cd / && exec env -i {environment} ~/{self.folder}/run --check", timeout=120)
        return done.returncode, done.stdout.splitlines(), done.stderr

    def passes(self, environment: str = "") -> list[str]:
        """Run its check there, which must pass; return its lines."""
        status, lines, stderr = self.check(environment)
        assert (status, lines[-1:], stderr) == (0, ["check: PASS"], ""), (lines, stderr)
        return lines

    def refuses_a_changed_byte(self, path: str) -> None:
        """Change a byte of a file there: its check names it. And change it back."""
        content = (self.release / path).read_bytes()
        place = len(content) // 2
        try:
            self._write_byte(path, place, content[place] ^ 1)
            status, lines, _ = self.check()
            assert (status, lines) == (1, [f"check: FAIL: not the file that SHA256SUMS lists: {path}: FAILED"])
        finally:
            self._write_byte(path, place, content[place])

    def _write_byte(self, path: str, place: int, byte: int) -> None:
        target = shlex.quote(f"{self.folder}/{path}")
        done = self.server.run(f"printf '\\{byte:03o}' | dd of={target} bs=1 seek={place} conv=notrunc status=none")
        assert done.returncode == 0, done.stderr
