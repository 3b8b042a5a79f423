"""The RPC of what fits now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.capacity import UNLIMITED
from clonepool.domain.facts import PoolCapacity, StorageCapacity
from clonepool.service.dispatch import Handler
from clonepool.service.findings import Findings

if TYPE_CHECKING:
    from clonepool.controllers.capacities import Capacities


class CapacityHandlers:
    """Capacity over the wire."""

    def __init__(self, *, capacities: Capacities) -> None:
        self._capacities = capacities

    def methods(self) -> Mapping[str, Handler]:
        """The RPCs by name."""
        return {"GetCapacity": self.get}

    def get(self, request: pb.GetCapacityRequest) -> pb.CapacityResponse:
        """All storages and pools, or those of one."""
        _check(request)
        found = self._capacities.get(storage=request.storage, pool=request.pool)
        return pb.CapacityResponse(
            storages=[_storage(each) for each in found.storages],
            pools=[_pool(each) for each in found.pools],
        )


def _check(request: pb.GetCapacityRequest) -> None:
    findings = Findings()
    findings.optional_name(request.storage, "storage")
    findings.optional_name(request.pool, "pool")
    findings.refuse()


def _storage(facts: StorageCapacity) -> pb.StorageCapacity:
    seen = facts.capacity
    if seen is None:
        return pb.StorageCapacity(name=facts.name, driver=facts.driver, error=facts.error)
    return pb.StorageCapacity(
        name=facts.name,
        driver=facts.driver,
        total_bytes=seen.total_bytes,
        free_bytes=seen.free_bytes,
        reserve_bytes=seen.limits.reserve_bytes,
        warn_bytes=seen.limits.warn_bytes,
        overcommit=seen.limits.overcommit,
        used_bytes=seen.used_bytes,
        owed_full_bytes=seen.owed.full_bytes,
        owed_thin_bytes=seen.owed.thin_bytes,
        incoming_bytes=seen.incoming_bytes,
        promised_bytes=seen.promised_bytes,
        limit_bytes=seen.limit_bytes,
        writable_bytes=seen.writable_bytes,
        overcommitted=seen.overcommitted,
    )


def _pool(facts: PoolCapacity) -> pb.PoolCapacity:
    return pb.PoolCapacity(
        name=facts.name,
        storage=facts.storage,
        clone_kind=facts.kind,
        clone_bytes=facts.clone_bytes,
        fits=None if facts.fits >= UNLIMITED else facts.fits,
        room=facts.room,
        can_make=facts.can_make,
        short_of_space=facts.short_of_space,
    )
