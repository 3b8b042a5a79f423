"""One machine on which an engine lives, and dies at any instant, under an eye that never blinks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from typing import Any, TypeVar
from unittest.mock import patch
from uuid import UUID

from clonepool.crash_points import Point, observed
from clonepool.domain.work import Operation
from clonepool.errors import ClonepoolError
from clonepool.store.operations import NEVER
from clonepool.testing.stepped import Machine, SteppedEngine
from tests.crash.drivers import Boundaries, WatchedBackend, WatchedFabric
from tests.crash.invariants import Seen, problems
from tests.crash.rows import PostgresRowReader, RowReader, Rows
from tests.crash.users import Told

_IN_HAND = {"attaching", "detaching"}
Answer = TypeVar("Answer")


class Died(BaseException):
    """The engine's process ends here, as with kill -9: nothing catches it."""


class Broken(BaseException):
    """An invariant does not hold; no ``except Exception`` of the engine's may hide it."""


class Lives:
    """Everything that lives on one machine, and the eye that looks at every instant.

    An instant is a crash point of the engine or a step of an in-memory driver. ``die_in`` has the
    engine die at the n-th instant from now, and the next one, if it is to, so many after its start;
    ``die_at`` at a point.
    """

    def __init__(self, *, url: str = "") -> None:
        self.machine = Machine(storage=WatchedBackend(), fabric=WatchedFabric(), url=url)
        self.told = Told()
        self.boundaries = Boundaries()
        self.reached: Counter[tuple[Point, str]] = Counter()
        self.deaths: Counter[str] = Counter()
        self.die_in: list[int] = []
        self.die_at: Point | None = None
        self.exports_lost = False
        # what happened behind the engine's back: targets and objects that were removed, and objects
        # that were put there, with how long it may have watched these
        self.targets_lost = False
        self.removed: set[str] = set()
        self.strays: dict[str, float] = {}
        self.may_be_left: set[str] = set()
        self.exports_may_be_left = False
        # several threads: called at each point, and what others did meanwhile is nobody's fault
        self.between: Callable[[Point], None] = _go_on
        self.is_concurrent = False
        # images have no writable portion: slots in the place of volumes
        self.has_slots = False
        self._dead = False
        self._broken: list[str] = []
        self._numbers: Counter[str] = Counter()
        self._stack = ExitStack()
        self._stack.enter_context(observed(self._at_point))
        # the order of rows may follow from their ids: a story told twice must be the same
        self._stack.enter_context(patch("uuid.uuid4", _same_ids()))
        self._log = _Complaints(self._broken)
        logging.getLogger("clonepool").addHandler(self._log)
        self.machine.storage.on_step = lambda step, _name: self._instant(step)
        self.machine.fabric.fault = self._instant
        self.machine.storage.heard = self.boundaries.verb
        self.machine.fabric.heard = self.boundaries.verb
        self._reader = (
            PostgresRowReader(url) if url else RowReader(self.machine.state_dir / "clonepool.db")
        )
        self.life = SteppedEngine(self.machine)
        self.life.start()

    def close(self) -> None:
        """End everything; what was not looked at yet is lost."""
        self._stack.close()
        logging.getLogger("clonepool").removeHandler(self._log)
        self.machine.storage.on_step = lambda _step, _name: None
        self.machine.fabric.fault = lambda _step: None
        if not self._dead:
            self.life.abandon()
        self._reader.close()
        self.machine.remove()

    # the eye

    def _at_point(self, point: Point, detail: str) -> None:
        self.boundaries.point(point)
        self.reached[point, detail] += 1
        self._instant(point)
        self.between(point)

    def _instant(self, name: str) -> None:
        if self._dead:
            # nothing is done by the dead
            raise Died(name)
        if self._broken:
            raise Broken(self._broken[0])
        self._servers_insist()
        found = problems(self._seen())
        if found:
            self._broken += [f"at {name}: {text}" for text in found]
            raise Broken(self._broken[0])
        if self.die_at == name or (self.die_in and self.die_in[0] == 0):
            del self.die_in[:1]
            self.die_at, self._dead = None, True
            self.deaths[name] += 1
            raise Died(name)
        if self.die_in:
            self.die_in[0] -= 1

    def _servers_insist(self) -> None:
        for use in self.told.uses.values():
            wrong = use.insist(self.machine.fabric, self.machine.storage)
            if wrong:
                self._broken.append(wrong)

    def _seen(self) -> Seen:
        return Seen(
            rows=self.rows(),
            storage=self.machine.storage,
            fabric=self.machine.fabric,
            told=self.told,
            exports_lost=self.exports_lost or self.targets_lost,
            may_be_left=frozenset(self.may_be_left),
            exports_may_be_left=self.exports_may_be_left,
            removed=frozenset(self.removed),
            strays=self.strays,
            now=self.machine.clock(),
        )

    def rows(self) -> Rows:
        """What is durable now."""
        return self._reader.read()

    def check(self) -> None:
        """Look now. Raises AssertionError."""
        if not self._broken:
            self._servers_insist()
            self._broken += problems(self._seen())
        self._broken += sorted(self.boundaries.unguarded)
        assert not self._broken, self._broken

    # lives and deaths

    def act(self, act: Callable[[], Answer]) -> Answer | ClonepoolError | None:
        """Have the engine do something; None when it died of it, and is started again."""
        self.boundaries.begin()
        try:
            answer: Answer | ClonepoolError | None = act()
        except ClonepoolError as error:
            answer = error
        except Died:
            answer = None
        except Broken:
            pass
        if self._broken:
            raise AssertionError(self._broken)
        if self._dead:
            self._revive()
            return None
        return answer

    def kill(self) -> None:
        """Let it die between two acts."""
        self._dead = True
        self.deaths["at rest"] += 1
        self._revive()

    def restart(self) -> None:
        """End it in good order and start it again."""

        def close() -> bool:
            self.life.close()
            return True

        if self.act(close):
            self._start()
            self._revive()

    def _revive(self) -> None:
        while self._dead:
            self.life.abandon()
            self.check()
            self._start()

    def _start(self) -> None:
        self._dead = False
        self.boundaries.begin()
        try:
            self.life = SteppedEngine(self.machine)
            self.life.start()
            self.exports_lost = self.targets_lost = False
        except Died:
            # in the middle of its start: it is started once more
            pass
        except Broken:
            raise AssertionError(self._broken) from None

    # what time and the engine's own threads do

    def look(self) -> None:
        """The planner looks once."""
        self.act(self.life.look)

    def work(self) -> bool:
        """A worker does one operation; whether there was one to be done."""
        return self.act(self.life.work) is not False

    def claim(self) -> None:
        """A worker claims one operation and does not begin it yet."""
        claimed = self.act(self.life.claim)
        if isinstance(claimed, Operation):
            self.life.claimed.append(claimed)

    def flush(self) -> None:
        """50 ms pass."""
        self.act(self.life.flush)

    def advance(self, seconds: float) -> None:
        """Time passes; leases are renewed in time, and the fabric is looked at."""
        for name in self.strays:
            self.strays[name] += max(seconds, 0.0)
        for ticket in self.told.tickets.values():
            # after the clock was set back, it holds for as long as it was asked for, from then
            ticket.expires_at += min(seconds, 0.0)
        self.machine.clock.advance(seconds)
        self.act(self.life.beat)
        self.watch()

    def watch(self) -> None:
        """The watcher of the exports looks once."""

        def look() -> bool:
            self.life.watch()
            return True

        if self.act(look):
            if self.exports_lost:
                self.targets_lost = False
            self.exports_lost = False

    def lose_exports(self) -> None:
        """The fabric's daemon dies and is started again, empty."""
        self.exports_lost = True
        self.machine.fabric.restart()

    # rest

    def work_off(self) -> None:
        """Let the engine do what it has to do now; no time passes."""
        for _ in range(3):
            self.look()
            while self.work():
                pass

    def settle(self) -> None:
        """Let the engine do all that it has to do; it must come to rest."""
        self.die_in.clear()
        for _round in range(60):
            before = _essence(self.rows())
            self.work_off()
            self.advance(7.0)
            self.look()
            if before == _essence(self.rows()) and not self._is_open():
                return
        raise AssertionError(f"never comes to rest: {_essence(self.rows())}")

    def _is_open(self) -> bool:
        rows = self.rows()
        waits = any(each.state == "waiting" for each in rows.attachments)
        # what a death left in the middle of a grant or a release is looked for after a while
        waits = waits or any(each.state in _IN_HAND for each in rows.volumes)
        return waits or any(each.run_after < NEVER for each in rows.operations)


def _essence(rows: Rows) -> Any:
    volumes = [(v.id, v.generation, v.state, v.attachment_id) for v in rows.volumes]
    attachments = [(a.id, a.state) for a in rows.attachments]
    operations = [(o.kind, o.subject, o.state, o.error) for o in rows.operations]
    return volumes, attachments, operations, len(rows.versions), len(rows.runs)


def _go_on(_point: Point) -> None:
    pass


def _same_ids() -> Callable[[], UUID]:
    numbers = Random(1)  # noqa: S311 - ids, not secrets
    return lambda: UUID(int=numbers.getrandbits(128), version=4)


class _Complaints(logging.Handler):
    """What the engine logs as an error of its own is one."""

    def __init__(self, broken: list[str]) -> None:
        super().__init__(level=logging.ERROR)
        self._found = broken

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, with the error that it is about."""
        error = record.exc_info[1] if record.exc_info else None
        self._found.append(f"logged: {record.getMessage()} ({error!r})")
