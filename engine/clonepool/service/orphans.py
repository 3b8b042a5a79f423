"""RPCs of orphans: objects that no row accounts for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.drift import Orphan
from clonepool.service import convert, specs, validate
from clonepool.service.dispatch import Handler

if TYPE_CHECKING:
    from clonepool.controllers.orphans import Orphans


class OrphanHandlers:
    """Orphans over the wire."""

    def __init__(self, *, orphans: Orphans) -> None:
        self._orphans = orphans

    def methods(self) -> Mapping[str, Handler]:
        """The RPCs by name."""
        return {"ListOrphans": self.list, "DeleteOrphan": self.delete}

    def list(self, request: pb.ListOrphansRequest) -> pb.ListOrphansResponse:
        """One page of orphans."""
        validate.page(size=request.page_size)
        page = specs.page(size=request.page_size, token=request.page_token)
        found, next_token = self._orphans.list(page=page)
        return pb.ListOrphansResponse(
            orphans=[self._message(orphan) for orphan in found], next_page_token=next_token
        )

    def delete(self, request: pb.DeleteOrphanRequest) -> pb.DeleteResponse:
        """Delete one now."""
        validate.orphan(request)
        self._orphans.delete(storage=request.storage, name=request.name)
        return pb.DeleteResponse()

    def _message(self, orphan: Orphan) -> pb.Orphan:
        return pb.Orphan(
            storage=orphan.storage,
            name=orphan.name,
            size_bytes=orphan.size_bytes,
            used_bytes=orphan.used_bytes,
            first_seen_at=convert.timestamp(orphan.first_seen_at),
            waited_s=orphan.waited_s,
            due_in_s=self._orphans.due_in_s(orphan),
            held=orphan.held,
        )
