"""The words of exporters that refuse a model, shortened: the reason first, general advice apart from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ANSI_COLORS = re.compile(r"\x1b\[[0-9;]*m")
LONGEST = 1000
# How many of an exporter's warnings are added to the reason.
MOST_WARNED = 3
# torch.onnx.export(dynamo=True) prints its advice, then between these words the exceptions, the cause first.
SUMMARY, END = "## Exception summary", "(Refer to the full stack trace above"
RAISED = re.compile(r"<class '(?:[\w.]*\.)?(\w+)'>: ")
# The beginnings of lines that torch.export adds to each of its errors.
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
    """Raised where hilgate itself finds an exported file wrong; its text is the reason.

    Args:
        reason: a sentence.
        warned: the exporter's warnings, which mostly name the places in forward where sizes became constants.
    """

    def __init__(self, reason: str, warned: Sequence[str] = ()) -> None:
        places = [text.partition(". ")[0] for text in warned[:MOST_WARNED]]
        super().__init__("\n".join([reason, *places]))


def first_lines(error: object, limit: int = LONGEST) -> str:
    """Return the text of an error or a warning without colours, cut at ``limit`` characters."""
    is_named = isinstance(error, Exception) and not isinstance(error, Refused)
    text = f"{type(error).__name__}: {error}" if is_named else str(error)
    text = ANSI_COLORS.sub("", text)
    return text if len(text) <= limit else text[:limit] + " …"


def reason_first(error: Exception) -> str:
    """Return why an exporter refuses, without the advice that it always prints."""
    text = ANSI_COLORS.sub("", str(error))
    _, summary, raised = text.partition(SUMMARY)
    if not summary:
        return first_lines(error)
    raised = RAISED.sub(r"\1: ", raised.partition(END)[0].replace("⬆️", ""))
    lines = [line.rstrip() for line in raised.splitlines() if line.strip() and not line.strip().startswith(ADDED)]
    reason = "\n".join(lines).strip()
    return reason if len(reason) <= LONGEST else reason[:LONGEST] + " …"


def advice(error: Exception) -> str:
    """Return the advice that an exporter always prints (which step failed, what to do); "" where there is none."""
    text = ANSI_COLORS.sub("", str(error))
    before, summary, _ = text.partition(SUMMARY)
    return " ".join(before.split()) if summary else ""


def describe_warnings(caught: Sequence[Any], torch_folder: Path) -> list[str]:
    """Describe the tracer's warnings, each once; those about torch's own code in one line.

    Those are mostly checks of shapes: a model with attention has dozens.

    Args:
        caught: objects of type warnings.WarningMessage; those of other libraries are left out.
        torch_folder: where torch is installed.
    """
    tracers = [item for item in caught if item.category.__name__ == "TracerWarning"]
    own = [item for item in tracers if Path(item.filename).is_relative_to(torch_folder)]
    lines = [_described(item) for item in tracers if item not in own]
    if own:
        places = dict.fromkeys(f"{Path(item.filename).name}:{item.lineno}" for item in own)
        listed = ", ".join([*places][:5]) + (" …" if len(places) > 5 else "")
        count = "a TracerWarning" if len(own) == 1 else f"{len(own)} TracerWarnings"
        lines.append(f"{count} in torch's own code, which mostly checks shapes there ({listed})")
    return list(dict.fromkeys(lines))


def _described(item: Any) -> str:
    return f"{Path(item.filename).name}, line {item.lineno}: {first_lines(item.message)}"
