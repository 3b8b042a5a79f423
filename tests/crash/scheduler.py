"""Threads of which one runs at a time: each stops at every crash point, a seed says who goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from clonepool.crash_points import Point

# inside a transaction nobody else could write, inside a verb nobody else reach the object: others
# would wait for a lock that has no turn to be let go
_ALWAYS_GO_ON: Final = frozenset({Point.COMMITTING, Point.COMMITTED, Point.WORK_UNDER_WAY})
_STUCK_AFTER: Final = 20_000
_TIMEOUT_S: Final = 60.0


class Stopped(BaseException):
    """Another actor broke something: this one ends."""


class _Actor:
    def __init__(self, name: str, act: Callable[[], None]) -> None:
        self.name = name
        self.act = act
        self.turn = threading.Semaphore(0)
        self.is_over = False
        self.error: BaseException | None = None


class Scheduler:
    """Runs actors to their ends, one step of one of them at a time. The same seed, the same run."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - an order, no secret
        self._back = threading.Semaphore(0)
        self._here = threading.local()
        self._stopping = False
        self.steps = 0

    def run(self, actors: Mapping[str, Callable[[], None]]) -> None:
        """Raises what the first actor raised that failed; never leaves a thread behind."""
        crew = [_Actor(name, act) for name, act in actors.items()]
        threads = [threading.Thread(target=self._live, args=(each,), daemon=True) for each in crew]
        for thread in threads:
            thread.start()
        while waiting := [each for each in crew if not each.is_over]:
            actor = self._random.choice(waiting)
            actor.turn.release()
            assert self._back.acquire(timeout=_TIMEOUT_S), f"{actor.name} does not come back"
            self._stopping = self._stopping or actor.error is not None
            self.steps += 1
            assert self.steps < _STUCK_AFTER, [each.name for each in waiting]
        for thread in threads:
            thread.join(_TIMEOUT_S)
        for each in crew:
            if each.error is not None and not isinstance(each.error, Stopped):
                raise each.error

    def _live(self, actor: _Actor) -> None:
        self._here.actor = actor
        actor.turn.acquire()
        try:
            if not self._stopping:
                actor.act()
        except BaseException as error:  # noqa: BLE001 - raised again by the test's own thread
            actor.error = error
        actor.is_over = True
        self._back.release()

    def at(self, point: Point) -> None:
        """An actor is at a crash point: let others go on."""
        if point not in _ALWAYS_GO_ON:
            self.pause()

    def pause(self) -> None:
        """Let another actor go on, perhaps; on a thread that is no actor nothing happens."""
        actor = getattr(self._here, "actor", None)
        if actor is None:
            return
        self._back.release()
        actor.turn.acquire()
        if self._stopping:
            raise Stopped(actor.name)


class SteppedLock:
    """A lock whose waiters let others go on; as re-entrant as the one that it stands for."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._owner: threading.Thread | None = None
        self._depth = 0

    def __enter__(self) -> None:
        # what was seen before may be otherwise when the lock is held
        self._scheduler.pause()
        while self._owner not in (None, threading.current_thread()):
            self._scheduler.pause()
        self._owner = threading.current_thread()
        self._depth += 1

    def __exit__(self, *_error: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
