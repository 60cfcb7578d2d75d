"""What a forkserver of an agent hands to its children: which stretches of a mapping are in memory."""

from __future__ import annotations

import mmap
from itertools import pairwise

import pytest

from harness.agent.forkserver_agent import mapped_files, stretches


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("...", [], id="none"),
        pytest.param("###", [(0, 3)], id="all"),
        pytest.param("#..", [(0, 1)], id="at-the-start"),
        pytest.param("..#", [(2, 3)], id="at-the-end"),
        pytest.param(".##.", [(1, 3)], id="in-between"),
        pytest.param("#.##..###", [(0, 1), (2, 4), (6, 9)], id="several"),
    ],
)
def test_a_stretch_goes_as_far_as_its_flags(flags: str, found: list[tuple[int, int]]) -> None:
    assert list(stretches([flag == "#" for flag in flags])) == found


def test_the_mapped_pages_of_this_process_are_whole_and_apart() -> None:
    found = list(mapped_files())
    assert found
    assert all(start % mmap.PAGESIZE == 0 < size and size % mmap.PAGESIZE == 0 for start, size in found)
    assert all(start + size <= following for (start, size), (following, _) in pairwise(found))
