"""Scrub runs: started by a trigger, on demand, for space, for one volume or behind a deletion."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from datetime import UTC, datetime

from clonepool import windows
from clonepool.controllers.context import Context
from clonepool.domain.model import PageRequest, PoolCounts, Ref, ReplicaPool, ScrubRecord, ScrubRun
from clonepool.domain.policy import Backlog, Stock, recycle_quota, scrub_trigger
from clonepool.domain.states import AfterScrub, Severity, VolumeState
from clonepool.errors import FailedPrecondition
from clonepool.store import events, pools, scrub_records, scrubs, volumes
from clonepool.store.scrubs import Order
from clonepool.store.writer import Transaction
from clonepool.units import format_duration, format_size

log = logging.getLogger(__name__)
# a deleted pool can't be named any more: what could not be scrubbed is tried again by itself
_TRY_AGAIN_S = 600.0


class Scrub:
    """The use cases of scrubbing, and the decision to start a run."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._told_of_window: set[str] = set()

    def start(self, *, pool: str) -> ScrubRun | None:
        """Scrub what is released in ``pool`` (name), and what is faulty; None when nothing is.

        Windows do not hold it up; what can still be undone is left alone.
        """
        with self._context.state.read() as session:
            found = pools.get(session, ref=Ref(name=pool), now=self._context.now())
        order = self._order(found, "demand", faulty_before=self._context.now())
        run_id = self._start(found, order, message="asked for")
        return self.get_run(ref=Ref(id=run_id)) if run_id else None

    def plan(self, pool: ReplicaPool) -> bool:
        """Start a run when one is due and a window is open; whether one was started."""
        if not pool.counts.of(VolumeState.RELEASED):
            return False
        order = self._order(pool, "threshold")
        now = self._context.now()
        with self._context.state.read() as session:
            backlog = scrubs.backlog(
                session, pool_id=pool.id, undo_before=order.undo_before, now=now
            )
        trigger = scrub_trigger(pool.spec.scrub, backlog)
        if not trigger:
            self._told_of_window.discard(pool.id)
            return False
        text = _why(pool, trigger, backlog)
        if not windows.is_open(pool.spec.scrub.windows, at=now):
            self._put_off(pool, text)
            return False
        self._told_of_window.discard(pool.id)
        return self._start(pool, self._order(pool, trigger), message=text) is not None

    def _put_off(self, pool: ReplicaPool, why: str) -> None:
        if pool.id in self._told_of_window:
            return
        self._told_of_window.add(pool.id)
        opens = windows.next_opening(pool.spec.scrub.windows, at=self._context.now())
        at = datetime.fromtimestamp(opens, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
        self._context.tell(
            subject=f"pool/{pool.spec.name}",
            reason="SCRUB_PUT_OFF",
            message=f"a scrub is due and waits for its window, which opens at {at}: {why}",
        )

    def start_for_space(self, pool: ReplicaPool, figures: str) -> bool:
        """Scrub early, windows or not: a pool must not starve on its own released volumes.

        False where none may be taken: what can still be undone is left alone.
        """
        order = self._order(pool, "low_space")
        return self._start(pool, order, message=f"early, for space: {figures}") is not None

    def start_for_deletion(self, pool: ReplicaPool) -> None:
        """Scrub what a deleted pool left; what could not be scrubbed is tried now and then."""
        before = self._context.now() - _TRY_AGAIN_S
        with self._context.state.read() as session:
            due = scrubs.has_faulty(session, pool_id=pool.id, before=before)
        if due or pool.counts.of(VolumeState.RELEASED):
            # nothing can come back into a pool that is no more
            order = Order(
                trigger="deletion",
                method=pool.spec.scrub.method,
                verify=pool.spec.scrub.verify,
                undo_before=math.inf,
                faulty_before=before,
            )
            self._start(pool, order, message="the pool was deleted")

    def start_one(self, *, volume_id: str, after: AfterScrub) -> ScrubRun | None:
        """Scrub one faulty volume again, to be reused if it can be, or to be destroyed.

        One that is being scrubbed already: its run. Gone, and to be destroyed: None. Raises
        NotFound, FailedPrecondition for one that is not faulty.
        """
        with self._context.state.read() as session:
            volume = volumes.find(session, volume_id=volume_id)
            if volume is None and after is AfterScrub.DESTROY:
                return None
            volume = volume or volumes.get(session, volume_id=volume_id)
            pool, _live = pools.get_any(session, pool_id=volume.pool_id, now=self._context.now())
        if volume.state is VolumeState.SCRUBBING and volume.scrub_run_id:
            return self.get_run(ref=Ref(id=volume.scrub_run_id))
        if volume.state is not VolumeState.FAULTY:
            text = (
                f"volume {volume_id} is {volume.state}, not faulty; released ones are scrubbed by "
                f"`clonepool scrub run {volume.pool_name}`"
            )
            raise FailedPrecondition(text, reason="NOT_FAULTY")
        trigger = "destroy" if after is AfterScrub.DESTROY else "retry"
        run_id = self._start_one(pool, volume_id, self._order(pool, trigger), after)
        if run_id is None:
            text = f"volume {volume_id} never held a user's bytes, so there is nothing to erase"
            raise FailedPrecondition(text, reason="NOT_FAULTY")
        return self.get_run(ref=Ref(id=run_id))

    def _start_one(
        self, pool: ReplicaPool, volume_id: str, order: Order, after: AfterScrub
    ) -> str | None:
        def change(transaction: Transaction) -> str | None:
            now = self._context.now()
            counts = pools.counts(transaction.session, pool_id=pool.id, now=now)
            reusable = after is AfterScrub.RECYCLE and self._quota(pool, counts, transaction) > 0
            run_id = scrubs.start_one(
                transaction,
                pool=pool,
                volume_id=volume_id,
                after=AfterScrub.RECYCLE if reusable else AfterScrub.DESTROY,
                order=order,
                now=now,
            )
            if run_id is not None:
                text = f"volume {volume_id} was faulty: {order.trigger}"
                self._tell(transaction, pool, 1, text, early=False)
            return run_id

        run_id = self._context.state.write(change)
        self._context.signals.work.set()
        return run_id

    def _order(self, pool: ReplicaPool, trigger: str, *, faulty_before: float = 0) -> Order:
        policy = pool.spec.scrub
        undo_before = math.inf
        if policy.undo_window_s:
            undo_before = self._context.now() - policy.undo_window_s
        return Order(
            trigger=trigger,
            method=policy.method,
            verify=policy.verify,
            undo_before=undo_before,
            faulty_before=faulty_before,
        )

    def _start(self, pool: ReplicaPool, order: Order, *, message: str) -> str | None:
        def change(transaction: Transaction) -> str | None:
            now = self._context.now()
            counts = pools.counts(transaction.session, pool_id=pool.id, now=now)
            run_id = scrubs.start(
                transaction,
                pool=pool,
                order=order,
                recycle=self._quota(pool, counts, transaction),
                now=now,
            )
            if run_id is not None:
                count = scrubs.get_run(transaction.session, run_id=run_id).volumes
                early = order.trigger == "low_space"
                self._tell(transaction, pool, count, message, early=early)
            return run_id

        run_id = self._context.state.write(change)
        self._context.signals.work.set()
        return run_id

    def _quota(self, pool: ReplicaPool, counts: PoolCounts, transaction: Transaction) -> int:
        live = pools.is_live(transaction.session, pool_id=pool.id)
        if not live or pools.wanted_version(transaction.session, pool_id=pool.id) is None:
            return 0
        at_most = counts.of(VolumeState.RELEASED, VolumeState.FAULTY)
        return recycle_quota(pool.spec, Stock.of(counts), released=at_most)

    def _tell(
        self,
        transaction: Transaction,
        pool: ReplicaPool,
        count: int,
        message: str,
        *,
        early: bool,
    ) -> None:
        events.add(
            transaction,
            now=self._context.now(),
            subject=f"pool/{pool.spec.name}",
            reason="SCRUB_STARTED",
            message=f"scrubbing {count} volumes by {pool.spec.scrub.method}: {message}",
            severity=Severity.WARNING if early else Severity.INFO,
        )

    def get_run(self, *, ref: Ref) -> ScrubRun:
        """One run by id. Raises NotFound."""
        with self._context.state.read() as session:
            return scrubs.get_run(session, run_id=ref.id)

    def list_runs(self, *, page: PageRequest, pool: str = "") -> tuple[Sequence[ScrubRun], str]:
        """Newest first."""
        with self._context.state.read() as session:
            return scrubs.list_runs(session, page=page, pool=pool)

    def list_records(
        self, *, page: PageRequest, pool: str = "", volume_id: str = ""
    ) -> tuple[Sequence[ScrubRecord], str]:
        """Newest first."""
        with self._context.state.read() as session:
            return scrub_records.list_page(session, page=page, pool=pool, volume_id=volume_id)


def _why(pool: ReplicaPool, trigger: str, backlog: Backlog) -> str:
    policy = pool.spec.scrub
    if trigger == "bytes":
        size, limit = format_size(backlog.size_bytes), format_size(policy.max_bytes)
        return f"{backlog.volumes} released hold {size}, max_bytes is {limit}"
    if trigger == "age":
        age, limit = format_duration(backlog.oldest_age_s), format_duration(policy.max_age_s)
        return f"the oldest was released {age} ago, max_age is {limit}"
    return f"{backlog.volumes} released, the threshold is {policy.threshold}"
