"""Builds an image: packages are only unpacked, never installed, so nothing is emulated and nobody has to be root.

mmdebstrap unpacks under fakeroot, which remembers who would own what. What the packages' own scripts would have done,
and this board needs, is done here. mke2fs fills a file system under the same fakeroot.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..errors import EmulatorError
from ..host.debian import KEYRING, apt_options, debian_sources
from ..host.progress_log import progress_logger
from . import host_programs
from .disk import make_disk
from .image_recipe import ARCH, GUEST, MODULES, PACKAGES, SUITE, UID, USER
from .step import check_disk, run

LOG = progress_logger(__name__)

# Disk space that a build takes while it runs.
NEEDED_BYTES = 2 << 30
DISK, KERNEL, INITRD, KEY, HOST_KEY = "disk.qcow2", "vmlinuz", "initrd", "id_ed25519", "host_key.pub"
# Not needed on the board: where packages came from, and their documentation.
LEFT_OUT = ("etc/apt", *(f"usr/share/{name}" for name in ("doc", "man", "locale", "info")))
PACKAGE_LIST = "packages"


def build(folder: Path) -> dict[str, Any]:
    """Build an image in a folder.

    Args:
        folder: where its files go; empty, on a disk that has NEEDED_BYTES free.

    Returns:
        What the image's record has beside its files: the kernel's release, packages with their versions, and what
        wheels must fit.

    Raises:
        EmulatorError: programs are missing, Debian's packages cannot be had, a step failed or took too long.
        StorageError: the disk is full.
    """
    host_programs.require({**host_programs.TO_RUN, **host_programs.TO_BUILD})
    _check_keyring()
    check_disk(folder, NEEDED_BYTES, "build an image")
    work = folder / "work"
    work.mkdir()
    root, owners = work / "root", work / "owners"
    LOG.info(f"1/4 Debian {SUITE} {ARCH}: {len(PACKAGES)} packages and what they need")
    _unpack(work, root, owners)
    packages = _packages(work)
    platform = _platform(packages)
    LOG.info("2/4 users, keys, start-up, byte code")
    _configure(root, folder)
    _compile(root, platform["python"], work)
    LOG.info("3/4 initrd and kernel")
    (release,) = (path.name for path in (root / "lib" / "modules").iterdir())
    run(["depmod", "-b", str(root), release], work)
    shutil.copyfile(root / "boot" / f"vmlinuz-{release}", folder / KERNEL)
    _make_initrd(root, root / "lib" / "modules" / release, work, folder)
    LOG.info("4/4 the disk")
    # Removed here and not before: fakeroot knows files by their inodes, and must see that one is free again.
    unwanted = [root / name for name in LEFT_OUT]
    make_disk(root, folder / DISK, owners=owners, home=root / "home" / USER, unwanted=unwanted)
    shutil.rmtree(work)
    return {"kernel": release, "packages": packages, **platform}


def _check_keyring() -> None:
    if not KEYRING.exists():
        what = "Debian's packages cannot be verified"
        hint = "sudo apt-get install debian-archive-keyring"
        raise EmulatorError(what, wanted=str(KEYRING), found="no such file", hint=hint)


def _unpack(work: Path, root: Path, owners: Path) -> None:
    options = work / "apt.conf"
    options.touch(mode=0o600)  # a proxy's password may be in it
    options.write_text(apt_options(), encoding="utf-8")
    command = [
        *("fakeroot", "-s", str(owners), "mmdebstrap", f"--architectures={ARCH}", "--mode=chrootless"),
        *("--variant=extract", "--skip=check/qemu,check/chrootless", f"--include={','.join(PACKAGES)}"),
        f"--aptopt={options}",
        # Packages that are only unpacked have no entry in dpkg's own list.
        f'--extract-hook=cd "$1/var/cache/apt/archives" && ls *.deb > {shlex.quote(str(work / PACKAGE_LIST))}',
        *(SUITE, str(root), *debian_sources(SUITE)),
    ]
    run(command, work)


def _configure(root: Path, folder: Path) -> None:
    """Configure the board: do what the packages' scripts would have done, as far as this board needs it."""
    ours = root / "usr" / "lib" / "hilgate"
    for path in (ours, root / "home" / USER, *(root / name for name in ("proc", "sys", "dev", "run", "tmp"))):
        path.mkdir(parents=True, exist_ok=True)
    for name in ("boot", "init.py"):
        shutil.copyfile(GUEST / name, ours / name)
        (ours / name).chmod(0o755)
    masters = root / "usr" / "share" / "base-passwd"
    users = (masters / "passwd.master").read_text() + "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
    users += f"{USER}:x:{UID}:{UID}::/home/{USER}:/bin/sh\n"
    # "*" and not "!": no password will do, but the account is not locked.
    shadow = "".join(f"{line.split(':')[0]}:*:19000:0:99999:7:::\n" for line in users.splitlines())
    groups = (masters / "group.master").read_text() + f"{USER}:x:{UID}:\n"
    etc = root / "etc"
    for name, text in (("passwd", users), ("group", groups), ("shadow", shadow), ("hostname", "emulated\n")):
        (etc / name).write_text(text)
        (etc / name).chmod(0o600 if name == "shadow" else 0o644)  # whatever this process's umask is
    if not (root / "bin" / "sh").is_symlink():
        (root / "bin" / "sh").symlink_to("dash")
    shutil.copyfile(GUEST / "sshd_config", etc / "ssh" / "sshd_config")
    _make_keys(etc / "ssh", folder)


def _make_keys(ssh: Path, folder: Path) -> None:
    """Make the board's own key, pinned from now on, and the one key that it lets in, which only this user has."""
    private, public = _key_pair()
    _write_secret(ssh / "ssh_host_ed25519_key", private)
    (folder / HOST_KEY).write_bytes(public + b"\n")
    private, public = _key_pair()
    _write_secret(folder / KEY, private)
    (ssh / "authorized_keys").write_bytes(public + b"\n")
    (ssh / "authorized_keys").chmod(0o644)


def _key_pair() -> tuple[bytes, bytes]:
    key = Ed25519PrivateKey.generate()
    kinds, nothing = serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return key.private_bytes(serialization.Encoding.PEM, kinds, nothing), public


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _compile(root: Path, python: str, work: Path) -> None:
    """Compile the standard library to byte code, as its package's script would have: imports take a third of the time.

    That takes a Python of the same minor version; on a machine without one the board does without byte code.
    """
    minor = python.rpartition(".")[0]
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    compiler = sys.executable if own == minor else shutil.which(f"python{minor}", path=host_programs.PATH)
    if compiler is not None:
        library = root / "usr" / "lib" / f"python{minor}"
        command = [compiler, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
        run([*command, "-s", str(root), "-p", "/", str(library)], work)


def _make_initrd(root: Path, modules: Path, work: Path, folder: Path) -> None:
    """Make the initrd: Busybox, a script, and the kernel modules that are needed to mount the disk."""
    tree = work / "initrd"
    for name in ("bin", "dev", "modules", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy(root / "bin" / "busybox", tree / "bin" / "busybox")
    shutil.copyfile(GUEST / "initrd", tree / "init")
    (tree / "init").chmod(0o755)
    order = _with_dependencies(modules)
    for module in order:
        shutil.copyfile(modules / module, tree / "modules" / Path(module).name)
    (tree / "modules" / "order").write_text("".join(f"{Path(module).name}\n" for module in order))
    output = shlex.quote(str(folder / INITRD))
    run(["sh", "-c", f"find . | sort | cpio -o -H newc -R +0:+0 --quiet > {output}"], tree)


def _with_dependencies(modules: Path) -> list[str]:
    """List our modules and all that they depend on, each after its own dependencies (modules.dep(5))."""
    lines = (line.partition(":") for line in (modules / "modules.dep").read_text().splitlines())
    needs = {path: wanted.split() for path, _, wanted in lines}
    order: dict[str, None] = {}
    for name in MODULES:
        found = [path for path in needs if Path(path).name.partition(".")[0] == name]
        if not found:
            raise EmulatorError("the kernel lacks a driver", wanted=f"the module {name}", where=str(modules))
        # A line of modules.dep lists first what is loaded last.
        order |= dict.fromkeys([*reversed(needs[found[0]]), found[0]])
    return list(order)


def _packages(work: Path) -> dict[str, str]:
    """Read NAME: VERSION of all that was unpacked from the files' names, NAME_VERSION_ARCH.deb."""
    names = (work / PACKAGE_LIST).read_text(encoding="utf-8").split()
    return {name: version.replace("%3a", ":") for name, version, *_ in (file.split("_") for file in sorted(names))}


def _platform(packages: dict[str, str]) -> dict[str, str]:
    """Work out what wheels must fit, in the words in which the board itself will report it."""
    python = re.match(r"[\d.]+", packages.get("python3.11-minimal", ""))
    libc = re.match(r"[\d.]+", packages.get("libc6", ""))
    if python is None or libc is None:
        found = ", ".join(packages) or "no package"
        raise EmulatorError("the image has no Python, or no C library", wanted="python3.11-minimal, libc6", found=found)
    return {"arch": "aarch64", "python": python[0], "libc": f"glibc-{libc[0]}"}
