"""Where Debian's packages come from: as apt has listed it, or, with empty lists, as its sources name it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from harness.host.debian import KEYRING, debian_sources

DEBIAN, UBUNTU = {"ID": "debian", "VERSION_CODENAME": "bookworm"}, {"ID": "ubuntu", "VERSION_CODENAME": "noble"}
OWN, SECURITY = "http://mirror.example/debian/", "http://mirror.example/debian-security/"
# What apt-get prints of its sources, with lists and without.
LISTED = [f"Debian|bookworm|bookworm|{OWN}", f"Debian|bookworm-security|bookworm-security|{SECURITY}"]
NAMED = [f"main|bookworm|{OWN}", f"main|bookworm-updates|{OWN}", f"main|bookworm-security|{SECURITY}"]
BOTH = [f"deb [signed-by={KEYRING}] {OWN} trixie main", f"deb [signed-by={KEYRING}] {SECURITY} trixie-security main"]


def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: list[str], named: list[str]) -> None:
    """Put an apt-get on the PATH that has these targets with lists, and those by name alone."""
    texts = {name: "\n".join(lines) for name, lines in (("listed", listed), ("named", named))}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    script = f'#!/bin/sh\ncase "$*" in *--no-release-info*) cat {tmp_path}/named;; *) cat {tmp_path}/listed;; esac\n'
    (tmp_path / "apt-get").write_text(script, encoding="ascii")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("HILGATE_DEBIAN_MIRROR", raising=False)


@pytest.mark.parametrize(
    ("listed", "named", "system", "expected"),
    [
        pytest.param(LISTED, [], UBUNTU, BOTH, id="as-listed"),
        pytest.param([], NAMED, DEBIAN, BOTH, id="bare-image-without-lists"),
        pytest.param([], NAMED, UBUNTU, [], id="names-on-another-system-say-nothing"),
        pytest.param([], [f"main|stable|{OWN}"], DEBIAN, BOTH[:1], id="stable"),
        pytest.param([], [f"stable|bookworm|{OWN}"], DEBIAN, [], id="another-component"),
        pytest.param([], ["main|bookworm|https://apt.example.com/"], DEBIAN, [], id="somebody-elses-archive"),
        pytest.param([], NAMED[2:], DEBIAN, [], id="security-alone"),
        pytest.param([], [], DEBIAN, [], id="nothing"),
    ],
)
def test_sources_are_those_of_this_machines_apt(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listed: list[str],
    named: list[str],
    system: dict[str, str],
    expected: list[str],
) -> None:
    says(tmp_path, monkeypatch, listed, named)
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: system)
    assert debian_sources("trixie") == expected
