"""One pool in a forecast: claims, releases, and all that the engine does about them in the end.

It takes the engine's own decisions (``clonepool.domain.policy``) and lets each be carried out at
once, so what is left is what a pool comes to rest at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from clonepool import windows
from clonepool.domain.capacity import UNLIMITED
from clonepool.domain.forecast import PoolView, ReleasedView, StockCounts
from clonepool.domain.forecast_space import RoomLeft
from clonepool.domain.forecast_tickets import Claim, Tickets
from clonepool.domain.model import PoolSpec, SystemUser
from clonepool.domain.policy import (
    KEEPS_TO_WINDOWS,
    NOTHING,
    Backlog,
    FillPlan,
    Stock,
    early_trigger,
    plan_fill,
    recycle_quota,
    scrub_trigger,
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The version that new replicas are made of; ``writable_bytes`` None: slots, not clones.

    ``sizes`` are the bytes of a clone of each version that is ready, by its number.
    """

    number: int
    storage: str
    writable_bytes: int | None
    sizes: Mapping[int, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class Done:
    """What a plan made the pool do."""

    threshold_runs: int = 0
    scrubbed: int = 0
    scrubbed_bytes: int = 0
    recycled: int = 0
    destroyed: int = 0
    stale_replaced: int = 0


class PoolStock:
    """A pool that changes as the forecast goes on. ``left`` (by storage) is shared by all.

    In its queue None is one that waited before the plan; the plan's own bring its ticket ``hold``.
    """

    def __init__(
        self,
        view: PoolView,
        *,
        left: Mapping[str, RoomLeft],
        hold: str = "",
        at: float = 0.0,
    ) -> None:
        self.spec: PoolSpec = view.spec
        self.stopped_reason = view.stopped_reason
        self.wanted: Wanted | None = None
        self.full_clones = view.full_clones
        self.queue: list[object] = [None] * view.waiting
        self.served: list[object] = []
        self.short_of_space = False
        self.done = Done()
        self._ready = Counter(view.ready)
        self._making = Counter(view.making)
        self._held = Counter(view.held)
        self._recycling = view.recycling
        self._destroying = view.destroying
        self._released = list(view.released)
        self._left = left
        self._tickets = Tickets(view.tickets, plans=hold)
        self._at = at
        self._going_bytes = 0  # of what is being destroyed: its space is free when it is gone

    def counts(self) -> StockCounts:
        """The stock as it is now."""
        number = self.wanted.number if self.wanted else 0
        return StockCounts(
            ready=self._ready[number],
            stale=self._ready.total() - self._ready[number],
            allocated=self._held.total(),
            released=len(self._released),
            waiting=len(self.queue),
            held=self._tickets.total(),
        )

    def making(self) -> int:
        """How many replicas are on their way."""
        return self._making.total() + self._recycling

    def held_of_old_version(self) -> int:
        """How many servers keep a version that new ones no longer get."""
        number = self.wanted.number if self.wanted else 0
        return self._held.total() - self._held[number]

    def claim(self) -> Claim:
        """Take a ready replica; who waits ahead keeps the one that is meant for it."""
        return self._claim(ahead=len(self.queue), brings=True)

    def _claim(self, *, ahead: int, brings: bool) -> Claim:
        if self.wanted is None:
            return Claim.NONE
        number = self.wanted.number
        claim = self._tickets.claim(ready=self._ready[number], ahead=ahead, brings=brings)
        if claim is not Claim.NONE:
            self._ready[number] -= 1
            self._held[number] += 1
        return claim

    def wait(self, who: object) -> int:
        """Stand in the queue; the place in it, from 1."""
        self.queue.append(who)
        return len(self.queue)

    def leave_queue(self) -> None:
        """One that waited before the plan waits no longer."""
        if self.queue:
            self.queue.pop(0)

    def give_back(self, volume: ReleasedView, *, slot: bool) -> None:
        """A volume is released; a slot has no bytes, so it is made anew at once."""
        self._held[volume.image_version] -= 1
        if slot:
            self._making[volume.image_version] += 1
            return
        self._released.append(volume)

    def supersede(self, attachment: str) -> None:
        """Another of this name is released: of a name, only the last one can be resumed."""
        self._released = [
            replace(each, attachment="") if each.attachment == attachment else each
            for each in self._released
        ]

    def resume(self, *, attachment: str, system_user: SystemUser | None) -> ReleasedView | None:
        """Give a released volume back to who had it; None where it is gone, or has no room."""
        found = [
            each
            for each in self._released
            if attachment and (each.attachment, each.system_user) == (attachment, system_user)
        ]
        if not found or not self._makes_room():
            return None
        self._released.remove(found[-1])
        self._held[found[-1].image_version] += 1
        return found[-1]

    def _makes_room(self) -> bool:
        """A pool that is full gives up a ready replica: a stale one, or one that nobody awaits."""
        if self._stock().occupied < self.spec.max_replicas:
            return True
        number = self.wanted.number if self.wanted else 0
        stale = [each for each, count in self._ready.items() if count and each != number]
        ready, ahead = self._ready[number], len(self.queue)
        if not stale and not self._tickets.spares(ready=ready, ahead=ahead, brings=True):
            return False
        given_up = stale[0] if stale else number
        self._ready[given_up] -= 1
        self._give_space(given_up, 1)
        return True

    def begin(self) -> None:
        """A new pool: its creation is done when ``wait_for_ready`` are ready."""
        if self.wanted is None:
            return
        awaited = min(self.spec.wait_for_ready, self.spec.min_ready, self._room())
        self._take_space(awaited)
        self._ready[self.wanted.number] += awaited

    def tear_down(self) -> None:
        """Deleted: what was never allocated is deleted, what was released is scrubbed first."""
        self.done.destroyed += len(self._released)
        self._count_run(self._released)
        for idle in (self._ready, self._making):
            for number, count in idle.items():
                self._give_space(number, count)
            idle.clear()
        scrubbing_bytes = (self._recycling + self._destroying) * self._clone_bytes()
        released_bytes = sum(each.size_bytes for each in self._released)
        # nobody looks at it any more
        self._take(-(self._going_bytes + scrubbing_bytes + released_bytes))
        self._released, self._going_bytes = [], 0
        self._recycling = self._destroying = 0

    def finish(self) -> None:
        """What the engine had begun is done, and who waited for it is served."""
        self._destroying = 0
        self._take(-self._going_bytes)
        self._going_bytes = 0
        self._finish_making()
        self._serve()

    def look(self) -> bool:
        """The engine looks at the pool once, and begins what is to be done; False: nothing is."""
        if self._scrub_is_due():
            self.done.threshold_runs += 1
            self._scrub()
            return True
        scrubbed_before = self.done.scrubbed
        plan = self._plan()
        resting = plan == NOTHING and (bool(self.stopped_reason) or not self._recycling)
        if resting and self.done.scrubbed == scrubbed_before:
            return False
        self._carry_out(plan)
        return True

    def _stock(self) -> Stock:
        number = self.wanted.number if self.wanted else 0
        making = self._making[number]
        idle = self._ready.total() + self._making.total() + self._recycling + self._destroying
        return Stock(
            ready=self._ready[number],
            stale=self._ready.total() - self._ready[number],
            making=making,
            recycling=self._recycling,
            occupied=idle + self._held.total(),
            waiting=len(self.queue),
            held=self._tickets.total(),
        )

    def _finish_making(self) -> None:
        """Clones of an old version are given up; a stopped pool's clones stand still."""
        if self.wanted is None:
            self._making.clear()
            return
        number = self.wanted.number
        for other, count in self._making.items():
            self._give_space(other, count if other != number else 0)
        if not self.stopped_reason:
            self._ready[number] += self._making[number] + self._recycling
            self._recycling = 0
        self._making = Counter({number: self._making[number] if self.stopped_reason else 0})

    def _serve(self) -> None:
        """First come, first served; with a ticket, at once."""
        left: list[object] = []
        for who in self.queue:
            claim = self._claim(ahead=len(left), brings=who is not None)
            (left if claim is Claim.NONE else self.served).append(who)
        self.queue[:] = left

    def _eligible(self) -> list[ReleasedView]:
        """Those whose release can no longer be undone."""
        return [each for each in self._released if self._is_eligible(each)]

    def _is_eligible(self, volume: ReleasedView) -> bool:
        window_s = self.spec.scrub.undo_window_s
        return not window_s or volume.age_s >= window_s

    def _scrub_is_due(self) -> bool:
        if not self._window_is_open():
            return False
        eligible = self._eligible()
        backlog = Backlog(
            volumes=len(eligible),
            size_bytes=sum(each.size_bytes for each in eligible),
            oldest_age_s=max((each.age_s for each in eligible), default=0.0),
        )
        return bool(scrub_trigger(self.spec.scrub, backlog))

    def _scrub(self) -> None:
        eligible = self._eligible()
        quota = 0
        if self.wanted is not None:
            quota = recycle_quota(self.spec, self._stock(), released=len(eligible))
        destroyed = len(eligible) - quota
        self._recycling += quota
        self.done.recycled += quota
        self.done.destroyed += destroyed
        self._count_run(eligible)
        self._released = [each for each in self._released if not self._is_eligible(each)]
        self._going_bytes += sum(each.size_bytes for each in eligible)
        self._going_bytes -= quota * self._clone_bytes()

    def _count_run(self, scrubbed: Sequence[ReleasedView]) -> None:
        self.done.scrubbed += len(scrubbed)
        self.done.scrubbed_bytes += sum(each.size_bytes for each in scrubbed)

    def _plan(self) -> FillPlan:
        if self.wanted is None:
            return NOTHING
        plan = plan_fill(self.spec, self._stock())
        room = self._room()
        self.short_of_space = plan.make > room
        make = min(plan.make, room)
        if self.short_of_space and self._scrubs_early(fits=room):
            self._scrub()
            plan = plan_fill(self.spec, self._stock())
            make = min(make, plan.make)
        make = 0 if self.stopped_reason else make
        return FillPlan(
            make=make, retire_stale=plan.retire_stale, retire_surplus=plan.retire_surplus
        )

    def _scrubs_early(self, *, fits: int) -> bool:
        trigger = early_trigger(self.spec.scrub, self._stock(), fits=fits)
        waits = trigger in KEEPS_TO_WINDOWS and not self._window_is_open()
        return bool(trigger and self._eligible()) and not waits

    def _window_is_open(self) -> bool:
        return windows.is_open(self.spec.scrub.windows, at=self._at)

    def _carry_out(self, plan: FillPlan) -> None:
        number = self.wanted.number if self.wanted else 0
        self._retire_stale(plan.retire_stale, current=number)
        self._ready[number] -= plan.retire_surplus
        self._making[number] += plan.make
        self._take_space(plan.make)
        self._give_space(number, plan.retire_surplus)

    def _retire_stale(self, count: int, *, current: int) -> None:
        self.done.stale_replaced += count
        for number in sorted(self._ready):
            if number != current:
                taken = min(count, self._ready[number])
                self._ready[number] -= taken
                self._give_space(number, taken)
                count -= taken

    def _room(self) -> int:
        """How many more clones fit."""
        if self.wanted is None or self.wanted.writable_bytes is None:
            return UNLIMITED
        left = self._left.get(self.wanted.storage, RoomLeft(left_bytes=0))
        return left.fits(clone_bytes=self.wanted.writable_bytes, full=self.full_clones)

    def _clone_bytes(self) -> int:
        return (self.wanted.writable_bytes or 0) if self.wanted else 0

    def _take_space(self, clones: int) -> None:
        """So many of the wanted version are planned."""
        self._take(clones * self._clone_bytes())

    def _give_space(self, number: int, count: int) -> None:
        """So many of a version, that no server had, are given up."""
        size_bytes = self._clone_bytes()
        if self.wanted is not None and number != self.wanted.number:
            size_bytes = self.wanted.sizes.get(number, size_bytes)
        if self.full_clones:
            self._going_bytes += count * size_bytes
        else:
            # what shares all its blocks holds nothing: the promise alone is given back
            self._take(-count * size_bytes)

    def _take(self, size_bytes: int) -> None:
        left = self._left.get(self.wanted.storage) if self.wanted else None
        if left is not None:
            left.take(size_bytes, full=self.full_clones)
