"""What exporters say when they refuse: the reason first, and short; what they always say besides, after it and once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ANSI_COLORS = re.compile(r"\x1b\[[0-9;]*m")
LONGEST = 1000
# So many of an exporter's warnings stand behind the reason.
MOST_WARNED = 3
# torch.onnx.export(dynamo=True) puts its advice first, then what was raised, the cause in front, under these words.
SUMMARY, END = "## Exception summary", "(Refer to the full stack trace above"
RAISED = re.compile(r"<class '(?:[\w.]*\.)?(\w+)'>: ")
# What torch.export adds to each of its errors.
ADDED = (
    "The error above occurred when calling torch.export",
    "For more information",
    "For extended logs",
    "For more debugging help",
    "For C++ stack trace",
    "If you suspect the guard was triggered from C++",
    "Caused by: (_",
)


class Refused(Exception):
    """What hilgate itself finds wrong with an exported file; its text is the reason.

    Args:
        reason: a sentence.
        warned: what the exporter had warned of: the places in forward where sizes became constants, mostly.
    """

    def __init__(self, reason: str, warned: Sequence[str] = ()) -> None:
        places = [text.partition(". ")[0] for text in warned[:MOST_WARNED]]
        super().__init__("\n".join([reason, *places]))


def first_lines(error: object, limit: int = LONGEST) -> str:
    """Say an error or a warning, without colours; of a long one the beginning."""
    is_named = isinstance(error, Exception) and not isinstance(error, Refused)
    text = f"{type(error).__name__}: {error}" if is_named else str(error)
    text = ANSI_COLORS.sub("", text)
    return text if len(text) <= limit else text[:limit] + " …"


def reason_first(error: Exception) -> str:
    """Say why an exporter refuses, and leave out what it says to everybody."""
    text = ANSI_COLORS.sub("", str(error))
    _, summary, raised = text.partition(SUMMARY)
    if not summary:
        return first_lines(error)
    raised = RAISED.sub(r"\1: ", raised.partition(END)[0].replace("⬆️", ""))
    lines = [line.rstrip() for line in raised.splitlines() if line.strip() and not line.strip().startswith(ADDED)]
    reason = "\n".join(lines).strip()
    return reason if len(reason) <= LONGEST else reason[:LONGEST] + " …"


def advice(error: Exception) -> str:
    """Pick what an exporter says to everybody: which step it was, and what to do; "" where it says nothing such."""
    text = ANSI_COLORS.sub("", str(error))
    before, summary, _ = text.partition(SUMMARY)
    return " ".join(before.split()) if summary else ""


def told_warnings(caught: Sequence[Any], torch_folder: Path) -> list[str]:
    """Say what a tracer warned of, each once; of torch's own code in one line.

    There they are checks of shapes, for the most part: a model with attention has dozens.

    Args:
        caught: of type warnings.WarningMessage. What other libraries tell of themselves is not the model's.
    """
    tracers = [item for item in caught if item.category.__name__ == "TracerWarning"]
    own = [item for item in tracers if Path(item.filename).is_relative_to(torch_folder)]
    said = [_told(item) for item in tracers if item not in own]
    if own:
        places = dict.fromkeys(f"{Path(item.filename).name}:{item.lineno}" for item in own)
        listed = ", ".join([*places][:5]) + (" …" if len(places) > 5 else "")
        count = "a TracerWarning" if len(own) == 1 else f"{len(own)} TracerWarnings"
        said.append(f"{count} in torch's own code, which mostly checks shapes there ({listed})")
    return list(dict.fromkeys(said))


def _told(item: Any) -> str:
    return f"{Path(item.filename).name}, line {item.lineno}: {first_lines(item.message)}"
