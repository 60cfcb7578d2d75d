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

from ...host.plugins import load_module, module_names
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
    drawn = (kind.plot(data) for kind in kinds)
    return [plot for plot in drawn if plot is not None]
