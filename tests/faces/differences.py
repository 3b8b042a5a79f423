"""The names of what differs between the faces on purpose; docs/faces.md has the reasons."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/faces.md"
_ROW = re.compile(r"^\| `(?P<name>[a-z-]+)` \|(?P<cells>.*)\|$", re.MULTILINE)


class Difference(StrEnum):
    """One row of the page."""

    NAME_LEFT_OUT = "name-left-out"
    IMPORT = "import"
    MAY_BE_NULL = "may-be-null"
    ENGINE_AWAY = "engine-away"
    GENERATED_SECRET = "generated-secret"
    GIVEN_SECRET = "given-secret"
    TIME_LIMITS = "time-limits"
    HALF_MADE = "half-made"
    TROUBLE = "trouble"
    INTERRUPT = "interrupt"
    INTERRUPTED_IMPORT = "interrupted-import"
    TAKEN_UP = "taken-up"
    TAKEN_ALONG = "taken-along"
    REPLACED_BY_HAND = "replaced-by-hand"


def rows() -> dict[str, list[str]]:
    """The page's rows by name, each with its cells."""
    found = _ROW.finditer(PAGE.read_text())
    return {row["name"]: [cell.strip() for cell in row["cells"].split("|")] for row in found}
