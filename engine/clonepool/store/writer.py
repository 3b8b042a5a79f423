"""The one writer: every change runs on one thread, those that wait share one durable commit."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from sqlmodel import Session

from clonepool.crash_points import Point, reach
from clonepool.errors import DATABASE_AWAY, Aborted, ClonepoolError, Unavailable
from clonepool.store.connections import Cursor, StateDatabase, WritingConnection
from clonepool.store.high_water import HighWater

Result = TypeVar("Result")
Row = tuple[str, tuple[Any, ...]]  # the statement up to its values, and these
# one commit carries at most so many changes: bounds the wait of the first of them
_MAX_GROUP = 64
# a deferred change waits at most so long for a commit to share
_DEFER_S = 0.05
# a change that others disturbed is tried so often
_ATTEMPTS = 3


class Transaction:
    """What a change works with: raw SQL for the hot path, a session for everything else."""

    def __init__(self, connection: WritingConnection) -> None:
        self._connection = connection
        self._raw = connection.raw
        self._execute = connection.execute
        self._session: Session | None = None
        self.appended: list[Row] = []

    def append(self, insert: str, row: Sequence[Any]) -> None:
        """Insert a row that nothing in this change reads, with those of the whole group.

        ``insert`` is the statement up to its values. In the same commit, but by one statement:
        after each the writer has to get Python's global lock back.
        """
        self.appended.append((insert, tuple(row)))

    def sql(self, statement: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> Cursor:
        """Run one statement by hand; changes made through the session are flushed first.

        Values stand as ``?`` or, by their names, as ``:name``. What is not the same in SQLite and
        PostgreSQL is in ``store.postgres.dialect``.
        """
        if self._session is not None:
            self._session.flush()
            self._session.expire_all()
        return self._execute(statement, parameters)

    @property
    def session(self) -> Session:
        """The session of this change, made on first use.

        It has a savepoint of its own: a flush that fails rolls back, and must not take the other
        changes of the group with it.
        """
        if self._session is None:
            self._session = Session(
                self._connection.sqlalchemy,
                join_transaction_mode="create_savepoint",
                expire_on_commit=False,
            )
        return self._session

    def finish(self) -> None:
        """Write what the session still holds."""
        if self._session is not None:
            self._session.commit()
            self._session.close()

    def discard(self) -> None:
        """Forget what the session still holds."""
        if self._session is not None:
            self._session.close()


Change = Callable[[Transaction], Result]


@dataclass(frozen=True, kw_only=True)
class Outage:
    """A time during which the database took no change, and what it said."""

    lasted_s: float
    text: str


class _Job(Generic[Result]):
    """A change, the future of its result, and the outcome until the group is committed."""

    def __init__(self, change: Change[Result]) -> None:
        self.change = change
        self.future: Future[Result] = Future()
        self.outcome: Callable[[], None] = lambda: None


class Writer:
    """Runs changes one after the other; each is all or nothing, and durable when it answers."""

    high_water: HighWater | None = None
    """Where each commit is noted outside of the database."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database
        self._queue: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._deferred: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._closed = False
        self._refused: tuple[float, str] | None = None
        self._outage: Outage | None = None
        # nothing may be queued behind the end: it would never be answered
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def write(self, change: Change[Result]) -> Result:
        """Run ``change`` in a transaction and wait until it is durable.

        Its own errors come back as they are (its part is rolled back, the group's rest is not);
        a broken invariant raises Aborted, a database that does not take the commit Unavailable.
        """
        return self.submit(change).result()

    def submit(self, change: Change[Result]) -> Future[Result]:
        """The same without waiting."""
        return self._put(self._queue, change)

    def defer(self, change: Change[Result]) -> Future[Result]:
        """The same for what nobody waits for: it shares the next commit rather than ask for one."""
        return self._put(self._deferred, change)

    def _put(
        self, jobs: queue.SimpleQueue[_Job[Any] | None], change: Change[Result]
    ) -> Future[Result]:
        job = _Job(change)
        with self._closing:
            if self._closed:
                raise Unavailable("the engine is shutting down; try again", retry_after_s=1)
            jobs.put(job)
        return job.future

    def take_outage(self) -> Outage | None:
        """The last time that the database took no change, once it is over; each is given once."""
        outage, self._outage = self._outage, None
        return outage

    def close(self) -> None:
        """Finish what was submitted and end the thread."""
        with self._closing:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.closing(self._database.writing()) as connection:
            while True:
                jobs, last = self._next_group()
                if jobs:
                    self._run_group(connection, jobs)
                if last:
                    return

    def _next_group(self) -> tuple[list[_Job[Any]], bool]:
        """Deferred jobs first: they are older than what they share the commit with."""
        urgent, last = self._urgent()
        return [*_drained(self._deferred), *urgent], last

    def _urgent(self) -> tuple[list[_Job[Any]], bool]:
        jobs: list[_Job[Any]] = []
        try:
            job = self._queue.get(timeout=_DEFER_S)
            while job is not None:
                jobs.append(job)
                if len(jobs) == _MAX_GROUP:
                    return jobs, False
                job = self._queue.get_nowait()
        except queue.Empty:
            return jobs, False
        return jobs, True

    def _run_group(self, connection: WritingConnection, jobs: list[_Job[Any]]) -> None:
        began_at = time.monotonic()
        try:
            connection.begin()
            appended = [row for job in jobs for row in _run_job(connection, job)]
            _insert(connection, appended)
            commits = self.high_water.count(connection) if self.high_water else 0
            reach(Point.COMMITTING)
            connection.commit()
            if self.high_water:
                self.high_water.note(commits)
            reach(Point.COMMITTED)
        except BaseException as error:  # noqa: BLE001 - every waiting caller must hear of it
            connection.end()
            self._note_refusal(connection.says(error), began_at)
            for job in jobs:
                job.future.set_exception(_translated(connection, error))
            return
        connection.end()
        self._note_success()
        for job in jobs:
            job.outcome()

    def _note_refusal(self, said: str | None, began_at: float) -> None:
        if said is not None and self._refused is None:
            self._refused = (began_at, said)

    def _note_success(self) -> None:
        if self._refused is not None:
            (began_at, text), self._refused = self._refused, None
            self._outage = Outage(lasted_s=time.monotonic() - began_at, text=text)


def _drained(jobs: queue.SimpleQueue[_Job[Any] | None]) -> list[_Job[Any]]:
    drained: list[_Job[Any]] = []
    with contextlib.suppress(queue.Empty):
        while job := jobs.get_nowait():
            drained.append(job)
    return drained


def _run_job(connection: WritingConnection, job: _Job[Any]) -> list[Row]:
    """Run one change; returns the rows that it appends, none where it failed."""
    for _attempt in range(_ATTEMPTS):
        connection.save()
        transaction = Transaction(connection)
        try:
            result = job.change(transaction)
            transaction.finish()
        except BaseException as error:
            if not connection.in_transaction:
                # the database ended it by itself, and that was the whole group
                raise
            transaction.discard()
            connection.undo()
            translated = _translated(connection, error)
            job.outcome = partial(job.future.set_exception, translated)
            if not connection.may_be_repeated(error):
                return []
        else:
            connection.keep()
            job.outcome = partial(job.future.set_result, result)
            return transaction.appended
    return []


def _insert(connection: WritingConnection, rows: Sequence[Row]) -> None:
    """Insert appended rows in their order, those of one statement together."""
    for insert, group in itertools.groupby(rows, key=lambda row: row[0]):
        connection.insert(insert, [values for _insert, values in group])


def _translated(connection: WritingConnection, error: BaseException) -> BaseException:
    said = None if isinstance(error, ClonepoolError) else connection.says(error)
    if said is None:
        return error
    if connection.is_guard(error):
        return Aborted(f"refused by the state's guards: {said}", reason="GUARD")
    text = f"the database did not take the change: {said}; try again"
    return Unavailable(text, reason=DATABASE_AWAY)
