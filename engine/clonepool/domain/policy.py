"""What should be done next, as pure decisions on counts."""

from __future__ import annotations

from dataclasses import dataclass

from clonepool.domain.model import PoolCounts, PoolSpec, ScrubPolicy
from clonepool.domain.states import CAPACITY_STATES, AfterScrub, VolumeState


@dataclass(frozen=True, kw_only=True)
class Stock:
    """What of a pool's volumes matters to filling; "current" means of the wanted version."""

    ready: int  # current
    stale: int  # ready, but of an old version
    making: int  # planned or cloning, current
    occupied: int  # what max_replicas counts
    waiting: int

    @classmethod
    def of(cls, counts: PoolCounts, *, making_stale: int = 0) -> Stock:
        """Stock of a pool's counts; ``making_stale`` are being cloned of an old version."""
        making = counts.of(VolumeState.PLANNED, VolumeState.CLONING)
        return cls(
            ready=counts.of(VolumeState.READY) - counts.stale,
            stale=counts.stale,
            making=making - making_stale,
            occupied=counts.of(*CAPACITY_STATES),
            waiting=counts.waiting,
        )


@dataclass(frozen=True, kw_only=True)
class FillPlan:
    """How many replicas to make, and how many ready ones to give up."""

    make: int
    retire_stale: int
    retire_surplus: int


def plan_fill(spec: PoolSpec, stock: Stock) -> FillPlan:
    """Keep ``min_ready`` ready and serve who waits, within ``max_replicas``.

    While a new image version rolls out, at most ``max_unavailable`` stale replicas are given up
    beyond what is being made already; who waits can only be served with the current version, so
    for them stale replicas make room at once.
    """
    short = spec.min_ready + stock.waiting - (stock.ready + stock.stale + stock.making)
    short_current = stock.waiting - (stock.ready + stock.making)
    room = max(0, spec.max_replicas - stock.occupied)
    wanted = max(0, short, short_current)
    make = min(wanted, room)
    retire_stale = min(
        stock.stale,
        max(spec.max_unavailable - stock.making - make, short_current - make, 0),
    )
    surplus = stock.ready + stock.stale - retire_stale - spec.min_ready - stock.waiting
    return FillPlan(
        make=make,
        retire_stale=retire_stale,
        retire_surplus=min(stock.ready, max(0, surplus)),
    )


def scrub_due(policy: ScrubPolicy, *, released: int) -> bool:
    """Whether the number of released volumes has reached the threshold."""
    return released >= policy.threshold


def recycle_quota(spec: PoolSpec, stock: Stock, *, released: int) -> int:
    """How many of a run's volumes are made ready again; the rest is destroyed.

    ``stock`` is without the run's own volumes.
    """
    if spec.scrub.then is AfterScrub.DESTROY:
        return 0
    wanted = spec.min_ready + stock.waiting - (stock.ready + stock.stale + stock.making)
    room = spec.max_replicas - stock.occupied
    return max(0, min(released, wanted, room))


def backoff_s(*, attempt: int) -> float:
    """Seconds before attempt ``attempt`` + 1: doubling from 0.5 s, at most a minute."""
    return float(min(60.0, 0.5 * 2 ** min(attempt, 10)))


# a pool whose clones failed so often in a row stops and says so, instead of trying for ever
MAX_POOL_FAILURES = 5
# a scrub that failed so often makes the volume faulty: visible, and never handed out
MAX_SCRUB_ATTEMPTS = 5


def clones_that_fit(
    *, clone_bytes: int, free_bytes: int, reserve_bytes: int, owed_bytes: int
) -> int:
    """How many more clones fit. ``owed_bytes`` is what existing full clones may still grow by.

    A thin clone takes no space at once (``clone_bytes`` 0): then only the reserve counts.
    """
    left = free_bytes - reserve_bytes - owed_bytes
    if left <= 0:
        return 0
    return 2**31 if clone_bytes <= 0 else left // clone_bytes
