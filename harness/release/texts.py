"""The texts of a release: the scripts ``run`` and ``env``, README.md and a systemd unit, from ``templates/``.

Names and paths come from evidence and policies, so whatever is put into a text is quoted for the text's language.
A placeholder is @LETTERS@, and what replaces one is not looked at again.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from importlib import resources

from ..evidence.schema import LoadEntry
from ..printable import printable
from .facts import ReleaseFacts
from .parts import Parts
from .paths import unit_name

PLACEHOLDER = re.compile(r"@([A-Z_]+)@")
INFERENCES = 100
# Beyond INFERENCES so many are timed as take so long by the median that was measured; see ``inferences``.
TIMED_S = 1.0
MOST_INFERENCES = 20_000
# What a release is attested with; harness.signing.statement has it, too.
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
MOST_TEXT = 200


def kind_of(parts: Parts) -> str:
    """Return how the release is started: "native" by a runner, "shipped" or "installed" by Python."""
    if parts.is_native:
        return "native"
    return "shipped" if parts.archives else "installed"


def make_run(facts: ReleaseFacts, parts: Parts, load: LoadEntry) -> str:
    """Make the script ``run``."""
    values = {
        "NAME": shlex.quote(facts.name),
        "KIND": kind_of(parts),
        "PYTHON": shlex.quote(facts.python if facts.python.startswith("/") else ""),
        "LIBRARY": shlex.quote(load.library or ""),
    }
    return _filled("run", values)


def make_env(facts: ReleaseFacts, parts: Parts, load: LoadEntry) -> str:
    """Make the file ``env``, to be sourced by dash, bash or busybox's sh."""
    kind = kind_of(parts)
    # Two releases of one bundle may have other settings: the evidence decides, which has the time it was made.
    identity = f"{hashlib.sha256(parts.manifest).hexdigest()} {facts.created}"
    values = {
        "NAME": facts.name,
        "ID": re.sub(r"[^0-9A-Za-z .:+-]", "-", identity),
        "ARTIFACT": shlex.quote(load.artifact),
        "BACKEND": shlex.quote(facts.backend),
        "THREADS": str(load.threads),
        "INTEROP_THREADS": str(load.interop_threads),
        "FLUSH_DENORMALS": str(int(load.flush_denormals)),
        "LIBRARY": shlex.quote(load.library or ""),
    }
    names = ["env", *([f"env-{kind}"] if kind != "installed" else [])]
    return "".join(_filled(name, values) for name in names)


def make_unit(facts: ReleaseFacts) -> str:
    """Make the systemd unit."""
    description = f"{facts.name}: {facts.model} with {facts.backend} (a release of hilgate's)"
    values = {
        "FILE": unit_name(facts.name),
        "UNITNAME": facts.name.replace("%", "%%"),
        "DESCRIPTION": printable(description, MOST_TEXT).replace("%", "%%").rstrip("\\"),
    }
    return _filled("unit.service", values)


def inferences(p50_ms: float | None) -> int:
    """Return how many inferences are timed: of a fast model as many as take about TIMED_S.

    A hundred of 0.03 ms are over in the time slice of another process: their median was up to 1.9 times that of a run.

    Args:
        p50_ms: the median latency on the device that was tested; None if it was not measured.
    """
    if p50_ms is None or p50_ms <= 0:
        return INFERENCES
    return max(INFERENCES, min(MOST_INFERENCES, round(1e3 * TIMED_S / p50_ms)))


def make_readme(facts: ReleaseFacts, parts: Parts) -> str:
    """Make README.md."""
    values = {
        "TITLE": facts.name,
        "NAME": facts.name,
        "UNIT": unit_name(facts.name),
        "MODEL": _code(facts.model),
        "BACKEND": _code(facts.backend),
        "DEVICE": _code(facts.device),
        "CREATED": printable(facts.created, MOST_TEXT),
        "PREDICATE": PREDICATE,
        "INFERENCES": str(inferences(facts.p50_ms)),
        "RUNTIMEWORDS": _RUNTIME[kind_of(parts)],
        "TABLE": _table(_rows(facts, parts)),
        "KEYS": _keys(facts),
        "HINTS": _HINTS[kind_of(parts)],
    }
    return _filled("README.md", values)


_RUNTIME = {
    "native": "`runtime/` the program that loads it and the libraries that were shipped with it",
    "shipped": "`runtime/` the packages that it needs, `agent/` the program that loads it",
    "installed": "`agent/` the program that loads it (the packages that it needs are to be installed on the robot)",
}
_HINTS = {
    "native": "The runtime's library is to be opened by the path that `env` gives: it finds the others beside itself.",
    "shipped": "`$PYTHONPATH` begins with the packages that were tested. Start Python with `-S` to have no others.",
    "installed": "The packages are the robot's own: `run --check` says whether they are the versions that were tested.",
}


def _rows(facts: ReleaseFacts, parts: Parts) -> dict[str, str]:
    same = ", ".join(f"{key} {value}" for key, value in facts.same.items())
    rows = {
        "bundle that was tested": hashlib.sha256(parts.manifest).hexdigest(),
        "commit": facts.commit,
        "may go onto": ", ".join(facts.devices),
        "there must be the same": same,
        "median latency, tested": "" if facts.p50_ms is None else f"{facts.p50_ms:.6g} ms",
        "at most, there": "" if facts.p50_ratio_max is None else f"{facts.p50_ratio_max:.6g} times that",
        "Python": parts.python,
        "must be installed there": ", ".join(f"{name} {version}" for name, version in parts.installed.items()),
        "policy": facts.revision,
    }
    return {label: value for label, value in rows.items() if value}


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(f"| {label} | {_code(value)} |" for label, value in rows.items())


def _keys(facts: ReleaseFacts) -> str:
    if not facts.key_fingerprints:
        return ""
    listed = "\n".join(f"- {_code(fingerprint)}" for fingerprint in facts.key_fingerprints)
    command = "openssl pkey -pubin -in team.pub -outform DER | sha256sum"
    return f"\nThe key's fingerprint, as `{command}` prints it:\n\n{listed}\n"


def _code(text: str) -> str:
    """Return a text as code in Markdown, on one line of a table."""
    shown = printable(text, 4 * MOST_TEXT).replace("`", "'").replace("|", "\\|")
    return f"`{shown}`"


def _filled(name: str, values: Mapping[str, str]) -> str:
    text = (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")
    return PLACEHOLDER.sub(lambda found: values[found[1]], text)
