"""What an import may use at most, and how far it has come."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clonepool.config import URL_SCHEMES
from clonepool.errors import PermissionDenied, ResourceExhausted
from clonepool.units import format_size

STAGES: Final = ("fetch", "convert", "digest")


def admit_all(_needed_bytes: int) -> None:
    """Nothing else is promised."""


@dataclass(frozen=True, kw_only=True)
class ImportLimits:
    """Bounds of one import; sizes in bytes.

    ``max_size_bytes`` is of the raw image a server would see; ``reserve_bytes`` stays free on the
    staging file system; ``admit`` is told how much is about to be written to it, and raises where
    that would take what is promised to others; ``http_timeout_s`` is for a connection, and for
    each wait for bytes. ``url_schemes`` are those that may be fetched, and be redirected to.
    """

    max_size_bytes: int = 64 * 2**40
    reserve_bytes: int = 0
    admit: Callable[[int], None] = admit_all
    http_timeout_s: float = 30.0
    command_timeout_s: float = 24 * 3600.0
    max_preconfigure_bytes: int = 64 * 2**20
    url_schemes: frozenset[str] = URL_SCHEMES

    def check_scheme(self, scheme: str, *, url: str) -> None:
        """Refuse a URL of a scheme that is not allowed. Raises PermissionDenied."""
        if scheme not in self.url_schemes:
            allowed = ", ".join(sorted(self.url_schemes)) or "none"
            raise PermissionDenied(
                f"{url}: nothing is imported over {scheme} by this engine (import_schemes: "
                f"{allowed}); give another URL or a path, or set import_schemes",
                reason="SCHEME_NOT_ALLOWED",
            )


def check_free(*, directory: Path, needed_bytes: int, limits: ImportLimits, doing: str) -> None:
    """Refuse what would not fit ``directory``, with figures. Raises ResourceExhausted."""
    reserve_bytes = limits.reserve_bytes
    figures = os.statvfs(directory)
    free_bytes = figures.f_bavail * figures.f_frsize
    if needed_bytes > free_bytes - reserve_bytes:
        raise ResourceExhausted(
            f"{doing}: needs {format_size(needed_bytes)}, {format_size(free_bytes)} is free in "
            f"{directory} and {format_size(reserve_bytes)} must stay so; free some space",
            reason="STAGING_FULL",
            metadata={"needed_bytes": str(needed_bytes), "free_bytes": str(free_bytes)},
        )
    limits.admit(needed_bytes)


class Meter:
    """Adds the stages of an import up to one ``done`` of one ``total``, in bytes.

    A stage whose size is not known yet counts as much as the source.
    """

    def __init__(self, report: Callable[[int, int], None]) -> None:
        self._report = report
        self._totals = dict.fromkeys(STAGES, 0)
        self._done = dict.fromkeys(STAGES, 0)

    def expect_source(self, size_bytes: int) -> None:
        """The source's size became known (0: it did not)."""
        self._totals = dict.fromkeys(STAGES, size_bytes)

    def expect(self, stage: str, size_bytes: int) -> None:
        """A stage's size became known."""
        self._totals[stage] = size_bytes

    def stage(self, stage: str) -> Callable[[int], None]:
        """The progress callback of one stage; what the caller's own raises goes through it."""

        def report(done_bytes: int) -> None:
            self._done[stage] = done_bytes
            self.again()

        return report

    def again(self) -> None:
        """Report the same once more: a chance to cancel where there is nothing to count."""
        done = sum(self._done.values())
        self._report(done, max(done, sum(self._totals.values())))
