"""Tiny wheels, with the list of their files that every wheel has."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def hash_of(content: bytes) -> str:
    """As a wheel's list has it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def write_wheel(path: Path, files: Mapping[str, str | bytes], *, record: Mapping[str, str] | None = None) -> Path:
    """Write a wheel with METADATA, WHEEL and RECORD of its name, unless ``files`` has them.

    Args:
        path: NAME-VERSION-PYTHON-ABI-PLATFORM.whl.
        files: path in the wheel -> content.
        record: entries of RECORD that are to be wrong, path -> hash.
    """
    name, version, tag = path.stem.split("-", 2)
    info = f"{name}-{version}.dist-info"
    usual = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nTag: {tag}\n",
    }
    contents = {one: text.encode() if isinstance(text, str) else text for one, text in (usual | dict(files)).items()}
    listed = {one: hash_of(content) for one, content in contents.items()} | dict(record or {})
    lines = [f"{one},{found},{len(contents.get(one, b''))}\n" for one, found in listed.items()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one, content in contents.items():
            archive.writestr(one, content)
        if f"{info}/RECORD" not in contents:
            archive.writestr(f"{info}/RECORD", "".join([*lines, f"{info}/RECORD,,\n"]))
    return path
