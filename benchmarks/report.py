"""The results as a table for people and as JSON for later comparison."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure

_HEADINGS = ("figure", "unit", "floor", "here", "ratio", "(spread)", "goal", "")
_MARKS = {True: "met", False: "MISSED", None: ""}


def table(figures: Sequence[Figure]) -> str:
    """Columns with what is measured, its floor and the ratio; a line for each figure."""
    rows = [_HEADINGS, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
             for row in rows]  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)


def _row(figure: Figure) -> tuple[str, ...]:
    ratios = figure.ratios
    return (
        figure.name,
        figure.unit,
        f"{statistics.median(figure.floor):.3g}",
        f"{statistics.median(figure.subject):.3g}",
        f"{statistics.median(ratios):.2f}x",
        f"({min(ratios):.2f}..{max(ratios):.2f})",
        str(figure.goal),
        _MARKS[figure.is_met],
    )


def floors(figures: Sequence[Figure]) -> str:
    """What each floor is, once, and the notes."""
    lines: dict[str, None] = {}
    for figure in figures:
        lines[f"{figure.benchmark}: the floor is {figure.floor_name}"] = None
        if figure.note:
            lines[f"{figure.benchmark}: {figure.note}"] = None
    return "\n".join(lines)


def document(
    figures: Sequence[Figure],
    *,
    machine: Mapping[str, Any],
    skipped: Mapping[str, str],
    sizes: str,
    taken_at: str,
) -> dict[str, Any]:
    """Everything about one run."""
    return {
        "taken_at": taken_at,
        "sizes": sizes,
        "machine": dict(machine),
        "figures": [figure.document() for figure in figures],
        "skipped": dict(skipped),
    }


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write the JSON file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
