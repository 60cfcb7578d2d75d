"""A process that meets an illegal instruction says where, and dies of it all the same: real ones, in real processes."""

from __future__ import annotations

import json
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from harness.agent import illegal

from ..support.pythons import PYTHONS

AGENT = Path(illegal.__file__).parents[1]
ILLEGAL = {"x86_64": "0f0b", "aarch64": "00000000"}[platform.machine()]
# Where the code is mapped from, and how it is come to.
PROGRAM = f"""
import ctypes, mmap, os, sys, threading
sys.path.insert(0, {str(AGENT)!r})
from agent import illegal

illegal.install_handler()
path, position, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
start = position - position % mmap.PAGESIZE
rights = dict(flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC, offset=start)
if path:
    memory = mmap.mmap(os.open(path, os.O_RDONLY), mmap.PAGESIZE, **rights)
else:
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=rights["prot"])
    memory[position:position + 8] = bytes.fromhex({ILLEGAL!r}).ljust(8)
call = ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(memory)) + position - start)
if how == "in-a-child" and os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]) + 256)
if how == "in-a-thread":
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
call()
"""


def die(path: Path | str, position: int, python: str, how: str = "") -> tuple[int, dict[str, object]]:
    """(status, what was said) of a process that comes to an instruction at this position of a file."""
    command = [python, "-c", PROGRAM, str(path), str(position), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(illegal.MARK)]
    found: dict[str, object] = json.loads(line.removeprefix(illegal.MARK))
    return done.returncode, found


@pytest.fixture
def library(tmp_path: Path) -> tuple[Path, int, int]:
    """A copy of a real ELF file with an illegal instruction; its position in the file, and its address."""
    path = tmp_path / "a library.so"
    shutil.copyfile(Path(sys.executable).resolve(), path)
    with path.open("r+b") as file:
        elf = ELFFile(file)
        address: int = elf["e_entry"]
        (position,) = elf.address_offsets(address)
        file.seek(position)
        file.write(bytes.fromhex(ILLEGAL))
    return path, position, address


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
@pytest.mark.parametrize("how", ["at-once", "in-a-thread"])
def test_it_says_the_library_and_the_address_there(library: tuple[Path, int, int], python: str, how: str) -> None:
    path, position, address = library
    status, found = die(path, position, python, how)
    assert status == -signal.SIGILL
    assert (found["path"], found["offset"]) == (str(path), address)
    assert str(found["code"]).startswith(ILLEGAL)


def test_a_child_says_it_too(library: tuple[Path, int, int]) -> None:
    """As one of a forkserver's, which installed the handler before it forked."""
    path, position, address = library
    status, found = die(path, position, sys.executable, "in-a-child")
    assert (status, found["offset"]) == (256 - signal.SIGILL, address)


def test_of_code_that_was_made_in_memory_there_is_no_file(tmp_path: Path) -> None:
    status, found = die("", 64, sys.executable)
    assert status == -signal.SIGILL
    assert (found["path"], found["offset"], str(found["code"])[: len(ILLEGAL)]) == ("", None, ILLEGAL)


@pytest.mark.parametrize(
    "content", [pytest.param(bytes(8192), id="zeros"), pytest.param(b"\x7fELF\x02" + bytes(8187), id="only-the-magic")]
)
def test_in_a_file_without_headers_it_has_no_address(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "code.bin"
    path.write_bytes(content[:4096] + bytes.fromhex(ILLEGAL) + content[4096 + len(ILLEGAL) // 2 :])
    status, found = die(path, 4096, sys.executable)
    assert (status, found["path"], found["offset"]) == (-signal.SIGILL, str(path), None)


def test_a_signal_that_somebody_sent_ends_the_process_and_names_no_place() -> None:
    program = f"import os, signal, sys; sys.path.insert(0, {str(AGENT)!r}); from agent import illegal; "
    program += "illegal.install_handler(); os.kill(os.getpid(), signal.SIGILL); print('lives on')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGILL, "")
    assert illegal.MARK not in done.stderr


def test_a_board_without_ctypes_does_without() -> None:
    program = f"import sys; sys.modules['ctypes'] = None; sys.path.insert(0, {str(AGENT)!r}); "
    program += "from agent import illegal; illegal.install_handler(); print('ready')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "ready\n"
