"""Waiting for what the engine does behind: look again until it is done, or time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from clonepool.errors import Cancelled, Unavailable

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
# an engine that is restarted in the middle of an import is back within this; the work goes on
_AWAY_GRACE_S: Final = 30.0


def _silent(_message: str) -> None:
    return None


def _never() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """How to wait: where progress goes, what the time is, and who says that it is in vain.

    ``report`` gets one line each time it changes, ``warn`` what should still be seen at the end;
    ``stopped`` tells that the caller has gone.
    """

    report: Callable[[str], None] = _silent
    warn: Callable[[str], None] = _silent
    stopped: Callable[[], bool] = _never
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep

    def watch(
        self,
        first: T,
        *,
        look: Callable[[], T],
        is_open: Callable[[T], bool],
        progress: Callable[[T], str],
        left: str,
        timeout_s: float,
        longest_pause_s: float = _LONGEST_PAUSE_S,
    ) -> T:
        """Look again while it is open; gives the last look, still open when time is up.

        ``left`` says what becomes of it where the caller goes. Raises what ``look`` raises,
        Unavailable only after 30 s of it, and Cancelled.
        """
        deadline = self.clock() + timeout_s
        seen, said, pause_s = first, "", _FIRST_PAUSE_S
        while is_open(seen) and self.clock() < deadline:
            if (words := progress(seen)) != said:
                self.report(words)
                said = words
            if self.stopped():
                raise Cancelled(f"stopped waiting; {left}, so run it again")
            self.sleep(min(pause_s, longest_pause_s, max(deadline - self.clock(), 0)))
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
            seen = self._look(look)
        return seen

    def _look(self, look: Callable[[], T]) -> T:
        patience_ends = self.clock() + _AWAY_GRACE_S
        while True:
            try:
                return look()
            except Unavailable:
                if self.stopped() or self.clock() >= patience_ends:
                    raise
                self.report("the engine is away; waiting for it")
                self.sleep(_LONGEST_PAUSE_S)
