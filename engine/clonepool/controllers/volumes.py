"""Volumes, to look at."""

from __future__ import annotations

from collections.abc import Sequence

from clonepool.controllers.context import Context
from clonepool.domain.model import PageRequest, Ref, Volume
from clonepool.store import volumes


class Volumes:
    """Reads of volumes."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def get(self, *, ref: Ref) -> Volume:
        """One volume by id. Raises NotFound."""
        with self._context.state.read() as session:
            return volumes.get(session, volume_id=ref.id)

    def list(
        self, *, page: PageRequest, pool: str = "", state: str = ""
    ) -> tuple[Sequence[Volume], str]:
        """One page and the next page's token."""
        with self._context.state.read() as session:
            return volumes.list_page(session, page=page, pool=pool, state=state)
