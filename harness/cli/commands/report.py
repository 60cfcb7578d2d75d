"""hilgate report: what the evidence says, for people: which backend to deploy, and why."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Show what runs found, and which backend to deploy.")
@click.argument("evidence", nargs=-1, type=click.Path(path_type=Path), metavar="[EVIDENCE]...")
@click.option("--format", "style", default="terminal", show_default=True, metavar="NAME", help="terminal, html, …")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there (default: print it).")
@click.option("--prefer", multiple=True, metavar="METRIC", help="Prefer the best by this metric, then by the next.")
@click.option("--within", type=float, metavar="PERCENT", help="Figures as near to the best as this are as good (5).")
def command(
    evidence: tuple[Path, ...], style: str, output: Path | None, prefer: tuple[str, ...], within: float | None
) -> None:
    """Show what runs found, and which backend to deploy.

    EVIDENCE: evidence.json files, or their folders (default: build/hil beside pytest.ini, or here). Where several have
    a cell, the newer one counts.

    Exit status 0 says that a report was made, not that a verdict is PASS.
    """
    from ..reporting import show_report

    show_report(evidence, style=style, output=output, prefer=prefer, within_percent=within)
