"""Where a kernel refuses namespaces, the tests that need them are skipped for that reason, and counted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.namespaces import require_namespaces

ROOT = Path(__file__).parents[2]
# In a user namespace in which no further one, nor any other namespace, may be made.
REFUSING = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set -sys_admin "$@"'
TESTS = """
from tests.support.sshd import BoardServer

def test_one():
    with BoardServer(): pass

def test_another():
    with BoardServer(): pass

def test_of_something_else(): pass
"""


def test_without_namespaces_what_needs_them_is_skipped_and_counted(tmp_path: Path) -> None:
    require_namespaces(user=True)
    (tmp_path / "test_them.py").write_text(TESTS, encoding="ascii")
    prefix = ["unshare", "--user", "--map-root-user", "sh", "-c", REFUSING, "sh"]
    command = [*prefix, sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-q"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 tests were skipped: no namespaces here (unshare: unshare failed: Operation not permitted)" in done.stdout
    assert "1 passed, 2 skipped" in done.stdout
    assert "max_user_namespaces" in done.stdout
