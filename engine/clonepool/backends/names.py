"""Names of objects: what is allowed, and one worker at a time for each."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from clonepool.errors import InvalidArgument

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,120}")


def check_object_name(name: str) -> None:
    """Refuse what is no object name, before it becomes part of a path. Raises InvalidArgument."""
    if _NAME.fullmatch(name) is None:
        raise InvalidArgument.field(
            "name",
            f"{name[:130]!r} is not an object name; use 1 to 121 of a-z, 0-9 and '-', "
            "not starting with '-'",
        )


class NameLocks:
    """A lock for each name that is being worked on; costs nothing for the others.

    It makes concurrent repetitions of one verb idempotent: the second waits, then finds it done.
    """

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._freed = threading.Condition()

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Wait until nobody else works on ``name``, then keep it."""
        with self._freed:
            self._freed.wait_for(lambda: name not in self._held)
            self._held.add(name)
        try:
            yield
        finally:
            with self._freed:
                self._held.discard(name)
                self._freed.notify_all()
