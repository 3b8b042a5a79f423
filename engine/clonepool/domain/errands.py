"""Errands: what only a volume's own node can do, asked for by the others."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrandKind(StrEnum):
    """What is to be done for an attachment."""

    GRANT = "grant"
    RELEASE = "release"
    LOOK = "look"  # whether its server is logged in: refused if it is


@dataclass(frozen=True, kw_only=True)
class Errand:
    """One that was asked for; ``force`` is for a release only."""

    kind: ErrandKind
    attachment_id: str
    force: bool


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How it ended; ``error_kind`` names a class of ``clonepool.errors``, "" where it is done."""

    error_kind: str = ""
    reason: str = ""
    error: str = ""
