"""A trace in mahimahi's format: on each line a moment, in milliseconds, at which 1500 bytes pass; then it begins anew.

https://github.com/ravinet/mahimahi, man page mm-link(1). No such trace comes with hilgate: theirs are under the GPL.
"""

from __future__ import annotations

# mahimahi's own have up to a megabyte.
MOST_BYTES = 16 << 20
MOST_LINES = 1_000_000
# A day.
MOST_MS = 86_400_000


def read_trace(content: bytes) -> tuple[int, ...]:
    """Read a trace.

    Raises:
        ValueError: it is none; the text says which line, and what is there.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES} bytes")
    lines = content.splitlines()
    if len(lines) > MOST_LINES:
        raise ValueError(f"{len(lines)} lines, and {MOST_LINES} are read")
    moments: list[int] = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text.isdigit() or len(text) > 9 or int(text) > MOST_MS:
            raise ValueError(f"line {number} is {text[:40].decode('utf-8', 'replace')!r}")
        if moments and int(text) < moments[-1]:
            raise ValueError(f"line {number} is {int(text)}, before {moments[-1]} in the line above")
        moments.append(int(text))
    if not moments or not moments[-1]:
        raise ValueError("nothing after the millisecond 0" if moments else "no line")
    return tuple(moments)
