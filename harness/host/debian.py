"""Where this machine's apt gets Debian's packages, for fetching some of them, which are unpacked, never installed."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = "HILGATE_DEBIAN_MIRROR"


def apt_options() -> str:
    """Return the options by which this machine's apt reaches its mirrors: proxies, certificates, retries."""
    dumped = _output_of(["apt-config", "dump", "--format", '%F "%v";%n', "Acquire"])
    wanted = r"^Acquire::(?:https?::(?!Pipeline)|Retries|ForceIPv[46]|socks::)\S* \"[^\"]+\";$"
    return "".join(f"{line}\n" for line in dumped.splitlines() if re.match(wanted, line))


def debian_sources(suite: str) -> list[str]:
    """Return the mirrors of Debian that this machine's apt uses, as lines of sources.list for another suite.

    The list is empty where apt knows no Debian: mmdebstrap then uses Debian's own mirror.
    """
    signed = f"[signed-by={KEYRING}] "
    if named := os.environ.get(MIRROR):
        return [f"deb {signed}{named} {suite} main"]
    archives = _listed_archives() or _named_archives()
    lines = [f"deb {signed}{uri} {suite}{suffix} main" for uri, suffix in archives]
    # A machine of another release may name the main archive "stable" only, and its security archive by the codename.
    return list(dict.fromkeys(lines)) if any(f" {suite} main" in line for line in lines) else []


def _listed_archives() -> list[tuple[str, str]]:
    """Return (address, "" or "-security") of each of Debian's archives that apt has package lists of."""
    found = []
    for origin, codename, release, uri in _targets("ORIGIN", "CODENAME", "RELEASE", "REPO_URI"):
        suffix = release.removeprefix(codename.split("-")[0])
        if origin == "Debian" and suffix in ("", "-security"):
            found.append((uri, suffix))
    return found


def _named_archives() -> list[tuple[str, str]]:
    """Return the same for a Debian without package lists, as in a bare image (issue 16): guessed by the addresses.

    A wrong guess does no harm: whatever is fetched is verified with Debian's own keys.
    """
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        return []
    if system["ID"] != "debian":
        return []
    found = []
    for component, release, uri in _targets("COMPONENT", "RELEASE", "REPO_URI", options=["--no-release-info"]):
        suffix = release.removeprefix(system.get("VERSION_CODENAME", "stable")).removeprefix("stable")
        if component == "main" and suffix in ("", "-security") and re.search(r"/debian(-security)?/?$", uri):
            found.append((uri, suffix))
    return found


def _targets(*fields: str, options: Sequence[str] = ()) -> Iterator[list[str]]:
    """Yield the values of these fields for each package list that apt would fetch."""
    template = "|".join(f"$({field})" for field in fields)
    for line in _output_of(["apt-get", "indextargets", *options, "--format", template]).splitlines():
        if len(values := line.split("|")) == len(fields):
            yield values


def _output_of(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout
