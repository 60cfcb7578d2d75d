"""Draw docs/wealth.svg: the wealth of both gamblers over time, for a PASS, a FAIL and an undecided limit on p99.

    python -m benchmarks.support.wealth_picture

The wealth is the rule's own (harness.checks.sequential), on inferences that are slow at random; the picture is for a
phone's width, in light and in dark.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.agent.frames import Array
from harness.checks.sequential import BROKEN_BLOCKS, breaking_wealth, keeping_wealth

PICTURE = Path(__file__).parents[2] / "docs" / "wealth.svg"
ALLOWED, TARGET = 0.01, 100.0
BLOCKS, PER_BLOCK, BLOCK_S = 1000, 10, 0.1
WIDTH, LEFT, RIGHT, TOP, PANEL, GAP = 360, 40, 10, 8, 84, 54
LEAST, MOST = 0.01, 1000.0  # of the wealth that is drawn
TITLES = (
    ("PASS: 0.1 % of all inferences are slow", 0.001, 1),
    ("FAIL: 2 % are slow", 0.02, 1),
    ("Open: 0.8 % are slow", 0.008, 4),
)
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 10.5px; fill: #59636e }
.frame { stroke: #d1d9e0; fill: none }
.target { stroke: #59636e; stroke-dasharray: 2 3 }
.keeping { stroke: #0969da; fill: none; stroke-width: 2 }
.breaking { stroke: #bc4c00; fill: none; stroke-width: 2; stroke-dasharray: 6 3 }
.end { fill: #1f2328 }
@media (prefers-color-scheme: dark) {
text, .end { fill: #f0f6fc }
.small { fill: #9198a1 }
.frame { stroke: #3d444d }
.target { stroke: #9198a1 }
.keeping { stroke: #4493f8 }
.breaking { stroke: #f0883e }
}
"""


@dataclass(frozen=True)
class Panel:
    """One run: what is said of it, and both gamblers' wealth after each block until the verdict, float64[n]."""

    title: str
    keeping: Array
    breaking: Array

    @property
    def end(self) -> tuple[str, int]:
        """The verdict in words, and after how many blocks."""
        count = len(self.keeping)
        after = f"after {count} blocks, {count * BLOCK_S:.0f} s"
        if self.keeping[-1] >= TARGET:
            return f"PASS {after}", count
        return (f"FAIL {after}" if self.breaking[-1] >= TARGET else f"INCONCLUSIVE {after}"), count


def run_of(title: str, share: float, seed: int) -> Panel:
    """Draw blocks of ten inferences each, and stop at the verdict."""
    random = np.random.default_rng(seed)
    shares = (random.random((BLOCKS, PER_BLOCK)) < share).mean(axis=1)
    keeping, breaking = np.exp(keeping_wealth(shares, ALLOWED)), np.exp(breaking_wealth(shares, ALLOWED))
    is_broken = (breaking >= TARGET) & (np.arange(BLOCKS) >= BROKEN_BLOCKS - 1)
    decided = np.flatnonzero((keeping >= TARGET) | is_broken)
    end = int(decided[0]) + 1 if len(decided) else BLOCKS
    return Panel(title, keeping[:end], breaking[:end])


def picture() -> str:
    """Return the picture as SVG."""
    panels = [run_of(*each) for each in TITLES]
    height = TOP + len(panels) * (PANEL + GAP) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>Wealth of who bets that a limit on p99 is kept, and of who bets that it is broken</title>",
        f"<style>{STYLE}</style>",
    ]
    for index, panel in enumerate(panels):
        parts += _drawn(panel, TOP + index * (PANEL + GAP))
    y = height - 12
    parts += [
        f'<path class="keeping" d="M{LEFT} {y - 4}h24"/><text x="{LEFT + 30}" y="{y}">bets on “kept”</text>',
        f'<path class="breaking" d="M{LEFT + 150} {y - 4}h24"/><text x="{LEFT + 180}" y="{y}">bets on “broken”</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _drawn(panel: Panel, top: int) -> list[str]:
    top += 18  # below the title
    verdict, count = panel.end
    parts = [f'<text x="{LEFT}" y="{top - 6}">{panel.title}</text>']
    parts += [f'<rect class="frame" x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{PANEL}"/>']
    for wealth in (0.01, 1, TARGET):
        parts += [
            f'<text class="small" x="{LEFT - 5}" y="{_y(wealth, top) + 4:.1f}" text-anchor="end">{wealth:g}</text>'
        ]
    parts += [f'<path class="target" d="M{LEFT} {_y(TARGET, top):.1f}H{WIDTH - RIGHT}"/>']
    parts += [_line("keeping", panel.keeping, top), _line("breaking", panel.breaking, top)]
    last = max(panel.keeping[-1], panel.breaking[-1])
    if last >= TARGET:
        parts += [f'<circle class="end" cx="{_x(count):.1f}" cy="{_y(last, top):.1f}" r="4"/>']
    parts += [f'<text class="small" x="{LEFT}" y="{top + PANEL + 14}">{verdict}</text>']
    return parts


def _line(kind: str, wealth: Array, top: int) -> str:
    points = [(0, 1.0), *((at + 1, float(each)) for at, each in enumerate(wealth))]
    kept = [each for each in points if each[0] % 5 == 0 or each[0] == len(wealth)]
    places = " ".join(f"{_x(at):.1f},{_y(each, top):.1f}" for at, each in kept)
    return f'<polyline class="{kind}" points="{places}"/>'


def _x(block: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * block / BLOCKS


def _y(wealth: float, top: int) -> float:
    share = math.log(min(max(wealth, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return top + PANEL * (1 - share)


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
