"""Filling pools: plans replicas, gives up stale and surplus ones, clears out tombstones."""

from __future__ import annotations

from dataclasses import replace

from clonepool.controllers import space
from clonepool.controllers.context import Context
from clonepool.controllers.scrub import Scrub
from clonepool.domain.model import ImageVersion, ReplicaPool
from clonepool.domain.policy import FillPlan, Stock, plan_fill
from clonepool.domain.states import Severity, VolumeState
from clonepool.store import events, pools, volumes
from clonepool.store.writer import Transaction


class Filling:
    """The planner's step for every pool."""

    def __init__(self, context: Context, scrub: Scrub) -> None:
        self._context = context
        self._scrub = scrub
        self._told_of_space: set[str] = set()

    def plan_all(self) -> None:
        """Look at each pool once."""
        with self._context.state.read() as session:
            pool_ids = pools.ids(session)
        for pool_id in pool_ids:
            self._plan(pool_id)
        with self._context.state.read() as session:
            emptied = pools.has_empty_tombstones(session)
        if emptied:
            self._context.state.write(pools.forget_empty_tombstones)

    def _plan(self, pool_id: str) -> None:
        with self._context.state.read() as session:
            pool, live = pools.get_any(session, pool_id=pool_id)
            wanted = pools.wanted_version(session, pool_id=pool_id)
            making_stale = pools.making_stale(session, pool_id=pool_id)
        if not live:
            self._clear_out(pool)
            return
        self._scrub.plan(pool)
        if wanted is None:
            return
        stock = Stock.of(pool.counts, making_stale=making_stale)
        plan = plan_fill(pool.spec, stock)
        plan = self._within_space(pool, wanted, plan)
        if pool.stopped_reason:
            plan = replace(plan, make=0)
        if plan.make or plan.retire_stale or plan.retire_surplus:
            self._carry_out(pool, wanted, plan)

    def _within_space(self, pool: ReplicaPool, wanted: ImageVersion, plan: FillPlan) -> FillPlan:
        if plan.make == 0 or wanted.writable is None:
            return plan
        room = space.room_for(
            self._context,
            storage=wanted.storage,
            mode=pool.spec.clone_mode,
            clone_bytes=wanted.writable.size_bytes,
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
        if starving and released and pool.spec.scrub.on_low_space:
            self._scrub.start_for_space(pool, figures)
            return
        if pool.id in self._told_of_space:
            return
        self._told_of_space.add(pool.id)
        way_out = (
            f"run `clonepool scrub run {pool.spec.name}` to reuse its {released} released volumes"
            if released
            else "free space or lower min_ready"
        )
        text = f"pool {pool.spec.name} can't be filled: {figures}; {way_out}"
        self._event(pool, "NO_SPACE", text)

    def _event(self, pool: ReplicaPool, reason: str, text: str) -> None:
        self._context.state.write(
            lambda transaction: events.add(
                transaction,
                now=self._context.now(),
                subject=f"pool/{pool.spec.name}",
                reason=reason,
                message=text,
                severity=Severity.WARNING,
            )
        )

    def _carry_out(self, pool: ReplicaPool, wanted: ImageVersion, plan: FillPlan) -> None:
        def change(transaction: Transaction) -> None:
            now, node = self._context.now(), self._context.state.node
            for count, is_current in ((plan.retire_stale, False), (plan.retire_surplus, True)):
                volumes.retire(
                    transaction,
                    pool_id=pool.id,
                    version_id=wanted.id,
                    is_current=is_current,
                    count=count,
                    node=node,
                    now=now,
                )
            count = min(plan.make, _wanted_now(transaction, pool))
            if count:
                volumes.plan(
                    transaction,
                    pool=pool,
                    version=wanted,
                    count=count,
                    node=node,
                    now=now,
                )

        self._context.state.write(change)
        self._context.signals.work.set()

    def _clear_out(self, pool: ReplicaPool) -> None:
        """Behind a tombstone: what was never allocated is deleted, the rest scrubbed first."""
        if pool.counts.of(VolumeState.RELEASED):
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
                    count=2**31,
                    node=self._context.state.node,
                    now=self._context.now(),
                    state=state,
                )

        self._context.state.write(change)
        self._context.signals.work.set()


def _wanted_now(transaction: Transaction, pool: ReplicaPool) -> int:
    """How many replicas are short by now.

    A scrub run that began since the counts were read gives volumes back: with as many new ones
    the pool would exceed ``max_replicas``.
    """
    counts = pools.counts(transaction.session, pool_id=pool.id)
    making_stale = pools.making_stale(transaction.session, pool_id=pool.id)
    return plan_fill(pool.spec, Stock.of(counts, making_stale=making_stale)).make
