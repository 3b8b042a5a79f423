"""An engine whose planner looks only when it is told to: what happens between two looks is ours."""

from __future__ import annotations

import threading
from typing import Any

from clonepool.backends.memory import MemoryBackend
from clonepool.domain.model import PageRequest
from clonepool.engine import Engine
from clonepool.testing.engines import EngineRig

_LOOKS = 200


class SteppingRig(EngineRig):
    """The work that the planner asks for is done by the engine's own threads, after its look.

    Else one pool's look could find the space that another's has just freed, or not.
    """

    def open(self, *, start: bool = True) -> Engine:
        self._not_looking = threading.Event()
        self._not_looking.set()
        if isinstance(self.storage, MemoryBackend):
            self.storage.on_step = lambda _step, _name: self._wait_for_the_look()
        engine = super().open(start=False)
        engine.nodes.join()
        engine._exports.start()
        engine._worker.start()
        return engine

    def settle(self) -> None:
        """Look, and let the work be done, until a look finds nothing more to do."""
        for _ in range(_LOOKS):
            # work that is still done, from before this, would end between two looks
            self.wait_idle()
            before = self.everything()
            self._not_looking.clear()
            try:
                self.engine._planner.run_once()
            finally:
                self._not_looking.set()
            if self.everything() == before:
                return
        raise AssertionError(f"never comes to rest: {self.everything()}")

    def _wait_for_the_look(self) -> None:
        assert self._not_looking.wait(20)

    def wait_idle(self) -> None:
        """Wait until no work is open."""
        self.wait_for(lambda: not self._open(), what=self._open)

    def _open(self) -> Any:
        return self.engine.operations.list(page=PageRequest(), open_only=True)[0]

    def everything(self) -> Any:
        """What a look may change."""
        pools, _ = self.engine.pools.list(page=PageRequest())
        return pools, self.volumes(), len(self.runs()), len(self._open())
