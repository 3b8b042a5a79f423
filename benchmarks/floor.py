"""The least that an attachment needs: a durable commit, and the LUN map on a real tgtd.

The commit is an UPDATE of one row, which really changes it, through the same group-commit writer
on a database of its own on the same file system. The map is the fabric's own verbs on targets
exported ahead: ``grant`` to attach, ``revoke`` and ``unexport`` to release.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import end_tgtd
from clonepool.config import DriverSettings
from clonepool.domain import names
from clonepool.domain.location import HostPath
from clonepool.domain.model import ChapAccount
from clonepool.domain.states import PortionRole
from clonepool.fabrics.base import Access, ExportSpec, Fabric, Lun
from clonepool.fabrics.registry import create_fabric
from clonepool.store.state import State

ATTACH_FLOOR = "a durable commit + the LUN map (tgt)"
RELEASE_FLOOR = "a durable commit + revoke and unexport (tgt)"
_SIZE_BYTES = 1 << 20
_CHANGE = "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'floor'"


class Floor:
    """Targets exported ahead, by number; an attach and a release of each."""

    def __init__(self, *, folder: Path, state: State, fabric: Fabric) -> None:
        self._folder = folder
        self._state = state
        self._fabric = fabric
        self._specs: list[ExportSpec] = []
        self._read_only = _sparse_file(folder / "read-only")
        state.write(
            lambda transaction: transaction.sql("INSERT INTO meta VALUES ('floor', '0')").rowcount
        )

    def export_more(self, count: int) -> None:
        """Export ``count`` more targets; nobody is admitted yet."""
        for _ in range(count):
            spec = self._spec()
            self._fabric.export(spec)
            self._specs.append(spec)

    def _spec(self) -> ExportSpec:
        target = names.volume_object(volume_id=str(uuid.uuid4()), generation=1)
        writable = _sparse_file(self._folder / target)
        luns = (
            _lun(PortionRole.READ_ONLY, self._read_only, serial="floor"),
            _lun(PortionRole.WRITABLE, writable, serial=target[4:28].replace("-", "")),
        )
        return ExportSpec(target=target, luns=luns)

    def attach(self, number: int) -> None:
        """Commit, then admit an initiator with a CHAP account of its own."""
        self._commit()
        chap = ChapAccount(username=f"floor-{number}", secret=secrets.token_urlsafe(12))
        access = Access(initiator=f"iqn.2026-01.example:floor-{number}", chap=chap)
        self._fabric.grant(self._specs[number], access)

    def release(self, number: int) -> None:
        """Commit, then end the access and take the export away."""
        self._commit()
        target = self._specs[number].target
        self._fabric.revoke(target)
        self._fabric.unexport(target)

    def _commit(self) -> None:
        self._state.write(lambda transaction: transaction.sql(_CHANGE).rowcount)


@contextmanager
def open_floor(folder: Path) -> Iterator[Floor]:
    """A floor with a database and a tgtd of its own in ``folder``; both are gone at the end."""
    folder.mkdir()
    state = State(folder=folder / "state", node="floor", clock=time.time)
    settings = DriverSettings(name="iscsi", driver="iscsi")
    fabric = create_fabric(settings, state_dir=folder / "state")
    try:
        yield Floor(folder=folder, state=state, fabric=fabric)
    finally:
        fabric.close()
        end_tgtd(folder / "state")
        state.close()


def _lun(role: PortionRole, path: Path, *, serial: str) -> Lun:
    return Lun(
        role=role,
        location=HostPath(path=path),
        size_bytes=_SIZE_BYTES,
        read_only=role is PortionRole.READ_ONLY,
        serial=serial,
        wwn=names.wwn(serial_number=serial),
    )


def _sparse_file(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(_SIZE_BYTES)
    return path
