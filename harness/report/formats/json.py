"""The whole report as data: decisions, cells, figures, notes. The cells are as the evidence has them."""

from __future__ import annotations

import json
from typing import Any

from ...printable import printable_json
from ..figures import bound_text, limit_text, value_text
from ..reasons import reasons_of
from ..report import Report, ReportCell, Section


def render(report: Report) -> str:
    """Render the report as JSON; hidden characters are escaped, and what a log's reader takes for a command."""
    content = {
        "sections": [_section(section) for section in report.sections],
        "sources": [_source_of(report, number) for number in range(len(report.sources))],
        "remarks": list(report.remarks),
    }
    text = printable_json(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))
    return text.replace("#[", r"\u0023[") + "\n"


def _source_of(report: Report, number: int) -> dict[str, Any]:
    source = report.sources[number]
    run = source.run
    return {
        "path": source.name,
        "tool": run.tool,
        "started": run.started,
        "finished": run.finished,
        "commit": run.commit,
        "verdict": run.verdict,
        "lacks": list(source.lacks),
        "files": [file.as_json() for file in run.files],
    }


def _section(section: Section) -> dict[str, Any]:
    first = section.cells[0].entry
    return {
        "title": section.title,
        "model": first.model,
        "device": first.device,
        "emulated": first.emulated,
        "decision": section.decision.as_json(),
        "metrics": list(section.metrics),
        "cells": [_cell(cell) for cell in section.cells],
        "reasons": [
            {"what": each.what, "verdict": each.verdict, "backends": list(each.backends), "text": each.text}
            for each in reasons_of(section.cells)
        ],
        "notes": list(section.notes),
    }


def _cell(cell: ReportCell) -> dict[str, Any]:
    """Return a cell of the evidence, with where it is from, its figures as tables show them, and what contradicts."""
    shown = {
        check.metric: {"value": value_text(check), "bound": bound_text(check), "limit": limit_text(check)}
        for check in cell.entry.checks
    }
    return {
        "source": cell.source.name,
        "contradictions": cell.contradictions,
        "shown": shown,
        "evidence": cell.entry.as_json(),
    }
