"""What an image is made from: Debian's packages, our own few files, and how they are put together.

The image's name is a hash over all of it, so that a change of the recipe makes another image. What Debian has of these
packages changes without it: an image says which versions it holds, and ``hilgate image build --anew`` asks again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

SUITE = "bookworm"
ARCH = "arm64"
# Enough for sshd, Python and the libraries that torch and ONNX Runtime link with. Debian's own tools for a bad network
# (tc, with netem in the kernel) are there too.
PACKAGES = (
    "base-files",
    "base-passwd",
    "busybox-static",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "hostname",
    "iproute2",
    "kmod",
    "libc-bin",
    "libgomp1",
    "libpython3-stdlib",
    "libstdc++6",
    "linux-image-cloud-arm64",
    "login",
    "mount",
    "openssh-server",
    "passwd",
    "procps",
    "python3-minimal",
    "sed",
    "util-linux",
    "zlib1g",
)
# Kernel modules that the board's devices need; the kernel's own list has what these depend on.
MODULES = ("virtio_pci", "virtio_blk", "virtio-rng", "virtio_console", "virtio_net")
# The disk may grow to this as it is written to; on the host it takes only what was written.
DISK_GIB = 16
USER = "pi"
UID = 1000

GUEST = Path(__file__).parent / "guest"


def recipe_key() -> str:
    """Hash the recipe into the image's name, 64 hexadecimal digits."""
    files = {path.name: path.read_text(encoding="utf-8") for path in sorted(GUEST.iterdir()) if path.is_file()}
    builder = (
        Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
        for name in ("image_recipe", "building", "disk")
    )
    return hashlib.sha256(json.dumps([files, *builder], sort_keys=True).encode()).hexdigest()
