"""The first run on a machine that is not ours: no compiler, no apt, or a bare Debian with empty lists (issue 16)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.namespaces import require_namespaces

from .conftest import Outcome, Project

pytestmark = pytest.mark.slow

# What Fedora's and a plain Debian's machines lack.
MISSING = re.compile(r"(.*-)?(g\+\+|c\+\+|gcc|cc|clang)(-.*)?|apt.*|dpkg.*|mmdebstrap|debootstrap")
PARITY = ("-k", "parity")
# For a machine that has much else to do.
SECONDS = 600.0
SUITE_CELLS = ["torchscript", "libtorch", "onnxruntime", "onnxruntime-cpp"]


@pytest.fixture
def bare(project: Project) -> Project:
    """A project of somebody whose machine has neither a compiler nor apt."""
    programs = project.folder / "programs"
    programs.mkdir()
    for path in [*Path("/bin").iterdir(), *Path("/usr/bin").iterdir()]:
        if not MISSING.fullmatch(path.name) and not (programs / path.name).is_symlink():
            (programs / path.name).symlink_to(path)
    project.environment["PATH"] = str(programs)
    return project


def not_built(done: Outcome) -> dict[str, tuple[str, bool]]:
    """By backend its cell's verdict, and whether the evidence says that it was not built."""
    cells: list[dict[str, Any]] = done.evidence["cells"]
    return {cell["backend"]: (cell["verdict"], bool(cell["not_built"])) for cell in cells}


def test_without_compiler_and_apt_local_passes_with_a_line_for_what_is_not_built(bare: Project) -> None:
    done = bare.run_command(bare.command(*PARITY), timeout=SECONDS)
    assert done.status == 0, done.output
    left_out, passed = ("NOT_APPLICABLE", True), ("PASS", False)
    assert not_built(done) == dict(zip(SUITE_CELLS, [passed, left_out, passed, left_out], strict=True))
    assert done.evidence["verdict"] == "PASS"
    lines = [line for line in done.output.splitlines() if "not built here" in line]
    assert len(lines) == 1
    assert lines[0].startswith("libtorch, onnxruntime-cpp: not built here: ")


def test_what_a_device_of_ones_own_lists_and_cannot_be_built_is_an_error(bare: Project) -> None:
    """Named with --backend it is one, too: test_bad_input."""
    bare.write("devices/local.toml", 'extends = "local"\n[device]\nbackends = ["libtorch"]\n')
    done = bare.run_command(bare.command(*PARITY), timeout=SECONDS)
    assert done.status == 1, done.output
    assert not_built(done) == {"libtorch": ("FAIL", False)}
    assert "there is no C++ compiler for it" in done.evidence["cells"][0]["error"]


# In namespaces of its own: this machine's Python packages, and the clone, in a Debian that has nothing of them.
INSIDE = """
set -e
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
for folder in "$2" "$3"; do mkdir -p "$1$folder"; mount --rbind "$folder" "$1$folder"; done
[ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$1/etc/resolv.conf"
chmod 1777 "$1/run/lock" "$1/tmp"
shift 3
exec "$@"
"""
BARE = "python3-minimal,python3-venv,git,ca-certificates"


@pytest.mark.skipif(os.getuid() != 0, reason="a chroot with an ordinary user in it is made by root")
@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="Debian bookworm's Python is 3.11, as our packages' must be"
)
@pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="mmdebstrap is not installed")
def test_a_bare_debian_without_lists_passes_as_an_ordinary_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    require_namespaces()
    root = tmp_path_factory.mktemp("bare") / "root"
    make = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={BARE}", "bookworm", str(root)]
    subprocess.run(make, check=True, timeout=SECONDS)
    assert not [path for path in (root / "var/lib/apt/lists").iterdir() if path.is_file() and path.name != "lock"]
    clone, packages = Path(__file__).parents[2], Path(sys.prefix)
    site = next(packages.glob("lib/python3*/site-packages"))
    run = (
        "useradd -m user 2>/dev/null; exec setpriv --reuid user --regid user --init-groups env -i HOME=/home/user "
        f"PATH=/usr/bin:/bin HILGATE_CACHE=/home/user/cache PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={site}:{clone} sh -c "
        f"'cd /home/user && cp -r {clone}/examples . && python3 -m pytest -c {clone}/pytest.ini -p no:cacheprovider "
        f"-m hil -k parity {clone}/tests/hil --model=examples/digits.py --evidence=evidence'"
    )
    inside = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", INSIDE, "sh", str(root), str(clone), str(packages)]
    done = subprocess.run(
        [*inside, "chroot", str(root), "sh", "-c", run],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "libtorch, onnxruntime-cpp: not built here: " in done.stdout
    assert "verdict: PASS" in done.stdout
