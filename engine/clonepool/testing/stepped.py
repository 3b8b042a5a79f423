"""An engine without threads of its own: its user says what runs next, and where it dies.

Everything is the engine's own code but four threads, which are never started, and the writer's
queue: a change runs, with the writer's own transactions, on the thread that asks for it.
"""

from __future__ import annotations

import atexit
import queue
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest.mock import patch

from clonepool.backends.base import StorageBackend
from clonepool.backends.memory import MemoryBackend
from clonepool.config import DriverSettings, Settings
from clonepool.domain.model import Ref
from clonepool.domain.work import Operation
from clonepool.engine import Engine
from clonepool.errors import ClonepoolError
from clonepool.fabrics.memory import MemoryFabric
from clonepool.store import state as state_module
from clonepool.store.connections import StateDatabase
from clonepool.store.database import Database
from clonepool.store.writer import Change, Writer, _drained, _Job
from clonepool.testing.engines import FABRIC, STORAGE, GivenDrivers, ManualClock

# a folder in memory: what a commit costs on a disk is not what this is about
_SHM = Path("/dev/shm")  # noqa: S108 - a private folder is made below it


def _at_once() -> None:
    pass


class SteppedWriter(Writer):
    """The writer's transactions on the caller's thread; what is deferred joins the next one."""

    def __init__(self, database: StateDatabase) -> None:
        self._queue = queue.SimpleQueue()
        self._deferred = queue.SimpleQueue()
        self._closed = False
        self._refused = self._outage = None
        self._closing = threading.Lock()
        self._connection = database.writing()

        # others may write first: what was read before is of before
        self.before_write: Callable[[], None] = _at_once

    def submit(self, change: Change[Any]) -> Future[Any]:
        """Run it now."""
        self.before_write()
        job = _Job(change)
        self._run_group(self._connection, [*_drained(self._deferred), job])
        return job.future

    def flush(self) -> None:
        """What the passing of 50 ms does: commit what nobody waits for."""
        jobs = _drained(self._deferred)
        if jobs:
            self._run_group(self._connection, jobs)

    def close(self) -> None:
        """Commit what is deferred and let go."""
        self._closed = True
        self.flush()
        self._connection.close()

    def abandon(self) -> None:
        """What a death does."""
        self._closed = True
        self._connection.close()


class _NeverStarted:
    """In the place of a thread."""

    def start(self) -> None:
        pass

    def is_alive(self) -> bool:
        return False


@cache
def _migrated() -> Path:
    """An empty database, migrated once in this process."""
    folder = new_folder()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Database(folder / "clonepool.db").close()
    return folder / "clonepool.db"


def new_folder() -> Path:
    """A folder that the caller removes."""
    return Path(mkdtemp(prefix="cp-crash-", dir=_SHM if _SHM.is_dir() else None))


class _KeptDatabase(Database):
    """One that outlives the engines; each writes through a connection of its own."""

    def close(self) -> None:
        pass


def _keep_postgres(url: str) -> StateDatabase:
    from clonepool.store.postgres.database import (  # noqa: PLC0415 - only where the marker is
        PostgresDatabase,
    )

    class _KeptPostgres(PostgresDatabase):
        def close(self) -> None:
            pass

    return _KeptPostgres(url)


class Machine:
    """What outlives an engine that dies: the state's folder, the storage, the fabric, the time.

    The state is in SQLite in the folder, or in a migrated PostgreSQL database.
    """

    def __init__(self, *, storage: MemoryBackend, fabric: MemoryFabric, url: str = "") -> None:
        self.folder = new_folder()
        self.state_dir = self.folder / "state"
        self.state_dir.mkdir(mode=0o700)
        self.url = url
        if not url:
            shutil.copy(_migrated(), self.state_dir / "clonepool.db")
        self.clock = ManualClock()
        self.storage = storage
        self.fabric = fabric
        # opened once: to compile every statement anew for each life is most of what a life costs
        self.database: StateDatabase = (
            _keep_postgres(url) if url else _KeptDatabase(self.state_dir / "clonepool.db")
        )

    def settings(self, *, node: str = "node1") -> Settings:
        """Of every engine on this machine."""
        storage = DriverSettings(name=STORAGE, driver="memory", options={"reserve": "0%"})
        return Settings(
            state_dir=self.state_dir,
            listen="",
            node=node,
            storages={STORAGE: storage},
            fabrics={FABRIC: DriverSettings(name=FABRIC, driver="memory")},
        )

    def backends(self) -> Mapping[str, StorageBackend]:
        """Every storage by name, as ``settings`` has them."""
        return {STORAGE: self.storage}

    def remove(self) -> None:
        """Close the database and remove the folder."""
        kept: Any = self.database
        super(type(kept), kept).close()  # type: ignore[misc]
        shutil.rmtree(self.folder)


class SteppedEngine:
    """One life of an engine on a machine."""

    def __init__(self, machine: Machine, *, locked: bool = True) -> None:
        settings = machine.settings()
        drivers = GivenDrivers(
            settings, backends=machine.backends(), fabrics={FABRIC: machine.fabric}
        )
        with (
            patch.object(state_module, "Writer", SteppedWriter),
            patch.object(state_module, "Database", lambda _path: machine.database),
            _lock(taken=locked),
        ):
            self.engine = Engine.open(settings, clock=machine.clock, drivers=drivers)
        for part, thread in (
            (self.engine._exports, "_thread"),
            (self.engine._worker, "_dispatcher"),
            (self.engine._planner, "_thread"),
            (self.engine.reconcile, "_thread"),
        ):
            setattr(part, thread, _NeverStarted())
        # claimed by a worker that has not begun it yet
        self.claimed: list[Operation] = []
        # why ends were not written: another worker has the operation
        self.refused: list[ClonepoolError] = []
        # ends that were written although another worker has the operation
        self.stale_ends: list[str] = []
        self._ended = False

    def start(self) -> None:
        """As ever: exports first, then what a dead engine was doing."""
        self.engine.start()

    def look(self) -> None:
        """One look of the planner."""
        self.engine._planner.run_once()

    def watch(self) -> None:
        """One look of the exports' watcher."""
        exports = self.engine._exports
        for name in exports._fabrics_to_watch():
            exports._guarded(name, exports._check)

    def compare(self) -> None:
        """One comparison of what is there with the rows."""
        self.engine.reconcile.run_once()

    def beat(self) -> None:
        """One beat of the dispatcher: leases."""
        self.engine._worker._renew()

    def flush(self) -> None:
        """Let 50 ms pass for the writer."""
        self._writer.flush()

    def is_due(self) -> bool:
        """Whether a worker would find anything."""
        return self.engine._worker._is_due()

    def claim(self) -> Operation | None:
        """Let a worker claim what is due first."""
        worker = self.engine._worker
        taken = worker._context.state.write(lambda change: worker._claim_in(change, limit=1))
        return self._noted(taken[0] if taken else None)

    def run(self, operation: Operation) -> Operation | None:
        """Let a worker do what it claimed; what it claimed with the end of that."""
        worker = self.engine._worker
        following: Operation | None = None
        try:
            following = worker._run_one(operation)
            self._check_fence(operation)
        except ClonepoolError as error:
            # as Worker._run does: the lease runs out, and it is done again
            self.refused.append(error)
        finally:
            worker._running.pop(operation.id, None)
        return self._noted(following)

    def _check_fence(self, operation: Operation) -> None:
        found = self.engine.operations.get(ref=Ref(id=operation.id))
        if found.fence != operation.fence:
            text = f"{operation.kind}'s end was taken from fence {operation.fence}"
            self.stale_ends.append(f"{text}, and {found.fence} has it")

    def work(self) -> bool:
        """Let a worker claim, if it has nothing, and do one operation; whether there was one."""
        operation = self.claimed.pop(0) if self.claimed else self.claim()
        if operation is None:
            return False
        following = self.run(operation)
        self.claimed += [following] if following else []
        return True

    def _noted(self, operation: Operation | None) -> Operation | None:
        if operation is not None:
            self.engine._worker._note_running(operation)
        return operation

    def share_turns(self, pause: Callable[[], None], make: Callable[[], Any]) -> None:
        """Let others go on before each write, and where a lock of the context's is taken.

        Its own locks would stop a thread that has the turn.
        """
        self._writer.before_write = pause
        context = self.engine._exports._context
        for locks in (context.locks, context.targets, context.spaces):
            locks._locks[:] = [make() for _lock in locks._locks]

    @property
    def _writer(self) -> SteppedWriter:
        writer = self.engine._state._writer
        assert isinstance(writer, SteppedWriter)
        return writer

    def abandon(self) -> None:
        """It is dead: only what the kernel does for a dead process is done."""
        if self._ended:
            return
        self._ended = True
        self._writer.abandon()
        self.engine._state.database.close()
        self.engine._lock.release()

    def close(self) -> None:
        """End it in good order."""
        self.engine.close()
        self._ended = True


class _NoLock:
    """What two engines on one state would have if nothing kept the second one out."""

    def __init__(self, path: Path) -> None:
        pass

    def acquire(self) -> None:
        pass

    def release(self) -> None:
        pass


@contextmanager
def _lock(*, taken: bool) -> Iterator[None]:
    if taken:
        yield
        return
    with patch("clonepool.engine.HostLock", _NoLock):
        yield
