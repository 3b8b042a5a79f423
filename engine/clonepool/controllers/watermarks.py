"""Watermarks: a storage that fills up is told of while there is still time to do something."""

from __future__ import annotations

import logging
from enum import IntEnum

from clonepool.backends.base import Space
from clonepool.controllers import space
from clonepool.controllers.context import Context
from clonepool.domain.capacity import Limits
from clonepool.domain.states import Severity
from clonepool.errors import ClonepoolError
from clonepool.units import format_size

log = logging.getLogger(__name__)
# it has left a mark behind only when it is so much above it: at the mark it would be told for ever
_ABOVE = 0.01


class Level(IntEnum):
    """How full a storage is."""

    FREE = 0
    LOW = 1  # below warn_below
    RESERVE = 2  # at the reserve: nothing is cloned or imported


class Watermarks:
    """Tells once when a storage reaches a mark, and once when it is well above again."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._levels: dict[str, Level] = {}

    def look(self) -> None:
        """Look at each storage in use; cheap enough for every second."""
        for name, backend in self._context.drivers.open_backends().items():
            try:
                self._look_at(name, backend.space())
            except ClonepoolError as error:
                # who watches its health tells of it
                log.debug("storage %s: %s", name, error)

    def _look_at(self, name: str, seen: Space) -> None:
        limits = self._context.drivers.limits(name, total_bytes=seen.total_bytes)
        before = self._levels.get(name, Level.FREE)
        level = _level(seen, limits, before=before)
        if level is before:
            return
        self._levels[name] = level
        figures = f"{format_size(seen.free_bytes)} free of {format_size(seen.total_bytes)}"
        if level > before:
            self._tell_of_filling(name, level, limits, figures)
        elif level is Level.FREE:
            self._tell(name, "STORAGE_ROOMY", f"storage {name} has {figures} again", Severity.INFO)
        # what waited for space goes on
        self._context.signals.changed()

    def _tell_of_filling(self, name: str, level: Level, limits: Limits, figures: str) -> None:
        owed = space.capacity_of(self._context, name).owed
        text = (
            f"storage {name} has {figures}; servers may still write "
            f"{format_size(owed.full_bytes + owed.thin_bytes)} into its volumes"
        )
        way_out = "scrub released volumes (`clonepool scrub run`), delete images, or add space"
        if level is Level.RESERVE:
            text += f"; the reserve of {format_size(limits.reserve_bytes)} is reached: nothing is "
            text += f"cloned or imported until it is free again; {way_out}"
            self._tell(name, "STORAGE_RESERVE", text, Severity.ERROR)
            return
        text += f"; that is below warn_below, {format_size(limits.warn_bytes)}: {way_out}"
        self._tell(name, "STORAGE_LOW", text, Severity.WARNING)

    def _tell(self, name: str, reason: str, message: str, severity: Severity) -> None:
        self._context.tell(
            subject=f"storage/{name}", reason=reason, message=message, severity=severity
        )


def _level(seen: Space, limits: Limits, *, before: Level) -> Level:
    margin = int(seen.total_bytes * _ABOVE)
    for level, mark in (
        (Level.RESERVE, limits.reserve_bytes),
        (Level.LOW, limits.warn_bytes),
    ):
        if seen.free_bytes <= mark + (margin if before >= level else 0) and mark > 0:
            return level
    return Level.FREE
