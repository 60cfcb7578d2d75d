"""The colours of plots and page, each for a light ground and for a dark one: the one place where they are chosen.

The page makes its CSS variables of them; a plot names a variable, with the light colour to fall back on where a
``<style>`` is forbidden: there the ground is white. Series have the hues of Okabe and Ito ("Color Universal Design",
2008), which people with any kind of colour vision tell apart, darkened or lightened until all of them have the contrast
that WCAG 2.2 asks for text (4.5) on their ground. No two grounds share a set: Okabe and Ito's yellow has 1.3 on white.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Color:
    """A colour on a light ground, and on a dark one, as "#rrggbb"."""

    light: str
    dark: str


# By the name of the CSS variable, without its dashes.
COLORS = {
    "ground": Color(light="#ffffff", dark="#121212"),
    "ink": Color(light="#1a1a1a", dark="#e8e8e8"),
    "ink-2": Color(light="#595959", dark="#b3b3b3"),
    "grid": Color(light="#8f8f8f", dark="#6e6e6e"),  # a line that is thin, or dotted: 3 is what a line needs
    "limit": Color(light="#c1121f", dark="#ff8f87"),
    "c1": Color(light="#0072b2", dark="#56b4e9"),  # blue, sky blue
    "c2": Color(light="#b35900", dark="#e69f00"),  # vermilion, orange
    "c3": Color(light="#00735c", dark="#2ec49b"),  # bluish green
    "c4": Color(light="#a3005c", dark="#e08fc0"),  # reddish purple
    "c5": Color(light="#756700", dark="#f0e442"),  # yellow
    "c6": Color(light="#4b4b9f", dark="#9db0f5"),  # between blue and purple: the two have but one hue of blue
}
SERIES = ("c1", "c2", "c3", "c4", "c5", "c6")


def paint(name: str) -> str:
    """Return a colour as a presentation attribute's value: the variable, and what to fall back on.

    Args:
        name: one of COLORS.
    """
    return f"var(--{name}, {COLORS[name].light})"
