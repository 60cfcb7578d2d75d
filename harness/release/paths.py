"""The names in a release: those that each one has, and which names any of its files may have.

Names come from manifests, SHA256SUMS and attestations, which may be anybody's. A name that passes is one path below the
release's folder and nothing else, can be written in SHA256SUMS without escapes, and is one line on a terminal.
"""

from __future__ import annotations

import unicodedata

MANIFEST = "manifest.json"
EVIDENCE = "evidence.json"
CHECK = "check"
CHECK_FILE = f"{CHECK}/check.json"
EXECUTABLE = f"{CHECK}/executable"
SUMS = "SHA256SUMS"
RUN = "run"
ENV = "env"
README = "README.md"
ARTIFACT, AGENT, RUNTIME = "artifact", "agent", "runtime"

# Linux's own limits are 4096 for a path and 255 for each part of it; the rest of the path is the folder's.
MOST_BYTES, MOST_PART_BYTES = 1024, 255
# Controls, formats (bidirectional overrides are some), separators of lines and paragraphs. Not what Unicode has not
# assigned: that changes with its version, and a name must be as good tomorrow.
HIDDEN = ("Cc", "Cf", "Zl", "Zp")


def unit_name(name: str) -> str:
    """Return the path of the systemd unit in the release of this name."""
    return f"{name}.service"


def check_name(name: str) -> str | None:
    """Say what is wrong with the path of a file in a release; None where nothing is.

    Args:
        name: the path, relative to the release's folder; of bytes that are not UTF-8, as Python decodes file names.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if not name:
        return "it is empty"
    if size > MOST_BYTES:
        return f"it has {size} bytes, more than {MOST_BYTES}"
    if "\n" in name:
        return "it has a newline"
    if "\\" in name:
        return "it has a backslash"
    if any(unicodedata.category(character) in HIDDEN for character in name):
        return "it has a character that cannot be seen"
    return _check_parts(name)


def _check_parts(name: str) -> str | None:
    if name.startswith("/"):
        return "it is absolute"
    parts = name.split("/")
    if ".." in parts:
        return "it leads out of its folder"
    if "" in parts or "." in parts:
        return "it is not the shortest way to write it"
    if any(len(part.encode()) > MOST_PART_BYTES for part in parts):
        return f"a part of it has more than {MOST_PART_BYTES} bytes"
    return None
