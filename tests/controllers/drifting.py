"""What tests of drift do behind the engine's back, and how they have it look."""

from __future__ import annotations

from clonepool.backends.memory import MemoryBackend
from clonepool.domain.drift import Orphan
from clonepool.domain.model import PageRequest
from clonepool.testing.engines import FABRIC, EngineRig

STRAY = "vol-0b5f2a3c-1111-4222-8333-444455556666-g1"


def memory(rig: EngineRig) -> MemoryBackend:
    assert isinstance(rig.storage, MemoryBackend)
    return rig.storage


def look(rig: EngineRig) -> None:
    """Compare everything now."""
    rig.engine.reconcile.run_once()


def after_the_first_look(rig: EngineRig) -> None:
    """Wait for the comparison at start: what changes from now on is not noticed by itself."""
    reconcile = rig.engine.reconcile
    rig.wait_for(lambda: f"fabric/{FABRIC}" in reconcile._compared_at, what="a first look")
    look(rig)


def quarantine(rig: EngineRig) -> list[Orphan]:
    found, _token = rig.engine.orphans.list(page=PageRequest())
    return list(found)


def names(rig: EngineRig) -> set[str]:
    return {info.name for info in rig.storage.list()}
