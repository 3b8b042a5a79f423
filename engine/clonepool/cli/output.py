"""What commands print: JSON for programs, tables and lines for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Final

_GAP: Final = "  "


def print_json(document: Any) -> None:
    """One JSON document, indented."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def print_json_line(document: Any) -> None:
    """One JSON document on one line, at once: for streams."""
    print(json.dumps(document, ensure_ascii=False), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Rows under their headings: rich on a terminal, aligned text elsewhere; ``empty`` for none."""
    if not rows:
        print(empty)
    elif sys.stdout.isatty():
        _rich_table(columns, rows)
    else:
        print(format_table(columns, rows))


def format_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned text; an empty cell is a dash, so that columns can be counted."""
    cells = [[column.upper().replace(" ", "_") for column in columns]]
    cells += [[cell or "-" for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    lines = (
        _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Name and value, one a line; fields without a value are left out."""
    shown = [(name, value) for name, value in fields if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name.ljust(width)}{_GAP}{value}")


def note(text: str) -> None:
    """A line about progress, for people: on stderr, so that stdout stays what was asked for."""
    print(text, file=sys.stderr, flush=True)


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - 80 ms that only a terminal needs
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell or "-") for cell in row))
    Console().print(table)
