"""Events, kept and watched."""

from __future__ import annotations

from collections.abc import Sequence

from clonepool.domain.model import Event


class Events:
    """Events, kept and watched."""

    def list(self, *, after_id: int, limit: int, subject_prefix: str = "") -> Sequence[Event]:
        """Events after ``after_id``, oldest first."""
        raise NotImplementedError

    def wait(self, *, after_id: int, timeout_s: float) -> bool:
        """Block until there is an event after ``after_id``; False when the time is over."""
        raise NotImplementedError
