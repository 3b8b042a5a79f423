"""Does the queued operations: claims what is due, runs it, reports the end with the new state."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from clonepool.controllers.context import Context
from clonepool.crash_points import Point, reach
from clonepool.domain.model import Operation
from clonepool.domain.nodes import work_place
from clonepool.domain.states import OperationState
from clonepool.errors import Aborted, Cancelled, ClonepoolError, Internal
from clonepool.store import operations
from clonepool.store.writer import Transaction

log = logging.getLogger(__name__)
# written in one transaction with the operation's end
Finish = Callable[[Transaction], None]
# progress is a durable write: not more often than that
_PROGRESS_INTERVAL_S = 0.5
_IDLE_S = 1.0


class Control:
    """What running work may ask and tell: progress out, the wish to stop in."""

    def __init__(self, context: Context, operation: Operation, stopping: threading.Event) -> None:
        self._context = context
        self._operation = operation
        self._stopping = stopping
        # what is done sooner than the first note is due needs none: its end is written at once
        self._written_at = context.now()

    def progress(self, done_bytes: int, total_bytes: int) -> None:
        """Note progress, now and then; raises Cancelled when the work was asked to stop."""
        reach(Point.WORK_UNDER_WAY, self._operation.kind)
        if self._stopping.is_set():
            raise Cancelled("the engine is shutting down; the work goes on when it starts again")
        if not self._context.nodes.takes_work:
            raise Cancelled("the node is draining; the work goes on at another one, or later")
        if self._operation.cancel:
            raise self._cancelled()
        now = self._context.now()
        if abs(now - self._written_at) < _PROGRESS_INTERVAL_S:
            return
        self._written_at = now
        asked_to_stop = self._context.state.write(
            lambda transaction: operations.progress(
                transaction,
                operation=self._operation,
                done_bytes=done_bytes,
                total_bytes=total_bytes,
            )
        )
        if asked_to_stop:
            raise self._cancelled()

    def pause(self, seconds: float) -> None:
        """Wait, so that others come first; less where the engine is shutting down."""
        self._stopping.wait(seconds)

    def _cancelled(self) -> Cancelled:
        return Cancelled(f"{self._operation.kind} of {self._operation.subject} was cancelled")


class Work(Protocol):
    """One kind of operation."""

    def begin(self, transaction: Transaction, operation: Operation) -> None:
        """Write the intent, in the transaction that claims the operation."""

    def run(self, operation: Operation, control: Control) -> Finish:
        """Do it; repeatable from any point. Returns what to write with the end."""

    def failed(
        self, transaction: Transaction, operation: Operation, error: ClonepoolError
    ) -> float | None:
        """Note a failure; returns when to try again, None to give up."""


class Worker:
    """A dispatcher thread and a few worker threads; stops between steps, never inside one."""

    def __init__(
        self,
        context: Context,
        kinds: Mapping[str, Work],
        beat: Callable[[Transaction], None] = lambda _transaction: None,
    ) -> None:
        self._context = context
        self._kinds = kinds
        self._beat = beat
        self._owner = f"{context.state.node}/{uuid.uuid4()}"
        # what is bound to this node, and what any node can do that has the storage
        hostless = context.drivers.hostless_storages()
        self._places = (
            context.state.node,
            *(work_place(node="", storage=name) for name in hostless),
        )
        self._slots = context.settings.workers
        self._lease_s = context.settings.node_lease_s
        self._running: dict[str, Operation] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._executor = ThreadPoolExecutor(self._slots, thread_name_prefix="worker")
        self._dispatcher = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Take over what an earlier incarnation left running, then begin."""
        state = self._context.state
        state.write(
            lambda transaction: operations.requeue_of_dead_owner(
                transaction, places=self._places, owner=self._owner
            )
        )
        self._dispatcher.start()

    def stop(self) -> None:
        """Ask running work to stop at its next progress and wait for it."""
        self._stopping.set()
        self._context.signals.work.set()
        if self._dispatcher.is_alive():
            self._dispatcher.join()
        self._executor.shutdown(wait=True)

    def _dispatch(self) -> None:
        beat_at = 0.0
        while not self._stopping.is_set():
            self._context.signals.work.clear()
            try:
                claimed = self._claim()
                # a clock that was set back must not end the beat
                if abs(self._context.now() - beat_at) > self._lease_s / 3:
                    beat_at = self._context.now()
                    self._renew()
                idle_s = 0.0 if claimed else self._idle_s()
            except ClonepoolError as error:
                log.warning("operations can't be claimed: %s", error)
                idle_s = _IDLE_S
            if idle_s:
                self._context.signals.work.wait(idle_s)

    def _claim(self) -> int:
        with self._lock:
            free = self._slots - len(self._running)
        if free <= 0 or not self._context.nodes.takes_work or not self._is_due():
            return 0
        taken = self._context.state.write(
            lambda transaction: self._claim_in(transaction, limit=free)
        )
        for operation in taken:
            self._note_running(operation)
            self._executor.submit(self._run, operation)
        return len(taken)

    def _claim_in(
        self, transaction: Transaction, *, limit: int, ended: Operation | None = None
    ) -> list[Operation]:
        taken = operations.claim_due(
            transaction,
            places=self._places,
            owner=self._owner,
            now=self._context.now(),
            limit=limit,
            scrubs=self._free_scrubs(ended),
            lease_s=self._lease_s,
        )
        for operation in taken:
            self._kinds[operation.kind].begin(transaction, operation)
        return taken

    def _free_scrubs(self, ended: Operation | None = None) -> int:
        """How many scrubs more may run: they must not keep clones from being made."""
        with self._lock:
            running = sum(
                operation.kind == operations.SCRUB and operation is not ended
                for operation in self._running.values()
            )
        return max(0, self._context.settings.most_scrubs - running)

    def _note_running(self, operation: Operation) -> None:
        with self._lock:
            self._running[operation.id] = operation

    def _is_due(self) -> bool:
        due_at = self._next_due_at()
        return due_at is not None and due_at <= self._context.now()

    def _next_due_at(self) -> float | None:
        with self._context.state.read() as session:
            return operations.next_due_at(
                session, places=self._places, scrubs=self._free_scrubs() > 0
            )

    def _idle_s(self) -> float:
        with self._lock:
            if len(self._running) >= self._slots or not self._context.nodes.takes_work:
                return _IDLE_S
        due_at = self._next_due_at()
        if due_at is None:
            return _IDLE_S
        return min(_IDLE_S, max(0.0, due_at - self._context.now()))

    def _renew(self) -> None:
        with self._lock:
            running = list(self._running)

        def change(transaction: Transaction) -> None:
            now = self._context.now()
            operations.renew(
                transaction,
                operation_ids=running,
                owner=self._owner,
                now=now,
                lease_s=self._lease_s,
            )
            operations.requeue_expired(transaction, places=self._places, now=now)
            operations.bring_forward(transaction, places=self._places, now=now)
            self._beat(transaction)

        self._context.state.write(change)

    def _run(self, operation: Operation) -> None:
        """Run an operation, and then what is due next: its claim shares the end's commit."""
        following: Operation | None = operation
        while following is not None:
            operation = following
            following = None
            try:
                following = self._run_one(operation)
            except ClonepoolError as error:
                # the row is as it was: its lease runs out and it is queued again
                log.warning("%s of %s: %s", operation.kind, operation.subject, error)
            finally:
                with self._lock:
                    self._running.pop(operation.id, None)
                if following is not None:
                    self._note_running(following)
                self._context.signals.changed()

    def _run_one(self, operation: Operation) -> Operation | None:
        work = self._kinds[operation.kind]
        reach(Point.WORK_CLAIMED, operation.kind)
        try:
            finish = work.run(operation, Control(self._context, operation, self._stopping))
            reach(Point.WORK_DONE, operation.kind)
            return self._end(operation, finish)
        except Aborted:
            raise
        except Cancelled as error:
            return self._cancelled(work, operation, error)
        except ClonepoolError as error:
            return self._fail(work, operation, error)
        except Exception as error:
            log.exception("%s of %s failed", operation.kind, operation.subject)
            return self._fail(work, operation, Internal(f"{type(error).__name__}: {error}"))

    def _write_and_claim(self, change: Finish, *, ended: Operation) -> Operation | None:
        def both(transaction: Transaction) -> Operation | None:
            change(transaction)
            if self._stopping.is_set() or not self._context.nodes.takes_work:
                return None
            taken = self._claim_in(transaction, limit=1, ended=ended)
            return taken[0] if taken else None

        return self._context.state.write(both)

    def _end(self, operation: Operation, finish: Finish) -> Operation | None:
        def change(transaction: Transaction) -> None:
            finish(transaction)
            operations.end(
                transaction,
                operation=operation,
                state=OperationState.DONE,
                now=self._context.now(),
            )

        return self._write_and_claim(change, ended=operation)

    def _cancelled(self, work: Work, operation: Operation, error: Cancelled) -> Operation | None:
        reach(Point.WORK_STOPPED, operation.kind)

        def change(transaction: Transaction) -> None:
            if self._stopping.is_set() or not self._context.nodes.takes_work:
                operations.put_back(transaction, operation=operation, run_after=0.0, error="")
                return
            work.failed(transaction, operation, error)
            operations.end(
                transaction,
                operation=operation,
                state=OperationState.CANCELLED,
                now=self._context.now(),
                error=str(error),
            )

        return self._write_and_claim(change, ended=operation)

    def _fail(self, work: Work, operation: Operation, error: ClonepoolError) -> Operation | None:
        log.warning("%s of %s: %s", operation.kind, operation.subject, error)
        reach(Point.WORK_FAILED, operation.kind)

        def change(transaction: Transaction) -> None:
            again_at = work.failed(transaction, operation, error)
            if again_at is not None:
                operations.put_back(
                    transaction, operation=operation, run_after=again_at, error=str(error)
                )
                return
            operations.end(
                transaction,
                operation=operation,
                state=OperationState.FAILED,
                now=self._context.now(),
                error=str(error),
            )

        return self._write_and_claim(change, ended=operation)
