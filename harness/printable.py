"""Text of others as it may be shown: a board's, a model's, a file's name, a subprocess's (issue 17, point 4).

Whoever writes to a terminal writes commands to it: escape sequences clear the screen, a carriage return overwrites a
line, a bidi override turns one round ("Trojan Source", CVE-2021-42574), and a newline begins a line that looks like
ours. Shown here are letters, signs and spaces as they are; each other character as Python writes it, "\\x1b".

What was shown once is not changed when it is shown again: backslashes stay as they are, cut is to a length that counts
the remark, and lines that are indented are not indented further. So it can stand at each border, and at the last one
once more.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate

# Of a line, and of a text of several lines: a traceback, what a compiler said.
LINE = 2_000
TEXT = 20_000
# So many characters a remark takes at most that says how much was left out; no limit is below twice of it.
REMARK = 40
# More marks than these on one letter are in no language's writing; they grow over the lines above and below.
MARKS = 8

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt) where its category does not say so already.
IGNORABLE = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x3164, *range(0xFE00, 0xFE10), 0xFFA0))
) | frozenset(map(chr, range(0xE0100, 0xE01F0)))
# Behind a symbol they choose its coloured form, or the plain one: that is how many emoji are written.
EMOJI_FORM = "\ufe0e\ufe0f"
# Unassigned, private, lone halves of a pair, controls, formats; what ends a line or a paragraph. Unicode's categories.
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

PLAIN = re.compile(r"[\n\x20-\x7e]*\Z")
# What GitHub ("::error::" at a line's beginning, "##[error]"), Azure and TeamCity take for commands in a log.
COMMAND = re.compile(r"^([^\S\n]*):(?=:[A-Za-z])|#(?=#(?:\[|vso\[|teamcity\[))", re.MULTILINE)


def printable(text: str, limit: int = LINE) -> str:
    """Show a text as one line, of at most so many characters: a newline in it is "\\n", and what is left out is
    counted."""
    limit = max(limit, 2 * REMARK)
    beginning = _inert(text[: limit + 1])
    pieces = [r"\n" if piece == "\n" else piece for piece in _pieces(beginning)]
    if len(text) <= limit and sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    kept = _fitting(pieces, limit - REMARK)
    return f"{''.join(pieces[:kept])}… ({_count(len(text) - kept)})"


def printable_lines(text: str, limit: int = TEXT, *, indent: str = "") -> str:
    """Show a text as lines, together of at most so many characters; of a longer one the beginning and the end.

    Args:
        indent: what stands before each line but the first, so that none begins where ours do.
    """
    limit = max(limit, 2 * REMARK)
    if len(text) <= 2 * limit:
        first = last = _indented(_lines(text), indent)
        if sum(map(len, first)) <= limit:
            return "".join(first)
        whole = len(first)
    else:
        first, last = (_indented(_lines(part), indent) for part in (text[:limit], text[-limit:]))
        whole = len(first) + len(text) - 2 * limit + len(last)
    room = (limit - REMARK) // 2
    begin = first[: _fitting(first, room)]
    end = last[len(last) - _fitting(last[::-1], room) :]
    while begin and not begin[-1].strip("\n "):  # the remark begins no line
        begin.pop()
    while end and end[0] in EMOJI_FORM:  # nor parts a symbol from its form
        end.pop(0)
    return f"{''.join(begin)}… ({_count(whole - len(begin) - len(end))}) …{''.join(end)}"


def printable_json(text: str) -> str:
    """Escape in a JSON document what is not to be shown as it is; a reader finds the same values in it.

    ``json.dumps(…, ensure_ascii=False)`` escapes what is below a space only: a terminal that is given the file, or a
    person who reads it, would meet the rest.
    """
    return re.sub(r"[^\x00-\x7e]", lambda found: _json(found[0]), text)


def _count(characters: int) -> str:
    return f"{characters:,} more characters".replace(",", " ")


def _fitting(pieces: list[str], room: int) -> int:
    """How many of the first pieces have room, each of them whole."""
    for count, end in enumerate(accumulate(map(len, pieces))):
        if end > room:
            return count
    return len(pieces)


def _lines(text: str) -> str:
    """Lines, and no more than one that is empty between two: hundreds would push what was said before off the
    screen."""
    return _inert(re.sub(r"\n(?:[^\S\n]*\n){2,}", "\n\n", text.replace("\r\n", "\n")))


def _indented(text: str, indent: str) -> list[str]:
    pieces = _pieces(text)
    if all(line.startswith(indent) for line in text.split("\n")[1:] if line):
        return pieces
    following = [*text[1:], "\n"]
    return [piece + indent if piece == "\n" != after else piece for piece, after in zip(pieces, following, strict=True)]


def _inert(text: str) -> str:
    """A log's readers are programs, too (GitHub's workflow commands): the second of two signs is written as a
    number."""
    return COMMAND.sub(lambda found: f"{found[1]}\\x3a" if found[1] is not None else r"\x23", text)


def _pieces(text: str) -> list[str]:
    """Each character as it may be shown, but newlines as they are."""
    if PLAIN.match(text):
        return list(text)
    shown: list[str] = []
    before, marks = "\n", 0
    for one in text:
        marks = marks + 1 if unicodedata.category(one)[0] == "M" else 0
        if one == "\t":
            shown.append("    ")
        elif one == "\n" or (one in EMOJI_FORM and unicodedata.category(before) == "So"):
            shown.append(one)
        elif is_hidden(one) or marks > MARKS or (marks and before == "\n"):
            shown.append(one.encode("unicode_escape").decode("ascii"))
        else:
            shown.append(one)
        before = one
    return shown


def is_hidden(character: str) -> bool:
    """Whether a character cannot be seen, or does something else than to be seen. A space can."""
    return unicodedata.category(character) in HIDDEN or character in IGNORABLE


def _json(one: str) -> str:
    if not is_hidden(one):
        return one
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
