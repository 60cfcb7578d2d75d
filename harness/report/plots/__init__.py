"""Plots of a section, from the evidence and its raw samples to SVG.

kinds/          one file a plot
plot.py         what a plot is to whoever shows it
data.py         what they are made of: a section, and what is read of it but once
durations.py    what was timed of a cell
drawing.py      marks on two axes, as Vega-Lite, and from there to SVG
cleaning.py     what a page needs of that, and nothing that it must not have
scale.py        axes, ticks, and labels that do not cover each other
series.py       how a backend is told from the others
colors.py       the colours, for plots and page
"""

from __future__ import annotations

from typing import Any

from ...host.plugins import load_module, module_names
from ...printable import printable
from ..report import Section
from .data import SectionData
from .plot import Plot

__all__ = ["Plot", "draw_section"]

KINDS = f"{__name__}.kinds"


def draw_section(section: Section) -> list[Plot]:
    """Draw all plots of a section for which the evidence has something.

    Args:
        section: the cells of one model on one device.
    """
    data = SectionData(section)
    kinds = sorted((load_module(KINDS, name, {}, "plot") for name in module_names(KINDS)), key=lambda kind: kind.PLACE)
    drawn = (plot_of(kind, data) for kind in kinds)
    return [plot for plot in drawn if plot is not None]


def plot_of(kind: Any, data: SectionData) -> Plot | None:
    """Return what a kind's file makes of a section; where it cannot draw, a plot that says so: the others stand.

    Args:
        kind: the module.
        data: the section.
    """
    try:
        plot: Plot | None = kind.plot(data)
    except (ValueError, ArithmeticError, SyntaxError) as error:  # Vega's, numbers', and what is no XML
        name = kind.__name__.rpartition(".")[2]
        problem = f"It could not be drawn: {printable(str(error), 300)}"
        title = name.replace("_", " ").capitalize()
        return Plot(name=name, title=title, description="", svg=None, columns=(), rows=(), problem=problem)
    return plot
