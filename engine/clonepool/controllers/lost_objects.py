"""Rows whose object is gone or was changed: out of service, or told of, never made blank."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from clonepool.backends.base import StorageBackend
from clonepool.controllers.context import Context
from clonepool.crash_points import Point, reach
from clonepool.domain.drift import (
    OUT_OF_SERVICE,
    PortionRow,
    StorageDrift,
    VolumeRow,
    doubt,
)
from clonepool.domain.states import Severity
from clonepool.errors import NotFound
from clonepool.store import drift, operations, pools, volumes
from clonepool.store.writer import Transaction


class LostObjects:
    """What a look at a storage means for volumes and image versions."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def look(self, *, storage: str, backend: StorageBackend, drift: StorageDrift) -> None:
        """Act on each row in doubt, after a second look at its object; and take doubts back."""
        for volume, size_bytes in drift.volumes.items():
            if _size(backend, volume.name) == size_bytes:
                self._volume(volume, storage=storage, found_bytes=size_bytes)
        for row, text in self._versions_in_doubt(storage, backend, drift).items():
            self._context.state.write(partial(self._stop_pools, row=row, text=text))
        for volume in drift.mended_volumes:
            self._context.state.write(partial(self._volume_back, row=volume))
        for portion in drift.mended_portions:
            self._context.state.write(partial(self._portion_back, row=portion))
            self._context.signals.changed()

    def _versions_in_doubt(
        self, storage: str, backend: StorageBackend, drift: StorageDrift
    ) -> Mapping[PortionRow, str]:
        """One portion of each version, with what is wrong with all of them."""
        versions: dict[str, tuple[PortionRow, list[str]]] = {}
        for row, size_bytes in sorted(drift.portions.items(), key=lambda item: item[0].name):
            if _size(backend, row.name) == size_bytes:
                _first, texts = versions.setdefault(row.version_id, (row, []))
                texts.append(doubt(row, storage=storage, found_bytes=size_bytes))
        return {row: "; ".join(texts) for row, texts in versions.values()}

    def _volume(self, row: VolumeRow, *, storage: str, found_bytes: int | None) -> None:
        text = doubt(row, storage=storage, found_bytes=found_bytes)
        reason = "OBJECT_MISSING" if found_bytes is None else "OBJECT_CHANGED"
        if row.state not in OUT_OF_SERVICE:
            self._context.state.write(lambda each: self._tell_holder(each, row, reason, text))
            return
        if self._context.state.write(lambda each: self._take_out(each, row, reason, text)):
            reach(Point.OBJECT_LOST)
            self._unexport(row)
            reach(Point.OBJECT_UNEXPORTED)
            self._context.signals.changed()

    def _take_out(self, transaction: Transaction, row: VolumeRow, reason: str, text: str) -> bool:
        now = self._context.now()
        if not drift.take_out_of_service(transaction, row=row, error=text, now=now):
            return False
        volume = volumes.get(transaction.session, volume_id=row.id)
        message = (
            f"was {row.state} and is faulty: {text}; it is not handed out, "
            f"`clonepool scrub run {volume.pool_name}` replaces it"
        )
        self._context.note(
            transaction,
            subject=f"volume/{row.id}",
            reason=reason,
            message=message,
            severity=Severity.ERROR,
        )
        return True

    def _tell_holder(
        self, transaction: Transaction, row: VolumeRow, reason: str, text: str
    ) -> None:
        if not drift.note_volume(transaction, row=row, error=text):
            return
        attachment, server = drift.holder_of(transaction, volume_id=row.id)
        message = (
            f"{text}; attachment {attachment} of server {server} holds it. It is left as it is: "
            "put the file back with the server logged out, or release the attachment "
            f"(`clonepool release {attachment}`)"
        )
        self._context.note(
            transaction,
            subject=f"volume/{row.id}",
            reason=reason,
            message=message,
            severity=Severity.ERROR,
        )

    def _unexport(self, row: VolumeRow) -> None:
        """Only now: nobody can claim it any more."""
        with self._context.state.read() as session:
            volume = volumes.get(session, volume_id=row.id)
        self._context.drivers.fabric(volume.fabric).unexport(row.name)

    def _volume_back(self, transaction: Transaction, row: VolumeRow) -> None:
        if drift.note_volume(transaction, row=row, error=""):
            text = f"object {row.name} is there again, of the size that it should have"
            self._context.note(
                transaction,
                subject=f"volume/{row.id}",
                reason="OBJECT_BACK",
                message=text,
            )

    def _stop_pools(self, transaction: Transaction, row: PortionRow, text: str) -> None:
        if not drift.note_version(transaction, row=row, error=text):
            return
        message = (
            f"version {row.number}: {text}; put the file back, or give the image new content: no "
            "replica can be made of it meanwhile"
        )
        self._context.note(
            transaction,
            subject=f"image/{row.image}",
            reason="IMAGE_OBJECT_LOST",
            message=message,
            severity=Severity.ERROR,
        )
        for pool_id, name, _stopped in drift.pools_of_version(transaction, row=row):
            if pools.stop(transaction, pool_id=pool_id, reason=text):
                message = (
                    f"pool {name} stopped filling: {text}; it goes on by itself when the file is "
                    f"back, else give the image new content and run `clonepool pool reset {name}`"
                )
                self._context.note(
                    transaction,
                    subject=f"pool/{name}",
                    reason="POOL_STOPPED",
                    message=message,
                    severity=Severity.ERROR,
                )

    def _portion_back(self, transaction: Transaction, row: PortionRow) -> None:
        if not drift.note_version(transaction, row=row, error=""):
            return
        text = f"version {row.number}: object {row.name} is there again"
        self._context.note(
            transaction,
            subject=f"image/{row.image}",
            reason="IMAGE_OBJECT_BACK",
            message=text,
        )
        for pool_id, name, stopped in drift.pools_of_version(transaction, row=row):
            if stopped != row.error:
                # it stopped for another reason, which is not mended by this
                continue
            pools.reset(transaction, pool_id=pool_id)
            operations.defer_of_pool(transaction, pool_id=pool_id, run_after=self._context.now())
            text = f"filling starts again: object {row.name} is there again"
            self._context.note(
                transaction,
                subject=f"pool/{name}",
                reason="POOL_RESET",
                message=text,
            )


def _size(backend: StorageBackend, name: str) -> int | None:
    try:
        return backend.stat(name=name).size_bytes
    except NotFound:
        return None
