"""A limit on memory in a real memory cgroup, on an emulated board whose user has been given one, as systemd does it.

The board boots from the usual image, with another first program: it mounts cgroup2, and starts all else in a group of
the user's. It boots without a snapshot, for a saved one has no such group.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.board import Board
from harness.board.board import new_board
from harness.deploy.handed import handed_script
from harness.deploy.memory_cap import MODULES, CappedBoard, why_not
from harness.emulator.image import provide_image
from harness.links import Channel, open_link
from harness.measure.memory_cap import INFERENCES, try_cap
from harness.model.inputs import measured_sets
from harness.protocol.memory_cap import Counted

from .boards import wait_for
from .emulated import Digits, device, guest, python

pytestmark = pytest.mark.slow

MIB = 1 << 20
LIMIT = 100 * MIB
ENDED_S = 60.0
TOP = "/mnt/user"
# What the initrd's own program does before it hands over, see harness/emulator/guest/initrd.
GIVEN = """\
mkdir -p /root/mnt
/bin/busybox mount -t cgroup2 cgroup2 /root/mnt
echo +memory > /root/mnt/cgroup.subtree_control
/bin/busybox mkdir -p /root{top}/sessions
echo $$ > /root{top}/sessions/cgroup.procs
/bin/busybox chown -R 1000:1000 /root{top}
exec /bin/busybox switch_root"""


def initrd(folder: Path, usual: Path) -> None:
    """Append an archive to the initrd, whose files replace those before."""
    program = (Path(__file__).parents[2] / "harness/emulator/guest/initrd").read_text()
    given = program.replace("exec /bin/busybox switch_root", GIVEN.replace("{top}", TOP))
    assert given != program
    (folder / "init").write_text(given.replace("\nmkdir -p", "\n/bin/busybox mkdir -p"))
    (folder / "init").chmod(0o755)
    more = subprocess.run(
        ["cpio", "-o", "-H", "newc", "-R", "+0:+0", "--quiet"], cwd=folder, input=b"init\n", stdout=-1, check=True
    )
    (folder / "initrd").write_bytes(usual.read_bytes() + more.stdout)


@pytest.fixture(scope="module")
def board(users_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    image, folder = provide_image(), tmp_path_factory.mktemp("image")
    initrd(folder, image.initrd)
    for name in (image.disk.name, image.kernel.name):
        (folder / name).symlink_to(image.folder / name)
    for path in (image.key, image.folder / "host_key.pub"):
        shutil.copy(path, folder / path.name)
    link = open_link(device())
    assert link.snapshots is not None
    with new_board(device(), link) as made:
        link.snapshots.power_on(replace(image, folder=folder))
        made.lease.connect()
        made.lease.acquire(0.0)
        yield made
        assert guest(made, f"ls {TOP}").split().count("sessions") == 1
        assert not left(made)


def left(board: Board) -> list[str]:
    """What hilgate has left in the groups there."""
    found = guest(board, f"cd {TOP}; ls -d hilgate-* */hilgate-* 2>/dev/null; cat cgroup.subtree_control")
    return found.split()


def capped(board: Board, mib: int, *, then: str = "", before: str = "") -> Channel:
    """A Python that fills so many MiB, in a group of 100."""
    program = f"held = b'1' * ({mib} << 20); print('held', flush=True); {then}"
    asked = {"limit_bytes": LIMIT, "script": f"exec {python(program)}"}
    return board.link.start(before + handed_script(board, MODULES, json.dumps(asked)))


def end_of(board: Board, channel: Channel) -> tuple[int | None, Counted]:
    """Its exit status, and what was counted."""
    status = channel.finish(ENDED_S)
    counted = CappedBoard(lease=board.lease, limit_bytes=LIMIT, channels=[channel]).counted()
    assert counted is not None, channel.stderr_tail()
    return status, counted


def test_what_fits_lives_and_is_counted(board: Board) -> None:
    assert why_not(board, LIMIT, "here") == ""
    status, counted = end_of(board, capped(board, 60))
    assert (status, counted.limit_bytes, counted.events["oom_kill"]) == (0, LIMIT, 0)
    assert counted.peak_bytes is not None
    assert 60 * MIB < counted.peak_bytes < 80 * MIB
    assert not left(board)


def test_what_does_not_fit_is_killed_and_the_board_lives(board: Board) -> None:
    status, counted = end_of(board, capped(board, 140))
    assert status == -signal.SIGKILL
    assert counted.events["oom"] >= 1
    assert counted.events["oom_kill"] == 1
    assert "CONSTRAINT_MEMCG" in guest(board, "dmesg")
    status, _ = end_of(board, capped(board, 60))
    assert status == 0
    assert not left(board)


def test_where_the_launcher_is_killed_the_process_ends_and_the_next_try_removes_the_group(board: Board) -> None:
    channel = capped(board, 10, then="import time; time.sleep(600)")
    assert channel.receive(5, time.monotonic() + ENDED_S) == b"held\n"
    launcher = guest(board, f"basename {TOP}/hilgate-cap-* | tr -dc 0-9")
    inside = guest(board, f"cat {TOP}/hilgate-cap-*/cgroup.procs")
    guest(board, f"kill -9 {launcher}")
    wait_for(lambda: guest(board, f"test -e /proc/{inside} || echo gone") == "gone" or None, ENDED_S)
    channel.finish(1.0)
    assert why_not(board, LIMIT, "here") == ""
    assert "hilgate-cap-" not in guest(board, f"ls {TOP}")


# What systemd-run does for a user, as far as groups go: one that is delegated, and the command inside it. The user may
# move processes there, and not from where he logged in.
SCOPE = f"""\
#!/bin/sh
echo "$@" > ~/asked
while [ "$1" != -- ]; do shift; done
shift
chmod u+w {TOP}/cgroup.procs
echo +memory > {TOP}/cgroup.subtree_control
mkdir {TOP}/scope
echo $$ > {TOP}/scope/cgroup.procs
exec "$@"
"""


@pytest.fixture
def scopes(board: Board) -> Iterator[str]:
    """A session that may make no group, beside a systemd that makes scopes; what its commands begin with."""
    guest(board, f"mkdir -p ~/bin ~/run/systemd; echo {shlex.quote(SCOPE)} > ~/bin/systemd-run; chmod +x ~/bin/*")
    guest(board, f"touch ~/run/systemd/private; chmod a-w {TOP}/cgroup.procs")
    yield "export PATH=~/bin:$PATH XDG_RUNTIME_DIR=$HOME/run; "
    guest(board, f"chmod u+w {TOP}/cgroup.procs; rmdir {TOP}/scope/hilgate-launcher {TOP}/scope; rm -r ~/bin ~/run")
    guest(board, f"echo -memory > {TOP}/cgroup.subtree_control")


def test_where_the_session_may_make_no_group_a_scope_of_the_users_systemd_does(board: Board, scopes: str) -> None:
    assert "there is no systemd-run" in why_not(board, LIMIT, "here")
    status, counted = end_of(board, capped(board, 140, before=scopes))
    assert status == -signal.SIGKILL
    assert (counted.limit_bytes, counted.events["oom_kill"]) == (LIMIT, 1)
    assert "--user --scope" in guest(board, "cat ~/asked")
    assert guest(board, f"ls -d {TOP}/scope/hilgate-*") == f"{TOP}/scope/hilgate-launcher"  # systemd removes it


def test_a_model_lives_under_a_limit_that_it_fits_in_and_dies_under_another(board: Board) -> None:
    digits = Digits(board, "onnxruntime-cpp")
    sets = measured_sets(digits.deployer.cell.file.model, 1)
    lives, dies = (try_cap(digits.deployer, sets, limit_mib, 60.0) for limit_mib in (100, 4))
    assert (lives.unavailable, lives.doubt, lives.failure, lives.inferences) == ("", "", "", INFERENCES)
    assert lives.peak_mib is not None
    assert 4 < lives.peak_mib < 100
    assert "oom_kill 1" in dies.failure
    assert digits.fresh()  # the cell goes on
    assert not left(board)
