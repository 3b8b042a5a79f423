"""What servers do and what fails, in the words of these tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from clonepool.domain.model import (
    Attachment,
    Ref,
)
from clonepool.errors import (
    NotFound,
)
from clonepool.fabrics.memory import MemorySession
from clonepool.testing.engines import EngineRig


def login(rig: EngineRig, attached: Attachment, *, initiator: str = "") -> MemorySession:
    assert attached.connection is not None
    return rig.fabric.login(
        target=attached.connection.target,
        initiator=initiator or f"iqn.2026-01.test:{attached.spec.name}",
        chap=attached.chap,
    )


def get(rig: EngineRig, name: str) -> Attachment:
    return rig.engine.attachments.get(ref=Ref(name=name))


def update(rig: EngineRig, attached: Attachment, **changes: object) -> Attachment:
    spec = replace(get(rig, attached.spec.name).spec, **changes)
    return rig.engine.attachments.update(attachment_id=attached.id, spec=spec)


def fail_once(rig: EngineRig, step: str, error: BaseException) -> list[str]:
    """Fail at a fabric's step, once."""
    left = [step]

    def fail(at: str) -> None:
        if left and at == left[0]:
            left.clear()
            raise error

    rig.fabric.fault = fail
    return left


def gone(rig: EngineRig, name: str) -> bool:
    try:
        get(rig, name)
    except NotFound:
        return True
    return False


def on_export_of(rig: EngineRig, target: str, act: Callable[[], None]) -> None:
    """Act once when a target is being exported."""
    real, left = rig.fabric.export, [target]

    def export(spec):
        if left and spec.target == left[0]:
            left.clear()
            act()
        real(spec)

    rig.fabric.export = export  # type: ignore[method-assign]
