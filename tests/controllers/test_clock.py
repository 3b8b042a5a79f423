"""The machine's clock is set back or forward while the engine works."""

from __future__ import annotations

import pytest

from clonepool.backends.memory import MemoryBackend
from clonepool.domain.model import Ref
from clonepool.domain.states import VolumeState
from clonepool.errors import Unavailable
from clonepool.testing.engines import EngineRig

V = VolumeState
HOUR_S = 3600.0


def fail_once_at(rig: EngineRig, step: str) -> list[str]:
    """Let a backend's step fail the first time; what it failed for."""
    assert isinstance(rig.storage, MemoryBackend)
    failed: list[str] = []

    def fail(at: str, name: str) -> None:
        if at == step and not failed:
            failed.append(name)
            raise Unavailable("the storage is away for a moment")

    rig.storage.on_step = fail
    return failed


@pytest.mark.parametrize("is_restarted", [False, True])
def test_work_that_was_put_off_is_done_after_the_clock_was_set_back(
    web: EngineRig, is_restarted: bool
) -> None:
    """Its next attempt was to come a second later, by now that is in an hour."""
    failed = fail_once_at(web, "clone.begin")
    web.add_pool(min_ready=1, filled=False)
    web.wait_for(lambda: failed, what=lambda: failed)
    web.wait_for(lambda: web.volumes()[0].error, what=web.volumes)
    web.clock.advance(-HOUR_S)
    if is_restarted:
        web.reopen()
    web.wait_ready(1)


def test_a_stopped_pool_stays_stopped_when_the_clock_is_set_back(web: EngineRig) -> None:
    """Only a reset starts it again."""
    assert isinstance(web.storage, MemoryBackend)

    def fail(at: str, _name: str) -> None:
        if at == "clone.begin":
            raise RuntimeError("broken")

    web.storage.on_step = fail
    web.add_pool(min_ready=1, filled=False)
    web.pass_time_until(lambda: web.pool().stopped_reason, what=web.pool)
    web.storage.on_step = lambda _at, _name: None
    web.clock.advance(-HOUR_S)
    web.reopen()
    assert web.pool().stopped_reason
    assert (0, 1) == (web.count(V.READY), web.count(V.CLONING))
    web.engine.pools.reset(ref=Ref(name="web"))
    web.wait_ready(1)
