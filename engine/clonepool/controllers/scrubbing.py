"""The work behind a scrub run: erase one generation of a volume, record it, reuse or destroy."""

from __future__ import annotations

from clonepool import windows
from clonepool.controllers.context import Context
from clonepool.controllers.erasing import Erasing
from clonepool.controllers.worker import Control, Finish
from clonepool.crash_points import Point, reach
from clonepool.domain.model import ImageVersion, ReplicaPool, Volume
from clonepool.domain.nodes import work_place
from clonepool.domain.policy import KEEPS_TO_WINDOWS, MAX_SCRUB_ATTEMPTS, backoff_s
from clonepool.domain.read_back import ReadBack
from clonepool.domain.states import AfterScrub, ScrubMethod, Severity, VerifyMode, VolumeState
from clonepool.domain.work import Operation, ScrubRun
from clonepool.errors import ClonepoolError, FailedPrecondition, Unavailable
from clonepool.store import events, operations, pools, scrub_records, scrubs, volumes
from clonepool.store.writer import Transaction

# looks again so often whether a window is open: a clock that is set must not be trusted for long
_WINDOW_LOOK_S = 240.0
_OUT_OF_WINDOW = "SCRUB_WINDOW"


class ScrubVolume:
    """scrubbing -> cloning (a new generation) or deleting."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._erasing = Erasing(context)

    def begin(self, transaction: Transaction, operation: Operation) -> None:
        """The state was written with the operation."""

    def run(self, operation: Operation, control: Control) -> Finish:
        """Erase and read back; the record and the next state are written together."""
        started_at = self._context.now()
        with self._context.state.read() as session:
            volume = volumes.find(session, volume_id=operation.key)
            if volume is None or volume.state is not VolumeState.SCRUBBING:
                return lambda _transaction: None
            run = scrubs.get_run(session, run_id=volume.scrub_run_id or "")
            pool, _live = pools.get_any(session, pool_id=volume.pool_id, now=self._context.now())
            reuse = scrubs.version_for_reuse(session, volume=volume)
        self._check_window(pool, run)
        self._check_unexported(volume)
        reach(Point.SCRUB_UNEXPORTED)
        seen = self._erasing.erase(volume, run, control, reuse=reuse, mode=pool.spec.clone_mode)
        return lambda transaction: self._finish(
            transaction, volume, run, seen, made=_made(run, reuse), started_at=started_at
        )

    def _check_window(self, pool: ReplicaPool, run: ScrubRun) -> None:
        """What nobody waits for is put off: the volume at hand is finished, no other begun."""
        now = self._context.now()
        if run.trigger not in KEEPS_TO_WINDOWS or windows.is_open(pool.spec.scrub.windows, at=now):
            return
        opens_s = windows.next_opening(pool.spec.scrub.windows, at=now) - now
        text = f"pool {pool.spec.name} is scrubbed in its windows only; the next opens later"
        raise Unavailable(text, reason=_OUT_OF_WINDOW, retry_after_s=min(_WINDOW_LOOK_S, opens_s))

    def _check_unexported(self, volume: Volume) -> None:
        # a volume is released only without export; one found here is a defect, not a chance
        fabric = self._context.drivers.fabric(volume.fabric)
        sessions = fabric.sessions(volume.target)
        if sessions:
            text = f"volume {volume.id} is still in use by {sessions[0].initiator}; not scrubbed"
            raise FailedPrecondition(text, reason="STILL_EXPORTED")
        fabric.unexport(volume.target)

    def _finish(
        self,
        transaction: Transaction,
        volume: Volume,
        run: ScrubRun,
        seen: ReadBack,
        *,
        made: ImageVersion | None,
        started_at: float,
    ) -> None:
        now = self._context.now()
        version = scrubs.version_for_reuse(transaction.session, volume=volume)
        if made is not None and (version is None or version.id != made.id):
            text = f"what volume {volume.id} is to be next changed while it was read back"
            raise Unavailable(text, reason="VERSION_CHANGED", retry_after_s=0)
        after = AfterScrub.DESTROY if version is None else AfterScrub.RECYCLE
        scrub_records.record(
            transaction,
            volume=volume,
            method=run.method,
            after=after,
            read_back=seen,
            started_at=started_at,
            now=now,
        )
        if version is None:
            volumes.delete_later(transaction, volume=volume, now=now)
        else:
            self._recycle(transaction, volume, version, now)
        self._count(transaction, volume, run, outcome=after.value, now=now)

    def _recycle(
        self, transaction: Transaction, volume: Volume, version: ImageVersion, now: float
    ) -> None:
        volumes.move(
            transaction,
            volume=volume,
            to=VolumeState.CLONING,
            now=now,
            generation=volume.generation + 1,
            image_version_id=version.id,
            storage=version.storage,
            slot=version.writable is None,
            size_bytes=version.writable.size_bytes if version.writable else 0,
            used_bytes=0,
            scrub_run_id=None,
            read_back="",
            error="",
        )
        # what any node can clone, any may
        place = work_place(node=version.node and volume.node, storage=version.storage)
        operations.add_for_volume(
            transaction, kind="clone_volume", volume_id=volume.id, node=place, now=now
        )

    def _count(
        self,
        transaction: Transaction,
        volume: Volume,
        run: ScrubRun,
        *,
        outcome: str,
        now: float,
    ) -> None:
        if not scrubs.count_outcome(transaction, run_id=run.id, outcome=outcome, now=now):
            return
        done = scrubs.get_run(transaction.session, run_id=run.id)
        text = (
            f"scrubbed {done.scrubbed} of {done.volumes} volumes by {done.method}: "
            f"{done.recycled} to be ready again, {done.destroyed} destroyed, {done.faulty} faulty"
        )
        events.add(
            transaction,
            now=now,
            subject=f"pool/{volume.pool_name}",
            reason="SCRUB_FINISHED",
            message=text,
            severity=Severity.ERROR if done.faulty else Severity.INFO,
        )

    def failed(
        self, transaction: Transaction, operation: Operation, error: ClonepoolError
    ) -> float | None:
        """Try again; in the end the volume is faulty: visible, and never handed out."""
        now = self._context.now()
        volume = volumes.find(transaction.session, volume_id=operation.key)
        if volume is None or volume.state is not VolumeState.SCRUBBING:
            return None
        if error.reason == _OUT_OF_WINDOW:
            operations.forget_attempts(transaction, operation=operation)
            return now + (error.retry_after_s or _WINDOW_LOOK_S)
        transaction.sql("UPDATE volume SET error = ? WHERE id = ?", (str(error), volume.id))
        # what is away comes back by itself: no reason to give the volume up
        if operation.attempt < MAX_SCRUB_ATTEMPTS or isinstance(error, Unavailable):
            return now + backoff_s(attempt=operation.attempt)
        run = scrubs.get_run(transaction.session, run_id=volume.scrub_run_id or "")
        volumes.move(transaction, volume=volume, to=VolumeState.FAULTY, now=now, error=str(error))
        events.add(
            transaction,
            now=now,
            subject=f"volume/{volume.id}",
            reason="SCRUB_FAILED",
            message=(
                f"can't be scrubbed and is faulty: {error}; mend that, then run "
                f"`clonepool volume retry {volume.id}`, `clonepool volume destroy {volume.id}`, or "
                f"`clonepool scrub run {volume.pool_name}` for all of the pool"
            ),
            severity=Severity.ERROR,
        )
        self._count(transaction, volume, run, outcome="faulty", now=now)
        return None


def _made(run: ScrubRun, reuse: ImageVersion | None) -> ImageVersion | None:
    """What the next generation was made of already, to be read back."""
    reformatted = run.method is ScrubMethod.REFORMAT and run.verify is not VerifyMode.NONE
    return reuse if reformatted else None
