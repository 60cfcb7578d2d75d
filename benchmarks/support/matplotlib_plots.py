"""Draw plots' lines, points and texts with matplotlib, an SVG each: run in an environment that has it.

    python matplotlib_plots.py PLOTS.json

PLOTS.json: of each plot its "lines", each its "points" [x, y] and its "color", and its "texts", each [x, y, text].
Prints the CPU seconds from importing matplotlib to the last SVG, and the bytes of all.
"""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path

import numpy as np


def main(path: Path) -> None:
    """Draw all."""
    plots = json.loads(path.read_text(encoding="utf-8"))
    start, size = time.process_time(), 0
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text, as ours does
    from matplotlib.figure import Figure

    for plot in plots:
        figure = Figure(figsize=(3, 2.2), dpi=100)
        axes = figure.subplots()
        axes.invert_yaxis()
        for line in plot["lines"]:
            points = np.array(line["points"])
            style = {"marker": "o"} if len(points) == 1 else {}
            axes.plot(points[:, 0], points[:, 1], color=line["color"], linewidth=1, **style)
        for x, y, text in plot["texts"]:
            axes.text(x, y, text, fontsize=8, parse_math=False)
        made = io.BytesIO()
        figure.savefig(made, format="svg")
        size += len(made.getvalue())
    print(json.dumps([time.process_time() - start, size]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
