"""Filling pools: plans replicas, gives up stale and surplus ones, clears out tombstones."""

from __future__ import annotations

import logging
from dataclasses import replace

from clonepool.controllers import space
from clonepool.controllers.context import Context
from clonepool.controllers.scrub import Scrub
from clonepool.domain.model import ImageVersion, ReplicaPool
from clonepool.domain.policy import NOTHING, FillPlan, Stock, plan_fill
from clonepool.domain.states import Severity, VolumeState
from clonepool.errors import ClonepoolError
from clonepool.store import pools, volumes
from clonepool.store.writer import Transaction

log = logging.getLogger(__name__)

# planned in one transaction: allocations wait for it, so a large pool is planned in parts
_AT_ONCE = 200


class Filling:
    """The planner's step for every pool."""

    def __init__(self, context: Context, scrub: Scrub) -> None:
        self._context = context
        self._scrub = scrub
        self._told_of_space: set[str] = set()

    def plan_all(self) -> None:
        """Look at each pool once; not at a node that drains."""
        if not self._context.nodes.takes_work:
            return
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
        if wanted is None or not self._context.is_here(node=wanted.node, storage=wanted.storage):
            # where the image lies, its own node fills the pool
            return
        plan = self._within_space(pool, wanted, plan_fill(pool.spec, Stock.of(pool.counts)))
        if pool.stopped_reason:
            plan = replace(plan, make=0)
        if plan != NOTHING:
            self._carry_out(pool, wanted, plan)

    def _within_space(self, pool: ReplicaPool, wanted: ImageVersion, plan: FillPlan) -> FillPlan:
        if plan.make == 0 or wanted.writable is None:
            return plan
        room = space.room_for(
            self._context,
            storage=wanted.storage,
            mode=pool.spec.clone_mode,
            clone_bytes=wanted.writable.size_bytes,
            wanted=plan.make,
        )
        if plan.make <= room.clones:
            self._told_of_space.discard(pool.id)
            return plan
        self._short_of_space(pool, room.text)
        return replace(plan, make=room.clones)

    def _short_of_space(self, pool: ReplicaPool, figures: str) -> None:
        counts = pool.counts
        starving = counts.waiting > 0 or counts.of(VolumeState.READY) == 0
        released = counts.of(VolumeState.RELEASED)
        early = starving and released > 0 and pool.spec.scrub.on_low_space
        if early and self._scrub.start_for_space(pool, figures):
            return
        if pool.id in self._told_of_space:
            return
        self._told_of_space.add(pool.id)
        way_out = _way_out(pool, released, early=early)
        text = f"pool {pool.spec.name} can't be filled: {figures}; {way_out}"
        self._context.tell(
            subject=f"pool/{pool.spec.name}",
            reason="NO_SPACE",
            message=text,
            severity=Severity.WARNING,
        ).result()

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


def _way_out(pool: ReplicaPool, released: int, *, early: bool) -> str:
    if not released:
        return "free space or lower min_ready"
    if early:
        return f"the undo_window of its {released} released volumes is open; free space"
    return f"run `clonepool scrub run {pool.spec.name}` to reuse its {released} released volumes"
