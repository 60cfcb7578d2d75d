"""report.html: the report as one file that opens by double click, without a script and without a request.

rendering.py   the templates' environment, the style, the policy; the whole page
table.py       the table of a section: a row for each backend, a column for each metric
cells.py       what stands below the table: each cell's checks, what it ran on, what was tested
sources.py     how it was measured: each evidence file
text.py        texts of others made harmless, names that may be broken into lines
templates/     the layout, in Jinja, and page.css

To change what the page says, change the view (table.py, cells.py, sources.py); to change how it looks, the templates
and page.css. A template has no logic but loops and conditions, and never the filter ``safe``.
"""

from .rendering import render_page

__all__ = ["render_page"]
