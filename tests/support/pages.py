"""The project's pages, README.md and docs/, and the blocks of code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# A prompt and a command; a line that ends in a backslash goes on in the next.
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code: its page, its language, its number among that page's blocks of the language, its text."""

    page: str
    language: str
    number: int
    text: str

    @property
    def name(self) -> str:
        """Return what a test is called that runs it: "docs/inputs.md python 1"."""
        return f"{self.page} {self.language} {self.number}"

    @property
    def commands(self) -> list[str]:
        """Return the commands that are typed in it, without prompts and comments, continued lines joined."""
        typed = [re.sub(r"\s*\\\n\s*", " ", command) for command in COMMAND.findall(self.text)]
        return [re.sub(r"\s+#.*$", "", command) for command in typed]


def pages() -> list[Path]:
    """Return README.md, CONTRIBUTING.md, SECURITY.md and all pages of docs/."""
    return [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")), *sorted(DOCS.rglob("*.md"))]


def blocks(language: str, *names: str) -> list[Block]:
    """Return the blocks of a language, of all pages or of those named from the repository's root."""
    chosen = [ROOT / name for name in names] or pages()
    return [block for path in chosen for block in _blocks(path) if block.language == language]


def block(page: str, language: str, number: int = 1) -> str:
    """Return the text of one block."""
    return next(found.text for found in blocks(language, page) if found.number == number)


def _blocks(path: Path) -> Iterator[Block]:
    counts: dict[str, int] = {}
    for language, text in re.findall(
        r"^```(\w*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        counts[language] = counts.get(language, 0) + 1
        yield Block(path.relative_to(ROOT).as_posix(), language, counts[language], text)
