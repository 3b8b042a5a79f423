"""Waiting for what an engine does by itself: looked at until a deadline, never slept for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")
_POLL_S = 0.02


def wait_for(look: Callable[[], Seen | None], *, what: str, timeout_s: float = 30.0) -> Seen:
    """The first thing seen that is true; fails saying what was waited for and seen last."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s for {what}; last seen: {seen!r}")
        time.sleep(_POLL_S)
