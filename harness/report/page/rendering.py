"""The whole page: templates, the style inlined, and a policy that lets nothing else count.

The policy forbids scripts and every request, and names the style by its hash: a ``<style>`` or a ``style=`` that a
hostile text might bring in would not count. Hidden checkboxes and the rules of the style show and hide backends.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources

import jinja2
from markupsafe import Markup

from ..figures import DASH
from ..plots.colors import COLORS, SERIES
from ..plots.plot import Plot
from ..reasons import DOES_NOT_FOLLOW
from ..report import Report, Section
from .part import make_part
from .sources import make_run, short_commit
from .text import harmless, name_of, text_of, unlike

Draw = Callable[[Section], Sequence[Plot]]

# So many backends that are out, and changes, are shown at once; more open on demand, before the plots are out of sight.
MOST_AT_ONCE = 10
# What may be in the page: its own style, and nothing that is fetched, run, embedded or sent.
POLICY = "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"


def render_page(report: Report, draw: Draw | None = None) -> str:
    """Return the report as one HTML file. Equal reports give equal pages.

    Args:
        report: what it says.
        draw: makes a section's plots; without one, those of ``harness.report.plots``.
    """
    draw = draw or _draw_section()
    titles = unlike([name_of(section.title) for section in report.sections])
    parts = [
        make_part(section, title, f"s{place}", draw(section))
        for place, (section, title) in enumerate(zip(report.sections, titles, strict=True))
    ]
    style = _style(max((part.switches for part in parts), default=0))
    return (
        _environment()
        .get_template("page.html")
        .render(
            policy=Markup(POLICY.format(hash=_hash(style))),  # noqa: S704  # both are ours alone
            style=Markup(style),  # noqa: S704
            title=name_of(_title(report)),
            parts=parts,
            remarks=[text_of(remark) for remark in report.remarks],
            runs=[make_run(source) for source in report.sources],
            commits=list(dict.fromkeys(filter(None, (short_commit(source.run) for source in report.sources)))),
            series=len(SERIES),
            most=MOST_AT_ONCE,
            doubt=DOES_NOT_FOLLOW,
            dash=DASH,
        )
    )


def _title(report: Report) -> str:
    match report.sections:
        case ():
            return "Nothing was measured"
        case (section,):
            return section.title
        case sections:
            return f"{len(sections)} decisions"


def _draw_section() -> Draw:
    from ..plots import draw_section  # with numpy, which who draws by other means does not need

    return draw_section


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=harmless,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def _file(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _style(switches: int) -> str:
    """Return the style: the colours of both grounds, page.css, and a rule for each backend that can be hidden."""
    light, dark = (
        ";".join(f"--{name}:{getattr(color, ground)}" for name, color in COLORS.items()) for ground in ("light", "dark")
    )
    hiding = (f".plots:has(.show-{n}:not(:checked)) .cell-{n}" for n in range(switches))
    rules = ",".join(hiding)
    return "\n".join(
        (
            f":root{{{light}}}",
            f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}",
            _file("page.css"),
            f"{rules}{{display:none}}" if rules else "",
        )
    )


def _hash(style: str) -> str:
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
