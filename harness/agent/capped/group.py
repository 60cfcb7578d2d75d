"""A memory cgroup of the user's own: found a place, made, limited, read, removed.

See cgroups(7) and the kernel's Documentation/admin-guide/cgroup-v2.rst. What is asked is cgroup.controllers: a kernel
without MEMCG_V1 does not list the memory controller in /proc/cgroups. Version 1 is not used: no ordinary user is given
a part of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

# A group's name, with the process id of who made it; and what it ends with where the controller was switched on for it.
NAME, SWITCHED = "hilgate-cap-", "-switched"
LAUNCHER = "hilgate-launcher"
# The memory controller, in a mount of version 1.
VERSION_1 = re.compile(r" - cgroup \S+ (\S+,)?memory(,|$)", re.MULTILINE)
# The kernel counts in pages, in a long.
MOST_BYTES = 1 << 62
# How long processes that were killed may take to leave a group.
PATIENCE_S = 5.0


class Unavailable(Exception):
    """No group can be made; ``reason`` is a word for it, ``found`` what was seen."""

    def __init__(self, reason: str, found: str) -> None:
        super().__init__(reason, found)
        self.reason, self.found = reason, found


class Group(NamedTuple):
    """A group that was made.

    Attributes:
        path: its folder.
        switched: the parent's folder, where the memory controller had to be switched on for its children; else "".
    """

    path: str
    switched: str

    def enter(self) -> None:
        """Move this process into it, with whatever it will start."""
        _write(f"{self.path}/cgroup.procs", str(os.getpid()))

    def report(self) -> dict[str, Any]:
        """Read what the kernel counted: "limit_bytes", "peak_bytes" (None before Linux 5.19), "events"."""
        limit, peak = _read(f"{self.path}/memory.max"), _read(f"{self.path}/memory.peak")
        return {
            "limit_bytes": int(limit) if limit.isdecimal() else MOST_BYTES,
            "peak_bytes": int(peak) if peak.isdecimal() else None,
            "events": events_of(_read(f"{self.path}/memory.events")),
        }

    def remove(self) -> None:
        """End whatever is still in it, and remove it. Never raises."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for pid in _read(f"{self.path}/cgroup.procs").split():
                if pid != "0":  # one that cannot be seen from here; to kill would mean this process's own group
                    with contextlib.suppress(OSError):
                        os.kill(int(pid), signal.SIGKILL)
            try:
                os.rmdir(self.path)
                break
            except FileNotFoundError:
                break
            except OSError:  # a process that was killed has not left it yet
                time.sleep(0.02)
        if self.switched:
            with contextlib.suppress(OSError):
                _write(f"{self.switched}/cgroup.subtree_control", "-memory")


def make_group(limit_bytes: int, *, scoped: bool) -> Group:
    """Make a group with a limit and without swap, for a process that this one starts.

    Args:
        limit_bytes: its limit; the kernel rounds it down to pages.
        scoped: whether this process's own group is nobody else's, so that it may be divided.

    Raises:
        Unavailable: none can be made.
    """
    mounts = _read("/proc/self/mountinfo")
    mount = cgroup2_mount(mounts)
    if mount is None:
        first = " with version 1" if " - cgroup " in mounts else ""
        raise Unavailable("no_cgroup2", f"no cgroup2 among the mounts{first}")
    top, root = mount
    controllers = _read(f"{top}/cgroup.controllers").split()
    if "memory" not in controllers:
        has = f"{top}/cgroup.controllers has {' '.join(controllers) or 'nothing'}"
        if VERSION_1.search(mounts):
            raise Unavailable("no_cgroup2", f"{has}: the memory controller is version 1's")
        off = ", and cgroup_disable=memory in /proc/cmdline" if _is_switched_off() else ""
        raise Unavailable("no_controller", has + off)
    own = own_path(_read("/proc/self/cgroup"), root)
    if own is None:
        raise Unavailable("no_place", f"this process's group does not lie below {top}")
    why = []
    for place in places(own):
        try:
            return _make_in(top + place, limit_bytes, divide=scoped and place == own)
        except OSError as error:
            why.append(f"{place or '/'}: {error.strerror}")
    raise Unavailable("no_place", f"below {top} " + "; ".join(why))


def _make_in(parent: str, limit_bytes: int, *, divide: bool) -> Group:
    """Make a group in another.

    Raises:
        OSError: it may not be made there, or has no memory controller.
    """
    # Who moves a process needs to write to the file of the group that both groups lie in.
    with open(f"{parent}/cgroup.procs", "a", encoding="ascii"):
        pass
    switched = _sweep(parent)
    if divide:  # a group that has groups with controllers has no processes itself
        os.makedirs(f"{parent}/{LAUNCHER}", exist_ok=True)
        _write(f"{parent}/{LAUNCHER}/cgroup.procs", str(os.getpid()))
    if "memory" not in _read(f"{parent}/cgroup.subtree_control").split():
        _write(f"{parent}/cgroup.subtree_control", "+memory")
        switched = True
    group = Group(f"{parent}/{NAME}{os.getpid()}{SWITCHED if switched else ''}", parent if switched else "")
    try:
        os.mkdir(group.path)
        _write(f"{group.path}/memory.max", str(min(limit_bytes, MOST_BYTES)))
        with contextlib.suppress(FileNotFoundError):  # a kernel without swap
            _write(f"{group.path}/memory.swap.max", "0")
    except OSError:
        group.remove()
        raise
    return group


def _sweep(parent: str) -> bool:
    """Remove groups whose makers were killed; say whether one of those had switched on the controller."""
    switched = False
    for name in os.listdir(parent):
        if name.startswith(NAME):
            with contextlib.suppress(OSError):  # one with processes in it stays
                os.rmdir(f"{parent}/{name}")
                switched |= name.endswith(SWITCHED)
    return switched


def cgroup2_mount(mountinfo: str) -> Optional[tuple[str, str]]:  # noqa: UP045  # Python 3.9
    """Find where cgroup2 is mounted: the folder, and which group it shows as its top; see proc(5)."""
    found = []
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if separator and after.split(" ")[0] == "cgroup2" and len(fields) > 5:
            found.append((_unescape(fields[4]), _unescape(fields[3])))
    return found[-1] if found else None


def _unescape(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def own_path(cgroup: str, root: str) -> Optional[str]:  # noqa: UP045  # Python 3.9
    """Return the path of this process's group below the top of a mount, "" for the top; None where it is not below.

    Args:
        cgroup: /proc/self/cgroup; its line of version 2 begins with "0::".
        root: the group that the mount shows as its top.
    """
    for line in cgroup.splitlines():
        if line.startswith("0::/"):
            path = line[3:]
            top = root.rstrip("/")
            if "/.." in path or not (path + "/").startswith(top + "/"):
                return None
            return path[len(top) :].rstrip("/")
    return None


def places(own: str) -> Iterator[str]:
    """List a group's path, and those of all that it lies in, "" for the top."""
    while own:
        yield own
        own = own.rpartition("/")[0]
    yield ""


def events_of(text: str) -> dict[str, int]:
    """Read memory.events: how often each happened."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _is_switched_off() -> bool:
    return any(
        word.startswith("cgroup_disable=") and "memory" in word.partition("=")[2].split(",")
        for word in _read("/proc/cmdline").split()
    )


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
