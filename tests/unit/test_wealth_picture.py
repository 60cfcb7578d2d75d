"""The picture of docs/measuring.md shows what the rule does today."""

from __future__ import annotations

from benchmarks.support.wealth_picture import PICTURE, picture


def test_the_committed_picture_is_what_the_rule_draws() -> None:
    hint = "python -m benchmarks.support.wealth_picture writes it anew"
    assert PICTURE.read_text(encoding="utf-8") == picture(), hint


def test_it_shows_each_verdict_once() -> None:
    text = picture()
    assert [text.count(f">{verdict} after ") for verdict in ("PASS", "FAIL", "INCONCLUSIVE")] == [1, 1, 1]
