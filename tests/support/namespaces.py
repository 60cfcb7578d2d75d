"""Whether this kernel lets us make the namespaces that some tests need.

Where it does not (a container without CAP_SYS_ADMIN, a distribution that keeps user namespaces from ordinary users),
these tests are skipped with that reason, and counted (issue 16; tests/conftest.py).
"""

from __future__ import annotations

import functools
import os
import subprocess

HINT = (
    "in a container give it CAP_SYS_ADMIN; elsewhere look at the sysctls user.max_user_namespaces, "
    "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns"
)


class NamespacesRefused(Exception):
    """The kernel does not let us make namespaces."""


def require_namespaces(*, user: bool | None = None) -> None:
    """Make sure that mount and pid namespaces can be made.

    Args:
        user: in a user namespace; by default where we are not root.

    Raises:
        NamespacesRefused: they cannot.
    """
    if why := _refusal(os.getuid() != 0 if user is None else user):
        raise NamespacesRefused(f"no namespaces here ({why}): {HINT}")


@functools.cache
def _refusal(user: bool) -> str:
    """Return what unshare says where namespaces are refused; "" where they are not."""
    words = [*(["--user", "--map-root-user"] if user else []), "--mount", "--pid", "--fork", "true"]
    done = subprocess.run(["unshare", *words], capture_output=True, text=True, check=False, timeout=20)
    return done.stderr.strip().replace("\n", "; ") or (f"exit status {done.returncode}" if done.returncode else "")
