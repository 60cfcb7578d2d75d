"""The headers that runners are built with, and a sysroot for another architecture.

nlohmann/json.hpp comes from a Python package, one of hilgate's dependencies. ONNX Runtime's headers, which no wheel
has, and the sysroot are Debian packages, unpacked into the cache by apt with a root of its own: nothing is installed.

    packages/KEY/root/           the packages' files
    packages/KEY/versions.json   NAME: VERSION
    packages/KEY/packages.json   [{"name": …, "version": …, "file": …, "sha256": …}]

apt accepts only packages that a list names by their hash, and only lists that are signed by a key of
debian-archive-keyring; neither this machine's settings nor a mirror can change that. A project's lock file (see
``..lock``) names them by hash as well.

On a host without Debian's tools or a network, the user names folders instead:

    HILGATE_HEADERS=DIR           with onnxruntime_cxx_api.h, and optionally a nlohmann/json.hpp instead of ours
    HILGATE_SYSROOT_AARCH64=DIR   a root file system of that architecture, with its C and C++ headers (also …_X86_64)
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...errors import BuildError
from ...host.bounded import build_lock, discard, pin, prune_caches
from ...host.cache import cache_folder, file_sha256, new_entry
from ...host.debian import KEYRING, MIRROR, apt_options, debian_sources
from ...host.manifest import find_damage, is_due, note_hashes
from ...host.progress_log import progress_logger
from ..lock_file import Locked, check_locked
from .tool import run

LOG = progress_logger(__name__)

STORE, ROOT, VERSIONS, PACKAGES = "packages", "root", "versions.json", "packages.json"
HEADERS = "HILGATE_HEADERS"
# trixie is the first release with onnxruntime. Its headers, of 1.21, serve every later version, because the C API is a
# versioned table.
HEADER_SUITE, HEADER_PACKAGES = "trixie", ("libonnxruntime-dev",)
PARSER, API = "nlohmann/json.hpp", "onnxruntime_cxx_api.h"
PARSER_PACKAGE = "nlohmann_json"
# As old as the boards' systems: what is built with a C library runs with that version or a newer one.
SYSROOT_SUITE = "bookworm"
SYSROOT_PACKAGES = (
    "libc6",
    "libc6-dev",
    "libgcc-12-dev",
    "libgcc-s1",
    "libgomp1",
    "libstdc++-12-dev",
    "libstdc++6",
    "linux-libc-dev",
    "zlib1g",
)
DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Headers:
    """The headers that a runner needs beside the runtime's own.

    Attributes:
        json: the folder with nlohmann/json.hpp.
        onnxruntime_folders: the folder with onnxruntime_cxx_api.h; empty where it was not requested.
        identity: a hash of all headers.
    """

    json: Path
    onnxruntime_folders: tuple[Path, ...]
    identity: str


def provide_headers(*, onnxruntime: bool = True) -> Headers:
    """Return the headers: the user's own, from the cache, or newly fetched.

    Args:
        onnxruntime: whether ONNX Runtime's headers are needed; LibTorch's are in its wheel.

    Raises:
        BuildError: a header cannot be found or fetched.
        StorageError: the cache cannot be written.
    """
    named = os.environ.get(HEADERS)
    if named:
        hint = f"put it below that folder, or name another one: {HEADERS}=DIR"
        apis = [_find(API, Path(named), f"${HEADERS}", hint)] if onnxruntime else []
        # The user's own parser, if there is one.
        parser = min(Path(named).rglob(PARSER), key=_depth, default=None) or _installed_parser()
    else:
        parser = _installed_parser()  # looked for before anything is fetched
        apis = []
        if onnxruntime:
            root = _provide(HEADER_SUITE, DEBIAN_ARCH["x86_64"], HEADER_PACKAGES)
            apis = [_find(API, root / "usr" / "include", "Debian's packages", "")]
    files = [*sorted(parser.parent.rglob("*.hpp")), *(path for api in apis for path in sorted(api.parent.glob("*.h")))]
    identity = hashlib.sha256(json.dumps([file_sha256(path) for path in files]).encode()).hexdigest()
    return Headers(parser.parent.parent, tuple(api.parent for api in apis), identity)


def _installed_parser() -> Path:
    """Find the parser's header in the Python package, beside the running Python."""
    spec = importlib.util.find_spec(PARSER_PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    hint = f"reinstall it: {sys.executable} -m pip install --force-reinstall nlohmann-json"
    where = f"the package {PARSER_PACKAGE}, which hilgate depends on"
    return _find(PARSER, Path(*folders[:1] or [sys.prefix, PARSER_PACKAGE]), where, hint)


def _find(name: str, folder: Path, where: str, hint: str) -> Path:
    """Find a header below a folder; of several the one with the shortest path."""
    path = min(folder.rglob(name), key=_depth, default=None)
    if path is None:
        what = "a header that runners need is missing"
        raise BuildError(what, wanted=name, found=f"none below {folder}", where=where, hint=hint)
    return path


def _depth(path: Path) -> int:
    return len(path.parts)


def provide_sysroot(arch: str) -> Path:
    """Return the root of another architecture's C and C++ libraries and headers.

    Raises:
        BuildError: it cannot be fetched, or the user's is not one.
        StorageError: the cache cannot be written.
    """
    if named := os.environ.get(variable := f"HILGATE_SYSROOT_{arch.upper()}"):
        if not Path(named, "usr", "include").is_dir():
            raise BuildError(
                "the sysroot is none", wanted="a folder with usr/include", found=repr(named), where=f"${variable}"
            )
        return Path(named)
    return _provide(SYSROOT_SUITE, DEBIAN_ARCH[arch], SYSROOT_PACKAGES)


def _provide(suite: str, arch: str, names: Sequence[str]) -> Path:
    key = hashlib.sha256(json.dumps([suite, arch, names]).encode()).hexdigest()
    folder = cache_folder() / STORE / key
    target = f"debian-{suite}-{arch}"
    if is_due(folder) and (wrong := find_damage(folder)):  # without noted hashes no damage can be found
        LOG.info(f"what was unpacked of Debian's packages is damaged, and is fetched again: {wrong}")
        discard(folder)
    if (there := _packages_in(folder, target)) is None:
        with build_lock(folder):
            if (there := _packages_in(folder, target)) is None:
                LOG.info(f"fetching Debian {suite}'s {', '.join(names)} ({arch})")
                discard(folder)  # of a version of hilgate that did not note the hashes
                with new_entry(folder) as work:
                    there = _unpack(suite, arch, names, work)
                    note_hashes(work)
                    pin(work)
                prune_caches()
    check_locked(there, f"C++ runners: {', '.join(names)}")
    return folder / ROOT


def _packages_in(folder: Path, target: str) -> list[Locked] | None:
    """Pin a folder of the cache and list the packages that it was made from; None where it does not exist."""
    if not pin(folder) or not (folder / VERSIONS).is_file():
        return None
    try:
        return [Locked(target=target, **entry) for entry in json.loads((folder / PACKAGES).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return None


def _unpack(suite: str, arch: str, names: Sequence[str], work: Path) -> list[Locked]:
    """Download, verify and unpack packages; return their entries for a lock file."""
    what = "Debian's packages cannot be fetched, which C++ runners are built with"
    own = f"{HEADERS}=DIR, and for another architecture HILGATE_SYSROOT_AARCH64=DIR (docs/runners.md)"
    if shutil.which("apt-get"):
        hint = f"is this machine's apt set up, and its network there? Another mirror: {MIRROR}=URL. Or folders: {own}"
    else:
        hint = f"on a machine without apt name folders of your own, such as of ONNX Runtime's release archive: {own}"
    _check(suite, what, hint)
    apt = _apt_root(work / "apt", suite, arch)
    for step in ("update", "download"):
        command = ["apt-get", "-q", step, *(names if step == "download" else ())]
        run(["sh", "-c", 'cd "$0" && exec "$@"', apt, *command], what, hint=hint, environment=_apt_environment(apt))
    packages = [_locked(f"debian-{suite}-{arch}", package) for package in sorted(apt.glob("*.deb"))]
    check_locked(packages, f"C++ runners: {', '.join(names)}")
    for package in packages:
        run(["dpkg-deb", "-x", apt / package.file, work / ROOT], f"{package.file} cannot be unpacked")
    shutil.rmtree(apt)
    versions = {package.name: package.version for package in packages}
    (work / VERSIONS).write_text(json.dumps(versions, indent=1) + "\n", encoding="utf-8")
    noted = [{key: value for key, value in asdict(package).items() if key != "target"} for package in packages]
    (work / PACKAGES).write_text(json.dumps(noted, indent=1) + "\n", encoding="utf-8")
    return packages


def _locked(target: str, package: Path) -> Locked:
    name, version, *_ = package.stem.split("_")
    return Locked(
        target=target, name=name, version=version.replace("%3a", ":"), file=package.name, sha256=file_sha256(package)
    )


def _check(suite: str, what: str, hint: str) -> None:
    missing = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]
    if not KEYRING.exists():
        missing.append("debian-archive-keyring")
    if missing or not debian_sources(suite):
        wanted = "apt-get, dpkg-deb, debian-archive-keyring, and a mirror of Debian's"
        found = f"not installed: {', '.join(missing)}" if missing else "this machine's apt knows no mirror of Debian's"
        install = "sudo apt-get install debian-archive-keyring; " if missing == ["debian-archive-keyring"] else ""
        raise BuildError(what, wanted=wanted, found=found, hint=install + hint)


def _apt_root(apt: Path, suite: str, arch: str) -> Path:
    """Make a folder in which apt works as on a machine of a suite and architecture with nothing installed."""
    for name in ("state/lists/partial", "cache/archives/partial", "etc"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    # Only the main archive: runners do not need security updates.
    source = next(line for line in debian_sources(suite) if re.search(rf" {suite} main$", line))
    (apt / "etc" / "sources.list").write_text(source + "\n", encoding="utf-8")
    settings = {
        "Dir": apt,
        "Dir::State": apt / "state",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "Dir::Etc": apt / "etc",
        "Dir::Etc::sourcelist": apt / "etc" / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "Dir::Etc::netrc": "/etc/apt/auth.conf",  # this machine's credentials, as its mirrors are used
        "Dir::Etc::netrcparts": "/etc/apt/auth.conf.d",
        "APT::Update::Error-Mode": "any",  # otherwise an unreachable mirror is only a warning
        "APT::Sandbox::User": "root",  # apt's own user may not write here
        # Even if this machine's own apt settings allow these.
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::AllowWeakRepositories": "false",
        "Acquire::AllowDowngradeToInsecureRepositories": "false",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    path = apt / "apt.conf"
    path.touch(mode=0o600)  # it may contain a proxy's password
    path.write_text(apt_options() + "".join(f'{key} "{value}";\n' for key, value in settings.items()), encoding="utf-8")
    return apt


def _apt_environment(apt: Path) -> dict[str, str]:
    return {"APT_CONFIG": str(apt / "apt.conf")}
