"""Calls into librbd that end: in time, or left to themselves.

Each request to an OSD has its time limit, but librbd may go on asking for ever: after an outage it
waits for a lock that it holds itself, by a handle that it could not close. Such a call can't be
ended from outside, so it runs in a thread that can be left behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

Result = TypeVar("Result")
Beat = Callable[..., int]
_NOTHING: Final = object()


class StillWaiting(Exception):
    """A call gave no sign of life for too long, and was left behind."""


class Watchdog:
    """Runs calls, each with a limit since its last sign of life. Thread-safe."""

    def __init__(self, *, limit_s: float) -> None:
        self._limit_s = limit_s

    def run(self, call: Callable[[Beat], Result]) -> Result:
        """What the call gives or raises; ``call`` gets a sign of life to give, whatever it is told.

        Raises StillWaiting. What the call holds then stays held, until the connection is fenced.
        """
        watched = _Watched(call)
        threading.Thread(target=watched.run, name="librbd", daemon=True).start()
        result: Result = watched.wait(limit_s=self._limit_s)
        return result

    def wrap(self, target: Any) -> Any:
        """The same object, every method of which is run so."""
        return _Guarded(self, target)

    @contextmanager
    def opened(self, open_image: Callable[[], Any]) -> Iterator[Any]:
        """An image for a while; opening and closing are calls like the others."""
        image = self.run(lambda _beat: open_image())
        try:
            yield self.wrap(image)
        finally:
            self.run(lambda _beat: image.close())


class _Watched:
    """One call, in a thread of its own."""

    def __init__(self, call: Callable[[Beat], Any]) -> None:
        self._call = call
        self._done = threading.Event()
        self._result: Any = _NOTHING
        self._error: BaseException | None = None
        self._seen_at = time.monotonic()

    def run(self) -> None:
        try:
            self._result = self._call(self._beat)
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            self._error = error
        self._done.set()

    def wait(self, *, limit_s: float) -> Any:
        left_s = limit_s
        while not self._done.wait(left_s):
            left_s = self._seen_at + limit_s - time.monotonic()
            if left_s <= 0:
                raise StillWaiting
        if self._error is not None:
            raise self._error
        return self._result

    def _beat(self, *_figures: object) -> int:
        self._seen_at = time.monotonic()
        return 0  # librbd goes on


class _Guarded:
    """An object of the bindings behind a watchdog."""

    def __init__(self, watchdog: Watchdog, target: Any) -> None:
        self._watchdog = watchdog
        self._target = target

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._target, name)

        def run(*arguments: Any, **options: Any) -> Any:
            call = partial(method, *arguments, **options)
            return self._watchdog.run(lambda _beat: call())

        return run
