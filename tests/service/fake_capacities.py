"""Capacity for tests of the service and the CLI: one storage that is nearly full, and one away."""

from __future__ import annotations

from clonepool.domain.capacity import Capacity, Limits, Owed
from clonepool.domain.facts import CapacityFacts, PoolCapacity, StorageCapacity
from clonepool.errors import NotFound

GIB = 2**30
ANSWER = CapacityFacts(
    storages=(
        StorageCapacity(
            name="default",
            driver="file",
            capacity=Capacity(
                total_bytes=100 * GIB,
                free_bytes=8 * GIB,
                limits=Limits(reserve_bytes=5 * GIB, overcommit=1.5, warn_bytes=10 * GIB),
                owed=Owed(full_bytes=1 * GIB, thin_bytes=40 * GIB),
                incoming_bytes=1 * GIB,
            ),
        ),
        StorageCapacity(name="second", driver="file", error="it is away; mount it again"),
    ),
    pools=(
        PoolCapacity(
            name="web",
            room=12,
            short_of_space="storage default has 8 GiB free; free space or lower min_ready",
            storage="default",
            kind="thin",
            clone_bytes=4 * GIB,
            fits=2,
        ),
    ),
)


class FakeCapacities:
    """Gives the same answer to all; knows no pool but web."""

    def get(self, *, storage: str = "", pool: str = "") -> CapacityFacts:
        del storage
        if pool not in ("", "web"):
            raise NotFound(f"there is no pool {pool}; `clonepool pool list` shows what there is")
        return ANSWER
