"""Filling pools: plans replicas, gives up stale and surplus ones, clears out tombstones."""

from __future__ import annotations

import logging
from dataclasses import replace

from clonepool.controllers import space
from clonepool.controllers.context import Context
from clonepool.controllers.scrub import Scrub
from clonepool.domain.model import ImageVersion, ReplicaPool
from clonepool.domain.policy import NOTHING, FillPlan, Stock, early_trigger, plan_fill
from clonepool.domain.states import Severity, VolumeState
from clonepool.errors import ClonepoolError
from clonepool.store import events, pools, volumes
from clonepool.store.writer import Transaction

log = logging.getLogger(__name__)

# planned in one transaction: allocations wait for it, so a large pool is planned in parts
_AT_ONCE = 200
# how often the figures of a pool that lacks space are written down anew
_RENEW_S = 30.0


class Filling:
    """The planner's step for every pool."""

    def __init__(self, context: Context, scrub: Scrub) -> None:
        self._context = context
        self._scrub = scrub
        self._noted_at: dict[str, float] = {}

    def plan_all(self) -> None:
        """Look at each pool once."""
        with self._context.state.read() as session:
            pool_ids = pools.ids(session)
        for pool_id in pool_ids:
            try:
                self._plan(pool_id)
            except ClonepoolError as error:
                # a storage that is away must not keep the pools of the others from being filled
                log.warning("planning pool %s: %s", pool_id, error)
        with self._context.state.read() as session:
            emptied = pools.has_empty_tombstones(session)
        if emptied:
            self._context.state.write(pools.forget_empty_tombstones)

    def _plan(self, pool_id: str) -> None:
        with self._context.state.read() as session:
            pool, live = pools.get_any(session, pool_id=pool_id, now=self._context.now())
            wanted = pools.wanted_version(session, pool_id=pool_id)
        if not live:
            self._clear_out(pool)
            return
        if self._scrub.plan(pool):
            # the counts are of before: the next look fills what the run does not give back
            self._context.signals.plan.set()
            return
        if wanted is None:
            return
        # no import may be promised the same room between the look and the rows
        with self._context.spaces.of(wanted.storage):
            plan = self._within_space(pool, wanted, plan_fill(pool.spec, Stock.of(pool.counts)))
            if pool.stopped_reason:
                plan = replace(plan, make=0)
            if plan != NOTHING:
                self._carry_out(pool, wanted, plan)

    def _within_space(self, pool: ReplicaPool, wanted: ImageVersion, plan: FillPlan) -> FillPlan:
        if plan.make == 0 or wanted.writable is None:
            self._has_space(pool)
            return plan
        room = space.room_for(
            self._context,
            storage=wanted.storage,
            mode=pool.spec.clone_mode,
            clone_bytes=wanted.writable.size_bytes,
            wanted=plan.make,
        )
        if plan.make <= room.clones:
            self._has_space(pool)
            return plan
        self._short_of_space(pool, room)
        return replace(plan, make=room.clones)

    def _has_space(self, pool: ReplicaPool) -> None:
        if pool.short_of_space:
            text = f"pool {pool.spec.name} lacks no space any more"
            self._note_space(pool, "", reason="SPACE_FOUND", message=text)

    def _short_of_space(self, pool: ReplicaPool, room: space.Room) -> None:
        released, why_not = pool.counts.of(VolumeState.RELEASED), ""
        trigger = early_trigger(pool.spec.scrub, Stock.of(pool.counts), fits=room.clones)
        if trigger and released:
            why_not = self._scrub.start_early(pool, trigger, figures=room.text)
            if not why_not:
                return
        text = f"{room.text}; {_way_out(pool, room, released, why_not)}"
        message = f"pool {pool.spec.name} can't be filled: {text}"
        self._note_space(pool, text, reason=space.NO_SPACE, message=message)

    def _note_space(self, pool: ReplicaPool, text: str, *, reason: str, message: str) -> None:
        """Say once that it began or ended; in between, only the figures on the pool are renewed."""
        now, told = self._context.now(), bool(text) is not bool(pool.short_of_space)
        if not told and abs(now - self._noted_at.get(pool.id, 0.0)) < _RENEW_S:
            return
        self._noted_at[pool.id] = now

        def change(transaction: Transaction) -> None:
            if pools.note_space(transaction, pool_id=pool.id, text=text) and told:
                events.add(
                    transaction,
                    now=now,
                    subject=f"pool/{pool.spec.name}",
                    reason=reason,
                    message=message,
                    severity=Severity.WARNING if text else Severity.INFO,
                )

        self._context.state.write(change)

    def _carry_out(self, pool: ReplicaPool, wanted: ImageVersion, plan: FillPlan) -> None:
        def change(transaction: Transaction) -> None:
            # claims, releases and scrub runs came in between: what is too much by now is left
            now, node = self._context.now(), self._context.state.node
            fresh = _plan_now(transaction, pool, wanted, now=now)
            for count, is_current in (
                (min(plan.retire_stale, fresh.retire_stale), False),
                (min(plan.retire_surplus, fresh.retire_surplus), True),
            ):
                volumes.retire(
                    transaction,
                    pool_id=pool.id,
                    version_id=wanted.id,
                    is_current=is_current,
                    count=count,
                    node=node,
                    now=now,
                )
            volumes.plan(
                transaction,
                pool=pool,
                version=wanted,
                count=min(plan.make, fresh.make, _AT_ONCE),
                node=node,
                now=now,
            )

        self._context.state.write(change)
        self._context.signals.work.set()

    def _clear_out(self, pool: ReplicaPool) -> None:
        """Behind a tombstone: what was never allocated is deleted, the rest scrubbed first."""
        self._scrub.start_for_deletion(pool)
        idle = (VolumeState.READY, VolumeState.PLANNED)
        if not pool.counts.of(*idle):
            return

        def change(transaction: Transaction) -> None:
            for state in idle:
                volumes.retire(
                    transaction,
                    pool_id=pool.id,
                    version_id=None,
                    is_current=None,
                    count=_AT_ONCE,
                    node=self._context.state.node,
                    now=self._context.now(),
                    state=state,
                )

        self._context.state.write(change)
        self._context.signals.work.set()


def _plan_now(
    transaction: Transaction, pool: ReplicaPool, wanted: ImageVersion, *, now: float
) -> FillPlan:
    """What is to be done by the counts as they are in this transaction."""
    fresh, live = pools.get_any(transaction.session, pool_id=pool.id, now=now)
    version = pools.wanted_version(transaction.session, pool_id=pool.id)
    if not live or version is None or version.id != wanted.id:
        return NOTHING
    return plan_fill(fresh.spec, Stock.of(fresh.counts))


def _way_out(pool: ReplicaPool, room: space.Room, released: int, why_not: str) -> str:
    if not released:
        return f"{room.way_out} or lower min_ready"
    if why_not:
        return f"{why_not}; {room.way_out}"
    return f"run `clonepool scrub run {pool.spec.name}` to reuse its {released} released volumes"
