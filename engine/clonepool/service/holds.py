"""RPCs of holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.holds import Hold, Wanted
from clonepool.service import convert, specs, validate
from clonepool.service.dispatch import Handler

if TYPE_CHECKING:
    from clonepool.controllers.holds import Holds


class HoldHandlers:
    """Holds over the wire."""

    def __init__(self, *, holds: Holds) -> None:
        self._holds = holds

    def methods(self) -> Mapping[str, Handler]:
        """The RPCs by name."""
        return {
            "CreateHold": self.create,
            "GetHold": self.get,
            "ListHolds": self.list,
            "ReleaseHold": self.release,
        }

    def create(self, request: pb.CreateHoldRequest) -> pb.Hold:
        """Hold ready replicas."""
        validate.create_hold(request)
        made = self._holds.create(
            wanted=[Wanted(pool=each.pool, count=each.count) for each in request.pools],
            duration_s=request.duration_s,
            owner=request.owner,
            token=request.request_token,
            partial=request.partial,
        )
        return _hold(made)

    def get(self, request: pb.GetRequest) -> pb.Hold:
        """One ticket."""
        validate.object_id(request.id)
        return _hold(self._holds.get(ticket=request.id))

    def list(self, request: pb.ListRequest) -> pb.ListHoldsResponse:
        """One page of tickets."""
        validate.page(size=request.page_size)
        page = specs.page(size=request.page_size, token=request.page_token)
        found, next_token = self._holds.list(page=page, pool=request.pool)
        return pb.ListHoldsResponse(
            holds=[_hold(hold) for hold in found], next_page_token=next_token
        )

    def release(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Give back what is left."""
        validate.object_id(request.id)
        self._holds.release(ticket=request.id)
        return pb.DeleteResponse()


def _hold(hold: Hold) -> pb.Hold:
    return pb.Hold(
        id=hold.id,
        owner=hold.owner,
        pools=[
            pb.HeldStock(pool=stock.pool, count=stock.count, remaining=stock.remaining)
            for stock in hold.pools
        ],
        created_at=convert.timestamp(hold.created_at),
        expires_at=convert.timestamp(hold.expires_at),
        refused=[
            pb.RefusedHold(pool=each.pool, reason=each.reason, text=each.text)
            for each in hold.refused
        ],
    )
