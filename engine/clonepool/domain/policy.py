"""What should be done next, as pure decisions on counts."""

from __future__ import annotations

from dataclasses import dataclass

from clonepool.domain.model import PoolCounts, PoolSpec, ScrubPolicy
from clonepool.domain.states import (
    CAPACITY_STATES,
    AfterScrub,
    Assurance,
    ScrubMethod,
    VerifyMode,
    VolumeState,
)


@dataclass(frozen=True, kw_only=True)
class Stock:
    """What of a pool's volumes matters to filling; "current" means of the wanted version."""

    ready: int  # current
    stale: int  # ready, but of an old version
    making: int  # planned or cloning, current
    recycling: int  # in a scrub that makes them ready again, current
    occupied: int  # what max_replicas counts
    waiting: int
    held: int = 0  # what only tickets get, of what is ready

    @classmethod
    def of(cls, counts: PoolCounts) -> Stock:
        """Stock of a pool's counts."""
        making = counts.of(VolumeState.PLANNED, VolumeState.CLONING)
        return cls(
            ready=counts.of(VolumeState.READY) - counts.stale,
            stale=counts.stale,
            making=making - counts.making_stale,
            recycling=counts.recycling,
            occupied=counts.of(*CAPACITY_STATES),
            waiting=counts.waiting,
            held=counts.held,
        )

    def short(self, spec: PoolSpec) -> int:
        """How many replicas are missing with all that is ready or on its way."""
        coming = self.ready + self.stale + self.making + self.recycling
        return spec.min_ready + self.promised - coming

    @property
    def promised(self) -> int:
        """What is not there for who comes next: held for tickets, or waited for."""
        return self.waiting + self.held

    @property
    def to_come(self) -> int:
        """What there is for who comes next, with what is on its way."""
        return self.ready + self.making + self.recycling - self.promised


@dataclass(frozen=True, kw_only=True)
class FillPlan:
    """How many replicas to make, and how many ready ones to give up."""

    make: int
    retire_stale: int
    retire_surplus: int


NOTHING = FillPlan(make=0, retire_stale=0, retire_surplus=0)


def plan_fill(spec: PoolSpec, stock: Stock) -> FillPlan:
    """Keep ``min_ready`` ready beside what is held, and serve who waits, within ``max_replicas``.

    A held replica is like one that is waited for: it is not there for who comes next. While a new
    image version rolls out, at most ``max_unavailable`` stale replicas are given up beyond what is
    on its way already; who waits or holds can only be served with the current version, so for them
    stale replicas make room at once. Of too many, the stale ones go first.
    """
    # not counting on a scrub: it may take hours, and a clone takes no time
    waiting_for_a_clone = stock.promised - (stock.ready + stock.making)
    room = max(0, spec.max_replicas - stock.occupied)
    make = min(max(0, stock.short(spec), waiting_for_a_clone), room)
    surplus = stock.ready + stock.stale - spec.min_ready - stock.promised
    unavailable = stock.making + stock.recycling + make
    retire_stale = min(
        stock.stale,
        max(spec.max_unavailable - unavailable, waiting_for_a_clone - make, surplus, 0),
    )
    return FillPlan(
        make=make,
        retire_stale=retire_stale,
        retire_surplus=min(stock.ready, max(0, surplus - retire_stale)),
    )


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """The released volumes whose undo window is over: how many, how large, how old the oldest."""

    volumes: int = 0
    size_bytes: int = 0
    oldest_age_s: float = 0


def scrub_trigger(policy: ScrubPolicy, backlog: Backlog) -> str:
    """What asks for a run: ``threshold``, ``bytes`` or ``age``; "" while nothing does."""
    if backlog.volumes >= policy.threshold:
        return "threshold"
    if policy.max_bytes and backlog.size_bytes >= policy.max_bytes:
        return "bytes"
    if policy.max_age_s and backlog.volumes and backlog.oldest_age_s >= policy.max_age_s:
        return "age"
    return ""


def early_trigger(policy: ScrubPolicy, stock: Stock, *, fits: int) -> str:
    """What asks for a run before its time where only ``fits`` of the clones that are missing fit.

    ``low_space``: somebody waits, or nothing is ready. ``low_stock``: less will be ready than is
    declared. "" where neither is so: what is released is left until something else asks for it.
    """
    starves = stock.waiting > 0 or stock.ready + stock.stale == 0
    if policy.on_low_space and starves:
        return "low_space"
    is_low = policy.on_low_stock > 0 and stock.to_come + fits < policy.on_low_stock
    return "low_stock" if is_low else ""


@dataclass(frozen=True, kw_only=True)
class Scrubbing:
    """What a storage can do and promise of scrubbing; see the backend's capabilities."""

    methods: frozenset[ScrubMethod]
    purges: frozenset[ScrubMethod] = frozenset()
    discard_reads_zeros: bool = True


@dataclass(frozen=True, kw_only=True)
class ScrubProblem:
    """Why a policy can't be kept: a stable word, and a text with the way out."""

    reason: str
    text: str


def scrub_problem(policy: ScrubPolicy, can: Scrubbing, *, storage: str) -> ScrubProblem | None:
    """What of a policy a storage can't do, or can't promise; None where it can keep it."""
    if policy.method not in can.methods:
        known = ", ".join(sorted(can.methods))
        text = f"storage {storage} can't scrub by {policy.method}; it can by {known}"
        return ScrubProblem(reason="SCRUB_METHOD", text=text)
    if policy.assurance is Assurance.PURGE and policy.method not in can.purges:
        known = ", ".join(sorted(can.purges)) or "no method"
        text = (
            f"storage {storage} can't promise to purge the medium by {policy.method} (it can by "
            f"{known}); ask for the assurance clear, and encrypt the medium below the storage"
        )
        return ScrubProblem(reason="SCRUB_ASSURANCE", text=text)
    reads_back = policy.verify is not VerifyMode.NONE
    if reads_back and policy.method is ScrubMethod.DISCARD and not can.discard_reads_zeros:
        text = (
            f"storage {storage} can't say what discarded blocks read as, so reading them back "
            "proves nothing; scrub by zero or reformat, or set verify to none"
        )
        return ScrubProblem(reason="SCRUB_VERIFY", text=text)
    return None


# runs that nobody waits for keep to the windows; what an operator asks for, and what a server
# waits for, does not
KEEPS_TO_WINDOWS = frozenset({"threshold", "bytes", "age", "low_stock", "deletion"})


def recycle_quota(spec: PoolSpec, stock: Stock, *, released: int) -> int:
    """How many of a run's volumes are made ready again; the rest is destroyed.

    ``stock`` is without the run's own volumes.
    """
    if spec.scrub.then is AfterScrub.DESTROY:
        return 0
    room = spec.max_replicas - stock.occupied
    return max(0, min(released, stock.short(spec), room))


def backoff_s(*, attempt: int) -> float:
    """Seconds before attempt ``attempt`` + 1: doubling from 0.5 s, at most a minute."""
    return float(min(60.0, 0.5 * 2 ** min(attempt, 10)))


# a pool whose clones failed so often in a row stops and says so, instead of trying for ever
MAX_POOL_FAILURES = 5
# a scrub that failed so often makes the volume faulty: visible, and never handed out
MAX_SCRUB_ATTEMPTS = 5
