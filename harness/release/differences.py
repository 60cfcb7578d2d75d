"""What of a check's entry in the evidence is another than what was made again: each key, with both figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..checks.check import Check
from ..evidence.parts import describe_check
from ..evidence.schema import CheckEntry

# Keys that are not made again: texts, which tell times and paths of the run; hashes of the raw samples, which are
# looked at before; and what a device or the run said beside the figures.
NOT_COMPARED = frozenset(
    {"metric", "verdict", "reason", "doubt", "limit_source", "raw_sha256", "raw_inputs", "raw_inputs_sha256"}
    | {"raw_failures", "raw_failures_sha256", "raw_first_parts", "raw_first_parts_sha256"}
    | {"raw_sides", "raw_sides_sha256"}
    | {"open", "compared", "sizes", "readings", "kib"}
)
LONGEST = 200


def list_differences(entry: CheckEntry, made: Check) -> list[str]:
    """List the keys of a check's entry whose figures do not follow from what it rests on, in words that tell both."""
    stored, follows = entry.as_json(), describe_check(made).as_json()
    return list(_compare(stored, json.loads(json.dumps(follows)), ""))


def _compare(stored: Mapping[str, Any], follows: Mapping[str, Any], place: str) -> Iterator[str]:
    for key, value in follows.items():
        if key in NOT_COMPARED:
            continue
        found = stored.get(key)
        if isinstance(value, dict) and isinstance(found, dict):
            yield from _compare(found, value, f"{place}{key}.")
        elif isinstance(value, list) and isinstance(found, list) and _are_objects(value, found):
            for index, (one, other) in enumerate(zip(found, value, strict=True)):
                yield from _compare(one, other, f"{place}{key}[{index}].")
        elif not _are_equal(found, value):
            yield f"{place}{key}: the evidence says {_shown(found)}, and {_shown(value)} follows"


def _are_objects(value: list[Any], found: list[Any]) -> bool:
    return len(value) == len(found) and all(isinstance(each, dict) for each in [*value, *found])


def _are_equal(found: Any, value: Any) -> bool:
    """Compare to the last digit: floats come through JSON as they were. A truth value is no number."""
    if isinstance(found, bool) is not isinstance(value, bool):
        return False
    return bool(found == value)


def _shown(value: Any) -> str:
    """Show a value as it stands in the file, with all its digits: where two differ, the last one may tell."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
