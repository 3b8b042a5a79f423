"""What every controller works with."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from clonepool.config import Settings
from clonepool.controllers.drivers import Drivers
from clonepool.store.state import State


@dataclass(frozen=True, kw_only=True)
class Signals:
    """Wake-ups. Nothing depends on one arriving: all background work also looks by itself."""

    plan: threading.Event = field(default_factory=threading.Event)
    work: threading.Event = field(default_factory=threading.Event)

    def changed(self) -> None:
        """Something is to be planned, and perhaps to be done."""
        self.plan.set()
        self.work.set()


@dataclass(frozen=True, kw_only=True)
class Context:
    """State, drivers, settings and wake-ups, shared by the controllers of one engine."""

    state: State
    drivers: Drivers
    settings: Settings
    signals: Signals = field(default_factory=Signals)

    def now(self) -> float:
        """The clock that everything is stamped by."""
        return self.state.clock()
