"""Draw the points of plots with Plotly, as one page: run in an environment that has it.

    python plotly_page.py PLOTS.json PAGE.html

PLOTS.json: of each plot its "title" and its "lines", each a list of [x, y].
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio


def main(plots: Path, page: Path) -> None:
    """Write the page, Plotly's own script inside, as it must be for a page without a network."""
    parts: list[str] = []
    for plot in json.loads(plots.read_text(encoding="utf-8")):
        figure = go.Figure(layout={"title": plot["title"], "width": 340, "height": 260})
        for line in plot["lines"]:
            # As float32, Plotly's page has them in base64, in a third of the bytes of text.
            points = np.array(line, np.float32)
            mode = "lines" if len(line) > 1 else "markers"
            figure.add_trace(go.Scatter(x=points[:, 0], y=points[:, 1], mode=mode))
        parts.append(pio.to_html(figure, full_html=False, include_plotlyjs=not parts))
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>plots</title></head><body>'
    page.write_text(f"{head}{''.join(parts)}</body></html>", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
