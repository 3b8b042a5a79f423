"""An engine whose planner looks only when it is told to: what happens between two looks is ours."""

from __future__ import annotations

from typing import Any

from clonepool.domain.model import PageRequest
from clonepool.engine import Engine
from clonepool.testing.engines import EngineRig

_LOOKS = 200


class SteppingRig(EngineRig):
    """The work that the planner asks for is done by the engine's own threads."""

    def open(self, *, start: bool = True) -> Engine:
        engine = super().open(start=False)
        engine._exports.start()
        engine._worker.start()
        return engine

    def settle(self) -> None:
        """Look, and let the work be done, until a look finds nothing more to do."""
        for _ in range(_LOOKS):
            # work that is still done, from before this, would end between two looks
            self.wait_idle()
            before = self.everything()
            self.engine._planner.run_once()
            if self.everything() == before:
                return
        raise AssertionError(f"never comes to rest: {self.everything()}")

    def wait_idle(self) -> None:
        """Wait until no work is open."""
        self.wait_for(lambda: not self._open(), what=self._open)

    def _open(self) -> Any:
        return self.engine.operations.list(page=PageRequest(), open_only=True)[0]

    def everything(self) -> Any:
        """What a look may change."""
        pools, _ = self.engine.pools.list(page=PageRequest())
        return pools, self.volumes(), len(self.runs()), len(self._open())
