"""Scrub runs: started at the threshold, on demand, for space or behind a deletion."""

from __future__ import annotations

from collections.abc import Sequence

from clonepool.controllers.context import Context
from clonepool.domain.model import PageRequest, PoolCounts, Ref, ReplicaPool, ScrubRecord, ScrubRun
from clonepool.domain.policy import Stock, recycle_quota, scrub_due
from clonepool.domain.states import Severity, VolumeState
from clonepool.store import events, pools, scrubs
from clonepool.store.writer import Transaction

# a deleted pool can't be named any more: what could not be scrubbed is tried again by itself
_TRY_AGAIN_S = 600.0


class Scrub:
    """The use cases of scrubbing, and the decision to start a run."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def start(self, *, pool: str) -> ScrubRun | None:
        """Scrub what is released in ``pool`` (name), and what is faulty; None when nothing is."""
        with self._context.state.read() as session:
            found = pools.get(session, ref=Ref(name=pool), now=self._context.now())
        run_id = self._start(
            found, trigger="demand", message="asked for", faulty_before=self._context.now()
        )
        return self.get_run(ref=Ref(id=run_id)) if run_id else None

    def plan(self, pool: ReplicaPool) -> bool:
        """Start a run when the threshold is reached; whether one was started."""
        released = pool.counts.of(VolumeState.RELEASED)
        if not scrub_due(pool.spec.scrub, released=released):
            return False
        text = f"{released} released, the threshold is {pool.spec.scrub.threshold}"
        return self._start(pool, trigger="threshold", message=text) is not None

    def start_for_space(self, pool: ReplicaPool, figures: str) -> None:
        """Scrub early: a pool must not starve on its own released volumes."""
        self._start(pool, trigger="low_space", message=f"early, for space: {figures}")

    def start_for_deletion(self, pool: ReplicaPool) -> None:
        """Scrub what a deleted pool left; what could not be scrubbed is tried now and then."""
        before = self._context.now() - _TRY_AGAIN_S
        with self._context.state.read() as session:
            due = scrubs.has_faulty(session, pool_id=pool.id, before=before)
        if due or pool.counts.of(VolumeState.RELEASED):
            self._start(
                pool, trigger="deletion", message="the pool was deleted", faulty_before=before
            )

    def _start(
        self, pool: ReplicaPool, *, trigger: str, message: str, faulty_before: float = 0
    ) -> str | None:
        def change(transaction: Transaction) -> str | None:
            now = self._context.now()
            counts = pools.counts(transaction.session, pool_id=pool.id, now=now)
            run_id = scrubs.start(
                transaction,
                pool=pool,
                trigger=trigger,
                recycle=self._quota(pool, counts, transaction),
                faulty_before=faulty_before,
                node=self._context.state.node,
                now=now,
            )
            if run_id is not None:
                count = scrubs.get_run(transaction.session, run_id=run_id).volumes
                self._tell(transaction, pool, count, message, early=trigger == "low_space")
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
            return scrubs.list_records(session, page=page, pool=pool, volume_id=volume_id)
