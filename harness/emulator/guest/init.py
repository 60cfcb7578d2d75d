"""Process 1 of the emulated board: starts sshd, reaps processes, and does what the host asks for through a port.

The host speaks in lines of JSON, over the virtio port "hilgate"; each request is answered by a line:

    {"op": "resume", "clock_ns": …, "seed": "…"}      the board goes on from a saved state, at another time
    {"op": "sync"}                                    everything written goes to the disk
    {"op": "lose", "port": …, "percent": …}           of the packets of one port of the loopback so many are lost
    {"op": "deliver"}                                 none is any more; the answer has "sent" and "lost"

A board that is saved and restored many times would have the same time and the same random numbers each time.
Standard library only; Python 3.11, the image's own.
"""

import binascii
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

PORT = "hilgate"
CLASS = "/sys/class/virtio-ports"
# random(4): the generator takes what was written to it at once, and not within the next minute.
RNDRESEEDCRNG = 0x5207
SSHD = ["/usr/sbin/sshd", "-D", "-e"]
HUNG_UP_PAUSE_S = 0.1
# The loopback's packets have up to 64 KiB: for as long as some are lost they have those of an Ethernet.
LOOPBACK_MTU, LOOPBACK_SEGMENTS = 65536, 65535
ETHERNET_MTU = 1500
TOOL_S = 15.0


def find_port() -> int:
    """Open the virtio port of our name; there is no udev to make a file of that name."""
    while True:
        for entry in os.listdir(CLASS):
            with open(f"{CLASS}/{entry}/name", encoding="ascii") as file:
                if file.read().strip() == PORT:
                    return os.open(f"/dev/{entry}", os.O_RDWR)
        time.sleep(0.05)


def say(port: int, message: dict[str, Any]) -> None:
    """Send a line to the host."""
    os.write(port, json.dumps(message).encode() + b"\n")


def listens() -> bool:
    """Whether sshd takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", 22)) == 0


def resume(clock_ns: int, seed: str) -> None:
    """Set the clock, and reseed the random number generator."""
    time.clock_settime_ns(time.CLOCK_REALTIME, clock_ns)
    with open("/dev/urandom", "wb", buffering=0) as random:
        random.write(binascii.unhexlify(seed))
        fcntl.ioctl(random, RNDRESEEDCRNG)


def run(command: str, lines: str = "") -> str:
    """Run a command of iproute2's, whose words have no spaces; return what it prints.

    Args:
        command: the command.
        lines: what it reads: more commands, of which each would take a second on a busy machine.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(command.split(), input=lines, capture_output=True, text=True, timeout=TOOL_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{command}: status {done.returncode}, {done.stderr.strip()[:500]}")
    return done.stdout


def lose(port: int, percent: float) -> None:
    """Lose a share of the packets to and from a port of the loopback; those of all others arrive.

    The loopback's, and not eth0's: there the calls are by themselves, and the SSH connection, over which the board is
    held and its tunnel leads on, loses nothing. It sends each packet once, whichever way: both ways are alike.
    """
    deliver()
    run(f"ip link set lo mtu {ETHERNET_MTU} gso_max_segs 1")
    # Two bands, of which all packets take the first; filters send those of the port to the second.
    chosen = "filter add dev lo parent 1: protocol ip u32 match ip"
    lines = [
        f"qdisc add dev lo root handle 1: prio bands 2 priomap{16 * ' 0'}",
        f"qdisc add dev lo parent 1:2 handle 2: netem limit 10000 loss {percent:g}%",
        *(f"{chosen} {end} {port} 0xffff flowid 1:2" for end in ("sport", "dport")),
    ]
    run("tc -batch -", "\n".join(lines) + "\n")


def deliver() -> dict[str, int]:
    """End the loss, if there is one; return how many packets were sent and how many lost."""
    with open("/sys/class/net/lo/mtu", encoding="ascii") as file:
        if int(file.read()) == LOOPBACK_MTU:
            return {"sent": 0, "lost": 0}
    found = json.loads(run("tc -s -j qdisc show dev lo"))
    counted = [(each["packets"], each["drops"]) for each in found if each["kind"] == "netem"]
    if any(each["kind"] == "prio" for each in found):
        run("tc qdisc del dev lo root")
    run(f"ip link set lo mtu {LOOPBACK_MTU} gso_max_segs {LOOPBACK_SEGMENTS}")
    return {"sent": sum(sum(each) for each in counted), "lost": sum(lost for _, lost in counted)}


OPERATIONS: dict[str, Callable[..., dict[str, int] | None]] = {
    "resume": resume,
    "sync": os.sync,
    "lose": lose,
    "deliver": deliver,
}


def answer(line: bytes) -> dict[str, Any]:
    """Do what a line asks for."""
    try:
        request = json.loads(line)
        operation = request.pop("op")
        answered = OPERATIONS[operation](**request)
    except Exception as error:  # noqa: BLE001  # the host's to judge
        return {"error": f"{type(error).__name__}: {error}"}
    return {"done": operation, **(answered or {})}


def bury(sshd: subprocess.Popen[bytes]) -> None:
    """Reap every process that has ended; end ourselves if sshd is one, because nobody can log in without it."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid == sshd.pid:
                sys.exit(f"hilgate: sshd ended with status {status}")  # the kernel panics, and the host sees it


def main() -> None:
    """Serve the host until the power goes off."""
    awake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    sshd = subprocess.Popen(SSHD, stdin=subprocess.DEVNULL, close_fds=True)
    port = find_port()
    while not listens():
        bury(sshd)
        time.sleep(0.02)
    say(port, {"ready": True})
    poll = select.poll()
    poll.register(port, select.POLLIN)
    poll.register(awake, select.POLLIN)
    pending = b""
    while True:
        for descriptor, event in poll.poll():
            if descriptor == awake:
                os.read(awake, 512)
                bury(sshd)
            elif event & select.POLLIN:
                pending += os.read(port, 4096)
                *lines, pending = pending.split(b"\n")
                for line in lines:
                    say(port, answer(line))
            else:  # nobody is at the other end
                time.sleep(HUNG_UP_PAUSE_S)


if __name__ == "__main__":
    main()
