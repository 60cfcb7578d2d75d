"""Why pip found no wheels: what it printed, and what it says when asked again, as an error of ours.

pip cannot tell a wheel that does not exist from one for a newer glibc or another Python ("from versions: none"), so
the package that failed is asked for again, alone, for other platforms.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import replace

from ..errors import BackendError
from ..host.cache import storage_errors
from ..host.progress_log import progress_logger
from .pip_run import LIMIT_S, Outcome, Request, find_wheel
from .pip_with_markers import NO_MARKERS, NO_PIP

LOG = progress_logger(__name__)

NEWEST_GLIBC = 60
PYTHON_MINORS = range(9, 16)
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# pip tries an index five times and goes on without it; told to try once, it says so ("Could not fetch") only with -vv.
UNREACHABLE = re.compile(
    r"Retry\(total=0|ConnectionPool\(|Could not fetch URL (?!.*\b404\b)|HTTP error 5\d\d|"
    r"(Timeout|Connection|SSL|Proxy)Error"
)
MISSING = re.compile(r"No matching distribution found for ([^\n(]+)")
# Said of a wheel's own metadata; and of what the index says about versions: "1.0 Requires-Python >=3.12; 1.1 …".
OTHER_PYTHON = re.compile(r"ERROR: Package '([^']+)' requires a different Python: \S+ not in '([^']+)'")
IGNORED_VERSION = re.compile(r"(\S+) Requires-Python ([^;\n]+)")
VERSIONS = re.compile(r"\(from versions: ([^)]*)\)")
DEPENDS = re.compile(r"^\s+\S+ \S+ depends on (.+)$", re.MULTILINE)
NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?")
ANOTHER = (
    "pin another version: packages = […] under [runtime]; or install it on the device, and name the folder: "
    "environment = … there"
)


def explain(request: Request, outcome: Outcome) -> BackendError:
    """What to raise for a pip that failed.

    Raises:
        StorageError: the disk is full.
    """
    text = outcome.output
    _raise_storage(request, text)
    if outcome.status is None:
        hint = "start again: pip's own cache has the files that were fetched whole"
        return _error(request, "pip took too long", f"{LIMIT_S:.0f} s", _said(text), hint)
    if NO_PIP in text:
        hint = "python -m ensurepip, or your system's package of pip"
        return _error(request, "pip is not there", "pip ≥ 23.2 beside hilgate", "no module named pip", hint)
    if NO_MARKERS in text:
        hint = "python -m pip install 'pip>=24', in the environment of hilgate"
        found = "one without pip._vendor.packaging.markers"
        return _error(request, "this pip cannot resolve for another machine", "pip ≥ 23.2", found, hint)
    if UNREACHABLE.search(text):
        return _unreachable(request, text)
    if other := OTHER_PYTHON.search(text):
        return _other_python(request, _pin_of(request, other[1]), other[2])
    if missing := MISSING.search(text):
        return _explain_missing(request, _pin_of(request, missing[1].strip()), text)
    if "ResolutionImpossible" in text:
        return _explain_conflict(request, text)
    return _error(request, "pip failed", ", ".join(request.requirements), _said(text), ANOTHER)


def _explain_missing(request: Request, requirement: str, text: str) -> BackendError:
    """Why there is no wheel for one requirement: the network, glibc, Python, or there is none.

    Args:
        text: what pip said when it found none.
    """
    device = request.platform
    name, outcome = find_wheel(request, requirement, device)
    if name is None and UNREACHABLE.search(outcome.output):
        return _unreachable(request, outcome.output)
    if name is not None:  # the wheel fits: it is for other Pythons, or something else excludes it
        ranges = dict(IGNORED_VERSION.findall(text))
        if not ranges:
            return _error(request, f"pip refuses {requirement}", name, _said(text), ANOTHER)
        asked = requirement.partition("==")[2].strip()
        return _other_python(request, requirement, ranges.get(asked, next(reversed(ranges.values()))))
    LOG.info(f"no wheel of {requirement} for the device: looking for which devices there is one")
    newer = [tag for minor in range(device.glibc + 1, NEWEST_GLIBC + 1) for tag in device.manylinux(minor)]
    # The lowest first: pip then takes the wheel that asks for least.
    name, _ = find_wheel(request, requirement, device, newer)
    if name is not None and (glibc := _needed_glibc(name)) is not None:
        found = f"glibc 2.{device.glibc} on the device"
        hint = f"update the device's system; or {ANOTHER}"
        what = f"the wheel of {requirement} needs a newer glibc"
        return _error(request, what, f"glibc ≥ 2.{glibc}, for {name}", found, hint)
    if pythons := list(_pythons(request, requirement, [*device.tags(), *newer])):
        return _other_python(request, requirement, " or ".join(pythons))
    versions = VERSIONS.search(outcome.output)
    others = versions[1] if versions and versions[1] != "none" else ""
    found = f"wheels of other versions: {others}" if others else "none that fits, of any version"
    wanted = f"a wheel for Python {device.minor}, {device.arch}, glibc ≤ 2.{device.glibc}"
    return _error(request, f"no wheel of {requirement} for the device", wanted, found, ANOTHER)


def _other_python(request: Request, requirement: str, wanted: str) -> BackendError:
    what = f"no wheel of {requirement} for the device's Python"
    return _error(request, what, f"Python {wanted}", f"Python {request.platform.python} on the device", ANOTHER)


def _pythons(request: Request, requirement: str, tags: list[str]) -> Iterator[str]:
    for number in PYTHON_MINORS:
        minor = f"3.{number}"
        other = replace(request.platform, python=minor)
        if minor != request.platform.minor and find_wheel(request, requirement, other, tags)[0] is not None:
            yield minor


def _explain_conflict(request: Request, text: str) -> BackendError:
    """Pins that exclude each other; or a pin that has no wheel, which pip calls a conflict too."""
    reason = text[text.find("ERROR: Cannot install") :].partition("\nTo fix this")[0]
    named = {_name(word) for word in re.split(r"[^\w.-]+", reason) if NAME.fullmatch(word)}
    pins = [pin for pin in (*request.requirements, *request.constraints) if _name(pin) in named]
    pinned = {_name(pin) for pin in pins}
    for pin in dict.fromkeys(pins + [one for one in DEPENDS.findall(reason) if _name(one) not in pinned]):
        name, outcome = find_wheel(request, pin, request.platform, strict=True)
        if name is None and MISSING.search(outcome.output):
            return _explain_missing(request, pin, outcome.output)
    found = reason.removeprefix("ERROR: ").strip()[:2000]
    hint = "change what excludes the other: packages = […] under [runtime], or your own pip's constraints"
    return _error(request, "the runtime's packages exclude each other", "versions that fit together", found, hint)


def _pin_of(request: Request, requirement: str) -> str:
    """The pin of a package that pip has named without its version."""
    if not NAME.fullmatch(requirement):
        return requirement
    pins = [pin for pin in (*request.requirements, *request.constraints) if _name(pin) == _name(requirement)]
    return pins[0] if pins else requirement


def _name(requirement: str) -> str:
    """A requirement's distribution, its name normalised as in PEP 503."""
    found = re.match(r"[A-Za-z0-9][\w.-]*", requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def _needed_glibc(file: str) -> int | None:
    """The X of the oldest glibc 2.X that a wheel's platform tags name (manylinux_2_X_ARCH, several joined by dots)."""
    tags = file.removesuffix(".whl").rpartition("-")[2].split(".")
    minors = [int(found[1]) for tag in tags if (found := re.match(r"manylinux_2_(\d+)_", tag))]
    return min(minors, default=None)


def _unreachable(request: Request, text: str) -> BackendError:
    hint = (
        "look at the network, and at pip's own settings (pip config list); wheels that were fetched once need neither"
    )
    return _error(request, "the package index cannot be reached", ", ".join(request.requirements), _said(text), hint)


def _raise_storage(request: Request, text: str) -> None:
    for number in NO_SPACE:
        if f"[Errno {number}]" in text:
            with storage_errors(request.work):
                raise OSError(number, os.strerror(number), str(request.work.parent))


def _said(text: str) -> str:
    """pip's last words."""
    lines = [line.strip()[:300] for line in text.splitlines() if line.strip()]
    loud = [line for line in lines if re.match(r"ERROR|WARNING|Could not fetch", line)]
    return "\n".join((loud or lines)[-3:])


def _error(request: Request, what: str, wanted: str, found: str, hint: str) -> BackendError:
    return BackendError(what, wanted=wanted, found=found, where=request.where, hint=hint)
