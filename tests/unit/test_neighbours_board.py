"""Other users of a board: each thing that one could do to us, done by a real one with a uid of his own."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.agent import attach, orphans
from harness.agent.daemon import device_lock, folders, holder, trial
from harness.agent.daemon.operations import Operations
from harness.agent.daemon.serve import _refusal
from harness.agent.daemon.store import Store
from harness.agent.private import NotOurs
from harness.board import open_board
from harness.board.holder import busy_error
from harness.device.device import Device
from harness.errors import StorageError
from harness.protocol.daemon import Holder
from tests.support.namespaces import require_namespaces
from tests.support.second_user import as_user, process_of, second_uid, shared_folder

OURS = {"run": "ours", "who": "me@here", "since": "now"}


@pytest.fixture(scope="module")
def them() -> int:
    return second_uid()


@pytest.fixture
def shared() -> Iterator[Path]:
    with shared_folder() as folder:
        yield folder


@pytest.fixture
def path(shared: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The machine's lock."""
    monkeypatch.setattr(device_lock, "DEVICE", str(shared / "hilgate"))
    return device_lock.DEVICE


def is_alive(pid: int) -> bool:
    process = orphans.identity(pid)
    return process is not None and process[2] not in "ZX"


def record_of(pid: int, run: str = "ours") -> dict[str, Any]:
    process = orphans.identity(pid)
    assert process is not None
    return {"run": run, "pid": pid, "start": process[1], "boot": orphans.boot_id(), "exe": orphans.executable(pid)}


def taken(path: str) -> None:
    for descriptor in device_lock.take_machine(path, OURS):
        os.close(descriptor)


def busy(path: str) -> dict[str, Any]:
    with pytest.raises(device_lock.Busy) as caught:
        taken(path)
    return caught.value.holder


# The lock


def test_another_users_hold_is_told_by_the_kernels_word_and_his_own(path: str, them: int) -> None:
    with process_of(them, lambda: device_lock.take_machine(path, {**OURS, "who": "them", "run": "theirs"})) as pid:
        found = busy(path)
        assert found.pop("age_s") < 60
        assert found == {
            "lock": path,
            "user": f"uid {them}",
            "pid": pid,
            "who": "them",
            "run": "theirs",
            "since": "now",
        }
    taken(path)


def hold_silently(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def test_a_name_that_another_user_gives_himself_is_not_believed(path: str, them: int) -> None:
    with subprocess.Popen(["sleep", "60"]) as victim:

        def hold() -> int:
            descriptor = hold_silently(path)
            text = json.dumps({**OURS, **record_of(victim.pid), "uptime_s": 0})
            # In the lock itself, as earlier versions wrote it; as ours; and as his own, of a process that is not his.
            for name in (path, holder.record_path(path, 0), holder.record_path(path, them)):
                Path(name).write_text(text)
            return descriptor

        with process_of(them, hold) as pid:
            assert busy(path) == {"lock": path, "user": f"uid {them}", "pid": pid}
        assert victim.poll() is None
        victim.kill()


def test_what_another_user_says_of_our_hold_is_not_believed(path: str, them: int) -> None:
    us = them + 1
    as_user(them, lambda: Path(holder.record_path(path, us)).write_text(json.dumps({**OURS, **record_of(1)})))
    with process_of(us, lambda: device_lock.take_machine(path, OURS)) as pid:  # though his file is where ours belongs
        assert busy(path) == {"lock": path, "user": f"uid {us}", "pid": pid}


def test_a_hold_of_a_process_that_cannot_be_seen_is_told_as_that(path: str) -> None:
    """As from a container that shares the folder with the machine."""
    require_namespaces()
    program = f"""
import sys
sys.path.insert(0, {str(Path(attach.__file__).parents[1])!r})
from agent.daemon import device_lock
try:
    device_lock.take_machine(sys.argv[1], {{}})
except device_lock.Busy as busy:
    print(busy.holder["user"], "pid" in busy.holder)
"""
    descriptors = device_lock.take_machine(path, OURS)
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--mount", "--pid", "--fork", "--mount-proc", sys.executable, "-c", program, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "a process that cannot be seen from here: of a container, or hidden False\n"
    os.close(descriptors[0])


LEFT_BEHIND = """
import fcntl, os, time
fcntl.flock(0, fcntl.LOCK_EX)
if pid := os.fork():
    print(pid)
else:
    os.close(1)
    time.sleep(60)
"""


def test_a_hold_that_outlives_its_process_names_none(path: str) -> None:
    """Its child has it; what the kernel says is the number of the process that is gone, or nothing."""
    with Path(path).open("w") as file:
        command = [sys.executable, "-c", LEFT_BEHIND]
        done = subprocess.run(command, stdin=file, stdout=subprocess.PIPE, check=True, timeout=20)
    try:
        assert busy(path).keys() == {"lock", "user"}
    finally:
        os.kill(int(done.stdout), signal.SIGKILL)


def test_every_user_can_lock_what_another_made_and_read_who_has_it(path: str, them: int) -> None:
    before = os.umask(0o077)
    taken(path)
    os.umask(before)
    descriptors = device_lock.take_machine(path, OURS)
    assert as_user(them, lambda: busy(path))["who"] == OURS["who"]
    os.close(descriptors[0])
    as_user(them, lambda: taken(path))


def test_a_lock_that_is_removed_while_it_is_taken_is_taken_anew(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(path).touch()
    attempt = device_lock._try

    def remove_first(descriptor: int) -> bool:
        monkeypatch.setattr(device_lock, "_try", attempt)
        Path(path).unlink()
        return attempt(descriptor)

    monkeypatch.setattr(device_lock, "_try", remove_first)
    (descriptor,) = device_lock.take_machine(path, OURS)
    assert busy(path)["pid"] == os.getpid()
    os.close(descriptor)


def link(path: str) -> None:
    Path(path).symlink_to("/etc/passwd")


def unreadable(path: str) -> None:
    Path(path).touch(mode=0o600)


def folder(path: str) -> None:
    Path(path).mkdir()


def second_name(path: str) -> None:
    Path(path + "-").touch(mode=0o666)
    os.link(path + "-", path)


@pytest.mark.parametrize("plant", [link, unreadable, folder, second_name, os.mkfifo], ids=lambda plant: plant.__name__)
def test_what_can_be_no_lock_is_refused_and_not_gone_without(
    path: str, them: int, plant: Callable[[str], None]
) -> None:
    as_user(them, lambda: plant(path))

    def take() -> str:
        try:
            taken(path)
        except NotOurs as error:
            return f"{error.strerror}; {error.repair}"
        return ""

    said = as_user(them + 1, take)
    assert f"owner uid {them}" in said
    assert said.endswith(f"sudo rm -r {path}")


def test_a_lock_of_any_size_is_not_read(path: str, them: int) -> None:
    as_user(them, lambda: os.truncate(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), 1 << 40))
    taken(path)


@pytest.mark.parametrize("where", ["missing/hilgate", "/proc/hilgate"])
def test_a_machine_without_a_folder_for_locks_has_none(tmp_path: Path, where: str) -> None:
    assert device_lock.take_machine(str(tmp_path / where), OURS) == []


def test_a_run_is_told_whose_process_holds_the_board(shared: Path, path: str, them: int) -> None:
    board = Device(name="pi", path=shared / "pi.toml", description="", link="ssh", host="pi", backends=("torchscript",))
    with process_of(them, lambda: hold_silently(path)) as pid:
        reply = Operations().op_open(str(shared / "store"), OURS, [], whole=True, trusted=[])
        said = str(busy_error(board, "~/store", Holder.model_validate(reply["busy"]), 5.0))
    assert f"held by uid {them}, pid {pid}; waited 5 s for it\n" in said
    assert f"{path} there" in said
    assert f"sudo kill {pid}" in said


# Processes


def test_another_users_process_is_not_ended_whatever_a_record_says(tmp_path: Path, them: int) -> None:
    with process_of(them) as pid:
        record = record_of(pid)
        (tmp_path / "1.json").write_text(json.dumps(record))
        assert orphans.reap(str(tmp_path)) == []
        assert not orphans.end(pid, record["start"], signal.SIGKILL)
        assert is_alive(pid)


def test_what_another_user_marks_as_our_runs_is_not_ended(them: int) -> None:
    mark = {**os.environ, orphans.MARK: "run-1"}
    with (
        subprocess.Popen(["sleep", "60"], env=mark, user=them) as theirs,
        subprocess.Popen(["sleep", "60"], env=mark) as ours,
    ):
        for process in (theirs, ours):
            while b"HILGATE_RUN" not in Path(f"/proc/{process.pid}/environ").read_bytes():
                assert process.poll() is None
        assert orphans.end_marked("run-1") == [ours.pid]
        assert theirs.poll() is None
        theirs.kill()


def test_a_record_that_another_user_wrote_is_none(tmp_path: Path, them: int) -> None:
    with subprocess.Popen(["sleep", "60"]) as innocent:
        (tmp_path / "1.json").write_text(json.dumps(record_of(innocent.pid)))
        os.chown(tmp_path / "1.json", them, them)
        assert orphans.living(str(tmp_path)) == []
        assert orphans.reap(str(tmp_path)) == []
        assert innocent.poll() is None
        innocent.kill()


def test_a_process_of_another_executable_is_not_the_recorded_one(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as innocent:
        (tmp_path / "1.json").write_text(json.dumps({**record_of(innocent.pid), "exe": "/usr/bin/other"}))
        assert orphans.reap(str(tmp_path)) == []
        assert innocent.poll() is None
        innocent.kill()


# The store


def plant(store: Path) -> None:
    """A store as ours would be, with an agent in a bundle that a run will start."""
    bundle = Store.open(str(store)).folder("bundles/aa") + "/agent"
    Path(bundle).mkdir(parents=True)
    Path(bundle, "__main__.py").write_text("import os; os.system('id > /tmp/planted')")
    for folder in (store, *(folder for folder in store.rglob("*") if folder.is_dir())):
        folder.chmod(0o777)


def test_a_store_that_another_user_made_first_is_refused_before_anything_is_written(shared: Path, them: int) -> None:
    store = shared / "store"
    as_user(them, lambda: plant(store), umask=0)
    for attempt in (
        lambda: Operations().op_open(str(store), OURS, [], False, []),
        lambda: Operations().op_offer(str(store), {}),
        lambda: trial.try_store(str(store)),
    ):
        with pytest.raises(NotOurs) as caught:
            attempt()
    assert _refusal(caught.value, "")["repair"].startswith(f"sudo rm -r {store}")
    assert not (store / "lock").exists()


def change_a_file(entry: Path, them: int) -> None:
    (entry / "manifest.json").write_text("{ }")
    os.chown(entry / "manifest.json", them, them)


def change_where_a_link_leads(entry: Path, them: int) -> None:
    (entry / "agent").rename(entry / "before")
    (entry / "agent").symlink_to("before")
    os.chown(entry / "agent", them, them, follow_symlinks=False)


def open_a_file_for_all(entry: Path, them: int) -> None:
    (entry / "manifest.json").chmod(0o666)


def write_the_seal(entry: Path, them: int) -> None:
    (entry / "manifest.json").write_text("{ }")
    (entry / folders.SEAL).write_text(folders.seal_of(str(entry)))
    os.chown(entry / folders.SEAL, them, them)


CHANGES = [change_a_file, change_where_a_link_leads, open_a_file_for_all, write_the_seal]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_another_user_did_in_a_store_while_he_could_is_removed(
    tmp_path: Path, them: int, change: Callable[[Path, int], None]
) -> None:
    store = Store.open(str(tmp_path / "store"))
    for name in ("aa", "bb"):
        store.make(f"bundles/{name}", {}, [], {"agent/__main__.py": "", "manifest.json": "{}"}, {})
    entry = Path(store.folder("bundles/bb"))
    change(entry, them)
    assert store.tidy() == ["bundles/bb"]
    assert store.entries() == ["bundles/aa"]


def test_all_that_is_in_a_store_is_for_our_eyes_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store.open(str(tmp_path / "store"))
        store.make("bundles/aa", {}, [], {"agent/__main__.py": "", "manifest.json": "{}"}, {})
        os.close(device_lock.take(store.path("lock"), OURS))
        orphans.write_record(store.path("agents"))
    finally:
        os.umask(before)
    paths = [Path(store.root), *Path(store.root).rglob("*")]
    assert [str(path) for path in paths if path.stat().st_mode & 0o077] == []


def test_a_run_on_such_a_store_ends_with_what_repairs_it(shared: Path, them: int) -> None:
    store = shared / "store"
    as_user(them, lambda: plant(store), umask=0)
    file = shared / "here.toml"
    here = Device(name="here", path=file, description="", link="local", backends=("onnxruntime",), store=str(store))
    with pytest.raises(StorageError, match="other users of here") as caught:
        open_board(here)
    assert f"sudo rm -r {store}" in caught.value.hint
    assert "[device] store" in caught.value.hint


# Forkservers


FORKSERVER = f"""
import os, sys
sys.path.insert(0, {str(Path(attach.__file__).parents[1])!r})
from agent import forkserver
forkserver.run_forkserver(sys.argv[1], lambda words: os.write(1, b"%d" % os.getppid()))
"""


def asking(path: Path) -> list[str]:
    """A program that joins a forkserver, and says "itself" without one."""
    return [sys.executable, "-I", "-S", "-B", str(attach.__file__), str(path), "", "echo", "itself"]


def told(path: Path) -> str:
    return subprocess.run(asking(path), capture_output=True, text=True, check=True, timeout=20).stdout


def test_a_forkserver_is_no_other_users_to_ask(shared: Path, them: int) -> None:
    path = shared / "forkservers" / "socket"
    subprocess.run([sys.executable, "-c", FORKSERVER, str(path)], stdout=subprocess.PIPE, check=True, timeout=20)
    pid = int(told(path))
    path.parent.chmod(0o755)  # as if he had got there
    path.chmod(0o666)

    def ask() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(path))
            try:
                socket.send_fds(connection, [b"/\0\0program"], [0, 1, 2])
                return connection.recv(4)
            except ConnectionError:
                return b"refused"

    try:
        assert as_user(them, ask) in (b"refused", b"")
        assert int(told(path)) == pid
    finally:
        os.kill(pid, signal.SIGKILL)


def test_another_users_forkserver_is_not_asked(shared: Path, them: int) -> None:
    def listen() -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(shared / "socket"))
        listener.listen(1)
        return listener

    with process_of(them, listen):
        assert told(shared / "socket") == "itself\n"
