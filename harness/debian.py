"""Debian's packages, from where this machine's own apt has them: only unpacked, never installed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = "HILGATE_DEBIAN_MIRROR"


def apt_options() -> str:
    """How this machine's apt reaches its mirrors: proxies, certificates, retries."""
    dumped = _said(["apt-config", "dump", "--format", '%F "%v";%n', "Acquire"])
    wanted = r"^Acquire::(?:https?::(?!Pipeline)|Retries|ForceIPv[46]|socks::)\S* \"[^\"]+\";$"
    return "".join(f"{line}\n" for line in dumped.splitlines() if re.match(wanted, line))


def debian_sources(suite: str) -> list[str]:
    """Where this machine's apt has Debian's packages from, as lines of sources.list for another suite.

    None on a machine whose apt knows no Debian: mmdebstrap then takes Debian's own.
    """
    signed = f"[signed-by={KEYRING}] "
    if named := os.environ.get(MIRROR):
        return [f"deb {signed}{named} {suite} main"]
    targets = _said(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(CODENAME)|$(RELEASE)|$(REPO_URI)"])
    lines = []
    for target in targets.splitlines():
        origin, codename, release, uri = [*target.split("|"), "", "", ""][:4]
        suffix = release.removeprefix(codename.split("-")[0])
        if origin == "Debian" and suffix in ("", "-security"):
            lines.append(f"deb {signed}{uri} {suite}{suffix} main")
    # A machine of another release may name the one under "stable" only, and its security archive by name.
    return list(dict.fromkeys(lines)) if any(f" {suite} main" in line for line in lines) else []


def _said(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout
