"""A command for which programs of arm64 run on this machine too: with the kernel's binfmt_misc and qemu-user-static.

Only for that command. Since Linux 6.7 each user namespace may have a binfmt_misc of its own, so nothing is registered
with the machine, and nothing has to be undone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

INTERPRETER = "qemu-aarch64-static"
FIRST_LINUX = (6, 7)
# As Debian's qemu-user-static registers it: an ELF file of 64 bits, executable or shared, for AArch64. F: opened now,
# and so found by what runs in another root folder.
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
BINFMT = "/proc/sys/fs/binfmt_misc"
# Process 1 there: waits until it has been told who is who, mounts, registers, starts the command. It lives as long as
# its stdin is open: with us it ends, and then the kernel ends all that runs there.
PREPARE = f"""
echo started; read go
mount --make-rprivate / && mount -t binfmt_misc binfmt_misc {BINFMT} || exit 1
printf %s "$1" > {BINFMT}/register || exit 1
shift
("$@" < /dev/null >&2; echo "exit $?") &
read end
"""
MAP = "0 0 65536\n"


def obstacle() -> str:
    """Why it cannot be had on this machine; "" where it can."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if found is None or tuple(map(int, found.groups())) < FIRST_LINUX or not Path(BINFMT).exists():
        return "needs Linux 6.7 or newer with binfmt_misc"
    if os.geteuid():
        return "needs root"
    if shutil.which(INTERPRETER) is None:
        return f"needs {INTERPRETER}: apt-get install --no-install-recommends qemu-user-static"
    return ""


def run_with_arm64(command: Sequence[str], log: Path) -> None:
    """Run a command there, with an end.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    rule = f":hilgate-arm64:M::{MAGIC}:{MASK}:{shutil.which(INTERPRETER)}:F"
    unshare = ["unshare", "--user", "--mount", "--pid", "--fork", "--"]
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [*unshare, "sh", "-c", PREPARE, "sh", rule, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        if process.stdin is None or process.stdout is None:
            raise AssertionError
        if process.stdout.readline():
            (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for kind in ("uid_map", "gid_map"):
                Path(f"/proc/{child}/{kind}").write_text(MAP)
            process.stdin.write("go\n")
            process.stdin.flush()
        said = process.stdout.readline().strip()
    if said != "exit 0":
        raise RuntimeError(f"{command[0]}: {said or 'it was not started'}\n{log.read_text()[-3000:]}")
