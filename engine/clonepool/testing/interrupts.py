"""Starting what must be ended again, though a Ctrl-C comes in the middle of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed() -> Iterator[Callable[[], None]]:
    """Hold SIGINT and SIGTERM back; gives what delivers them, to be called where they are caught.

    A process that was forked is known to nobody when an interrupt leaves ``Popen`` in its middle:
    it would live on. Signals go to the main thread only, so any other one has nothing to hold back.
    """
    came: list[int] = []

    def deliver() -> None:
        if came:
            signal.raise_signal(came.pop())

    if threading.current_thread() is not threading.main_thread():
        yield deliver
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    # not the mask: a child would inherit it, and be deaf to both
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in numbers
    }
    try:
        yield deliver
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
