"""Volumes, to look at."""

from __future__ import annotations

from collections.abc import Sequence

from clonepool.domain.model import PageRequest, Ref, Volume


class Volumes:
    """Volumes, to look at."""

    def get(self, *, ref: Ref) -> Volume:
        """One volume by id. Raises NotFound."""
        raise NotImplementedError

    def list(
        self, *, page: PageRequest, pool: str = "", state: str = ""
    ) -> tuple[Sequence[Volume], str]:
        """One page and the next page's token."""
        raise NotImplementedError
