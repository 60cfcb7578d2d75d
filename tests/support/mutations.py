"""Changes at random of a project that a gate lets through: one value, one file, one time, one committed file."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from .gate_project import GateProject

VERDICTS = ("PASS", "FAIL", "MEASURED", "INCONCLUSIVE", "NOT_APPLICABLE", "INELIGIBLE")
COMMITTED = (
    "net.py",
    "devices/rig.toml",
    "devices/robot.toml",
    "gate.toml",
    "keys/team.pub",
    "pytest.ini",
    ".gitignore",
)
_INDEX = re.compile(r"\[\d+\]")
_CHECK = re.compile(r"cells\[(\d+)\]\.checks\[(\d+)\](.*)")
_OTHER_CELL = re.compile(r"^cells\[\d+\]")


@dataclass(frozen=True)
class Mutation:
    """What was changed.

    Attributes:
        place: the key, as "cells[0].checks[2].value"; or the file's path; or "commit: PATH".
        shown: what it was, and what it is.
    """

    place: str
    shown: str

    def pattern(self, content: dict[str, Any]) -> str:
        """Name the place without the numbers of items, and a check by its metric.

        Args:
            content: the evidence before it was changed. Its first cell is the one that is released.
        """
        place = self.place
        if found := _CHECK.match(place):
            check = content["cells"][int(found[1])]["checks"][int(found[2])]
            place = f"cells[{found[1]}].{check['metric']}{found[3]}"
        place = place.replace("cells[0]", "cell", 1)
        return _INDEX.sub("[]", _OTHER_CELL.sub("other", place))


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield each value of JSON's that holds no others, with its place, its container, and its key in that."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        inner = f"{place}[{key}]" if isinstance(value, list) else f"{place}.{key}" if place else str(key)
        if isinstance(item, dict | list) and item:
            yield from leaves(item, inner)
        else:
            yield inner, value, key


def another(value: Any, draw: random.Random) -> Any:
    """Return another value: mostly of the same type, and near."""
    if draw.random() < 0.08:
        others: list[Any] = [None, True, 0, "", [], {}, 1e300, -1, "inf"]
        return draw.choice([each for each in others if each != value])
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + draw.choice([-1, 1, 7, value or 5, -value or 3])
    if isinstance(value, float):
        return value * draw.choice([0.5, 0.9, 1.0000001, 1.1, 2]) + 1e-9
    if isinstance(value, str):
        if value in VERDICTS:
            return draw.choice([each for each in VERDICTS if each != value])
        if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", value):
            place = draw.randrange(len(value))
            return value[:place] + ("0" if value[place] != "0" else "1") + value[place + 1 :]
        return draw.choice(
            [f"{value}x", value[:-1] if value else "y", value.upper() if value.upper() != value else "z"]
        )
    return draw.choice([each for each in (1, "text", ["text"], {"key": 1}) if each != value])


def mutate(project: GateProject, content: dict[str, Any], draw: random.Random) -> Mutation:
    """Change one thing of a project; ``content`` is its evidence as JSON has it, which is not changed itself."""
    kind = draw.random()
    if kind < 0.74:
        return _value(project, content, draw)
    if kind < 0.90:
        return _file(project, draw)
    if kind < 0.96:
        return _time(project, content, draw)
    return _committed(project, draw)


def _value(project: GateProject, content: dict[str, Any], draw: random.Random) -> Mutation:
    changed = copy.deepcopy(content)
    place, container, key = draw.choice(list(leaves(changed)))
    old = container[key]
    if draw.random() < 0.12:
        del container[key]
        shown = f"{old!r:.60}: taken out"
    elif isinstance(container, list) and draw.random() < 0.1:
        container.append(copy.deepcopy(old))
        shown = f"{old!r:.60}: once more"
    else:
        container[key] = another(old, draw)
        shown = f"{old!r:.60} -> {container[key]!r:.60}"
    project.write(changed)
    return Mutation(place, shown)


def _file(project: GateProject, draw: random.Random) -> Mutation:
    files = [path for path in sorted(project.evidence.rglob("*")) if path.is_file() and path.parent != project.evidence]
    path = draw.choice(files)
    content = path.read_bytes()
    place, cut = draw.randrange(len(content)), draw.randrange(1, 200)
    other = draw.choice([each for each in files if each.read_bytes() != content])
    how, new = draw.choice(
        [
            ("a byte", content[:place] + bytes([content[place] ^ draw.randrange(1, 256)]) + content[place + 1 :]),
            ("cut", content[:-cut]),
            ("longer", content + content[-cut:]),
            (f"that of {other.name}", other.read_bytes()),
            ("empty", b""),
            ("gone", None),
        ]
    )
    if new is None:
        path.unlink()
    else:
        path.write_bytes(new)
    return Mutation(str(path.relative_to(project.evidence)), how)


def _time(project: GateProject, content: dict[str, Any], draw: random.Random) -> Mutation:
    key, days = draw.choice(["started", "finished"]), draw.uniform(-30, 30)
    moment = datetime.fromisoformat(content[key]) + timedelta(days=days)
    project.write({**content, key: moment.isoformat(timespec="seconds").replace("+00:00", "Z")})
    return Mutation(f"time: {key}", f"{days:+.1f} days")


def _committed(project: GateProject, draw: random.Random) -> Mutation:
    name = draw.choice(COMMITTED)
    path = project.root / name
    content = path.read_bytes()
    words = re.findall(rb"\d+|# \w+|\w+ =", content) or [content[:1]]
    word = draw.choice(words)
    path.write_bytes(content.replace(word, word + draw.choice([b"0", b"1"]), 1) + draw.choice([b"", b"\n"]))
    is_committed = draw.random() < 0.5
    if is_committed:
        project.commit(also_evidence=False)
    return Mutation(f"{'commit' if is_committed else 'tree'}: {name}", f"{word!r:.40}")


class Restorer:
    """Puts a project back as it was."""

    def __init__(self, project: GateProject) -> None:
        self.project = project
        self.content = project.read()
        self.commit = project.git("rev-parse", "HEAD")
        self.files = {path: path.read_bytes() for path in project.evidence.rglob("*") if path.is_file()}

    def restore(self, mutation: Mutation) -> None:
        """Undo one mutation."""
        for path, content in self.files.items():
            if not path.is_file() or path.stat().st_size != len(content) or path.read_bytes() != content:
                path.write_bytes(content)
        if mutation.place.startswith(("commit: ", "tree: ")):
            self.project.git("reset", "--quiet", "--hard", self.commit)


def json_of(path: Path) -> Any:
    """Read a file of JSON."""
    return json.loads(path.read_text(encoding="utf-8"))
