"""Scrub runs: started at the threshold, on demand or for space."""

from __future__ import annotations

from collections.abc import Sequence

from clonepool.domain.model import PageRequest, Ref, ScrubRecord, ScrubRun


class Scrub:
    """Scrub runs: started at the threshold, on demand or for space."""

    def start(self, *, pool: str) -> ScrubRun | None:
        """Scrub what is released in ``pool`` (name) now; None when nothing is."""
        raise NotImplementedError

    def get_run(self, *, ref: Ref) -> ScrubRun:
        """One run by id. Raises NotFound."""
        raise NotImplementedError

    def list_runs(self, *, page: PageRequest, pool: str = "") -> tuple[Sequence[ScrubRun], str]:
        """Newest first."""
        raise NotImplementedError

    def list_records(
        self, *, page: PageRequest, pool: str = "", volume_id: str = ""
    ) -> tuple[Sequence[ScrubRecord], str]:
        """Newest first."""
        raise NotImplementedError
