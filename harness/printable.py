r"""Text of others made safe to show: a board's, a model's, a file's name, a subprocess's (issue 17, point 4).

Text on a terminal can be commands to it: escape sequences clear the screen, a carriage return overwrites a line, a bidi
override reverses one ("Trojan Source", CVE-2021-42574), and a newline begins a line that looks like one of ours. The
functions here keep letters, signs and spaces; they write each other character as Python does, "\x1b".

They are idempotent: backslashes stay as they are, the limits count the remark about what was left out, and indented
lines are not indented further. So they may be applied at each border, and once more at the last.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate

# The most characters of a line, and of a text of several lines such as a traceback or a compiler's output.
LINE = 2_000
TEXT = 20_000
# The longest remark about how much was left out, in characters; no limit is below twice this.
REMARK = 40
# No language's writing has more combining marks on one letter; more would grow over the lines above and below.
MARKS = 8

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt) where its category does not say so already.
IGNORABLE = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x3164, *range(0xFE00, 0xFE10), 0xFFA0))
) | frozenset(map(chr, range(0xE0100, 0xE01F0)))
# Variation selectors: after a symbol they choose its plain or its coloured form; many emoji are written so.
EMOJI_FORM = "\ufe0e\ufe0f"
# Unicode's categories of controls, formats, lone surrogates, private and unassigned characters, and separators of lines
# and paragraphs.
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

PLAIN = re.compile(r"[\n\x20-\x7e]*\Z")
# What GitHub ("::error::" at a line's beginning, "##[error]"), Azure and TeamCity take for commands in a log.
COMMAND = re.compile(r"^([^\S\n]*):(?=:[A-Za-z])|#(?=#(?:\[|vso\[|teamcity\[))", re.MULTILINE)


def printable(text: str, limit: int = LINE) -> str:
    r"""Make a text safe to show on one line of at most limit characters.

    A newline is written "\n". A text that is too long ends with a remark that counts the characters left out.
    """
    limit = max(limit, 2 * REMARK)
    beginning = _inert(text[: limit + 1])
    pieces = [r"\n" if piece == "\n" else piece for piece in _pieces(beginning)]
    if len(text) <= limit and sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    kept = _fitting(pieces, limit - REMARK)
    return f"{''.join(pieces[:kept])}… ({_count(len(text) - kept)})"


def printable_lines(text: str, limit: int = TEXT, *, indent: str = "") -> str:
    """Make a text safe to show on several lines; keep the beginning and the end of one that is too long.

    Args:
        text: whatever it may be.
        limit: the most characters of the result.
        indent: what precedes each line but the first, so that none looks like one of ours.
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
    while begin and not begin[-1].strip("\n "):  # the remark must not begin a line
        begin.pop()
    while end and end[0] in EMOJI_FORM:  # nor separate a symbol from its variation selector
        end.pop(0)
    return f"{''.join(begin)}… ({_count(whole - len(begin) - len(end))}) …{''.join(end)}"


def printable_json(text: str) -> str:
    """Escape the hidden characters of a JSON document; its values stay the same.

    ``json.dumps(…, ensure_ascii=False)`` escapes only what is below a space: a terminal that the file is printed on, or
    a person who reads it, would get the rest.
    """
    return re.sub(r"[^\x00-\x7e]", lambda found: _json(found[0]), text)


def _count(characters: int) -> str:
    return f"{characters:,} more characters".replace(",", " ")


def _fitting(pieces: list[str], room: int) -> int:
    """Return how many of the first pieces fit into the room."""
    for count, end in enumerate(accumulate(map(len, pieces))):
        if end > room:
            return count
    return len(pieces)


def _lines(text: str) -> str:
    """Reduce successive empty lines to one: hundreds would push earlier output off the screen."""
    return _inert(re.sub(r"\n(?:[^\S\n]*\n){2,}", "\n\n", text.replace("\r\n", "\n")))


def _indented(text: str, indent: str) -> list[str]:
    pieces = _pieces(text)
    if all(line.startswith(indent) for line in text.split("\n")[1:] if line):
        return pieces
    following = [*text[1:], "\n"]
    return [piece + indent if piece == "\n" != after else piece for piece, after in zip(pieces, following, strict=True)]


def _inert(text: str) -> str:
    """Disarm what programs that read a log take for commands (GitHub's, for one): escape the second of two signs."""
    return COMMAND.sub(lambda found: f"{found[1]}\\x3a" if found[1] is not None else r"\x23", text)


def _pieces(text: str) -> list[str]:
    """Return each character, escaped where needed; newlines stay as they are."""
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
    """Whether a character cannot be seen, or has an effect other than being seen. A space does not count."""
    return unicodedata.category(character) in HIDDEN or character in IGNORABLE


def _json(one: str) -> str:
    if not is_hidden(one):
        return one
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
