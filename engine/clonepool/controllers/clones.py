"""The work behind pools: making a replica ready, deleting one. Only this writes READY."""

from __future__ import annotations

from clonepool.controllers.context import Context
from clonepool.controllers.exports import Exports
from clonepool.controllers.worker import Control, Finish
from clonepool.crash_points import Point, reach
from clonepool.domain.model import Operation, Volume
from clonepool.domain.nodes import is_any
from clonepool.domain.policy import MAX_POOL_FAILURES, backoff_s
from clonepool.domain.states import Severity, VolumeState
from clonepool.errors import STORAGE_FULL, ClonepoolError, Unavailable
from clonepool.store import clone_work, events, operations, pools, volumes
from clonepool.store.clone_work import CloneWork
from clonepool.store.writer import Transaction


def _nothing(_transaction: Transaction) -> None:
    """Write nothing with the operation's end."""


class CloneVolume:
    """planned -> cloning -> ready: clone, export (nobody admitted), then ready."""

    def __init__(self, context: Context, exports: Exports) -> None:
        self._context = context
        self._exports = exports

    def begin(self, transaction: Transaction, operation: Operation) -> None:
        """Move the volume on to cloning, here; one that is elsewhere is left alone."""
        transaction.sql(
            "UPDATE volume SET state = 'cloning', changed_at = ? "
            "WHERE id = ? AND state = 'planned'",
            (self._context.now(), operation.key),
        )
        if is_any(operation.node):
            transaction.sql(
                "UPDATE volume SET node = ? WHERE id = ? AND state = 'cloning'",
                (self._context.state.node, operation.key),
            )

    def run(self, operation: Operation, control: Control) -> Finish:
        """Make the volume ready; one that nobody wants any more is deleted instead."""
        with self._context.state.read() as session:
            work = clone_work.find(session, volume_id=operation.key)
        if work is None or work.volume.state is not VolumeState.CLONING:
            return _nothing
        volume = work.volume
        if not work.is_wanted:
            return self._given_up(volume)
        kind, used_bytes = self._clone(work, control)
        reach(Point.CLONE_MADE)
        fabric = self._context.drivers.fabric(volume.fabric)
        incarnation = fabric.incarnation()
        fabric.export(self._exports.of_volume(volume, work.read_only))
        return self._ready(volume, kind=kind, used_bytes=used_bytes, incarnation=incarnation)

    def _given_up(self, volume: Volume) -> Finish:
        return lambda transaction: volumes.delete_later(
            transaction, volume=volume, now=self._context.now()
        )

    def _clone(self, work: CloneWork, control: Control) -> tuple[str, int]:
        image, volume = work.writable, work.volume
        if image is None:
            return "", 0
        backend = self._context.drivers.backend(volume.storage)
        mode = backend.clone(
            image=image.object_name,
            name=volume.object_name,
            mode=work.mode,
            progress=lambda done_bytes: control.progress(done_bytes, image.size_bytes),
        )
        return mode.value, backend.stat(name=volume.object_name).used_bytes

    def _ready(self, volume: Volume, *, kind: str, used_bytes: int, incarnation: str) -> Finish:
        def finish(transaction: Transaction) -> None:
            if not self._exports.holds_since(volume.fabric, incarnation):
                text = f"fabric {volume.fabric} was restarted; the export is made once more"
                raise Unavailable(text)
            volumes.move(
                transaction,
                volume=volume,
                to=VolumeState.READY,
                now=self._context.now(),
                clone_kind=kind,
                used_bytes=used_bytes,
                error="",
            )
            pools.note_success(transaction, pool_id=volume.pool_id, clone_kind=kind)

        return finish

    def failed(
        self, transaction: Transaction, operation: Operation, error: ClonepoolError
    ) -> float | None:
        """Try again later; after repeated failures the pool stops, visibly, until it is reset."""
        volume = volumes.find(transaction.session, volume_id=operation.key)
        if volume is None or volume.state is not VolumeState.CLONING:
            return None
        now = self._context.now()
        transaction.sql("UPDATE volume SET error = ? WHERE id = ?", (str(error), volume.id))
        if not pools.is_live(transaction.session, pool_id=volume.pool_id):
            return now
        if isinstance(error, Unavailable) or error.reason == STORAGE_FULL:
            # what is away or full comes back by itself, and then the pool must fill by itself
            return now + backoff_s(attempt=operation.attempt)
        failures = pools.note_failure(transaction, pool_id=volume.pool_id)
        if failures < MAX_POOL_FAILURES:
            return now + backoff_s(attempt=operation.attempt)
        if pools.stop(transaction, pool_id=volume.pool_id, reason=str(error)):
            text = (
                f"pool {volume.pool_name} stopped filling after {failures} failures in a row: "
                f"{error}; mend that, then run `clonepool pool reset {volume.pool_name}`"
            )
            events.add(
                transaction,
                now=now,
                subject=f"pool/{volume.pool_name}",
                reason="POOL_STOPPED",
                message=text,
                severity=Severity.ERROR,
            )
        operations.defer_of_pool(transaction, pool_id=volume.pool_id, run_after=operations.NEVER)
        return operations.NEVER


class DeleteVolume:
    """deleting -> gone: unexport, delete the object, forget the row."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def begin(self, transaction: Transaction, operation: Operation) -> None:
        """The state was written with the operation."""

    def run(self, operation: Operation, control: Control) -> Finish:  # noqa: ARG002 - Work's shape
        """Delete the volume; absent parts are fine."""
        with self._context.state.read() as session:
            volume = volumes.find(session, volume_id=operation.key)
        if volume is None or volume.state is not VolumeState.DELETING:
            return _nothing
        self._context.drivers.fabric(volume.fabric).unexport(volume.target)
        reach(Point.DELETE_UNEXPORTED)
        if not volume.slot:
            self._context.drivers.backend(volume.storage).delete(name=volume.object_name)
        return lambda transaction: volumes.forget(transaction, volume_id=volume.id)

    def failed(
        self, transaction: Transaction, operation: Operation, error: ClonepoolError
    ) -> float | None:
        """Never given up on: it would hold space that nothing lists."""
        transaction.sql("UPDATE volume SET error = ? WHERE id = ?", (str(error), operation.key))
        return self._context.now() + backoff_s(attempt=operation.attempt)
