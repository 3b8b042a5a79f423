"""Exports as the rows have them: made from a volume, re-made when a fabric lost them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from clonepool.controllers.context import Context
from clonepool.crash_points import Point, reach
from clonepool.domain import names
from clonepool.domain.drift import list_names
from clonepool.domain.model import ChapAccount, ImagePortion, Ref, Volume
from clonepool.domain.states import AttachmentState, ChapMode, PortionRole, Severity, VolumeState
from clonepool.errors import (
    DATABASE_AWAY,
    ClonepoolError,
    FailedPrecondition,
    NotFound,
    Unavailable,
)
from clonepool.fabrics.base import Access, DesiredExport, ExportSpec, Fabric, Lun
from clonepool.store import attachments, volumes
from clonepool.store.attachments import Held

log = logging.getLogger(__name__)
_EXPORTED = (
    VolumeState.READY,
    VolumeState.ATTACHING,
    VolumeState.ALLOCATED,
    VolumeState.DETACHING,
)
_CHECK_INTERVAL_S = 1.0


class Exports:
    """Builds export specs, and keeps every fabric in use equal to the rows."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen: dict[str, str] = {}
        # why a target could not be made, so that it is told once
        self._told: dict[str, str] = {}
        # the incarnation whose exports are being made, or are
        self._noticed: dict[str, str] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="exports", daemon=True)

    def spec(
        self,
        *,
        target: str,
        storage: str,
        version_id: str,
        read_only: ImagePortion | None,
        writable_object: str,
        writable_size_bytes: int,
    ) -> ExportSpec:
        """The export of one volume: the shared copy read-only, its own object writable."""
        backend = self._context.drivers.backend(storage)
        luns = []
        if read_only is not None:
            luns.append(
                _lun(
                    role=PortionRole.READ_ONLY,
                    path=backend.path(name=read_only.object_name),
                    size_bytes=read_only.size_bytes,
                    serial=names.serial(object_id=version_id, generation=0),
                )
            )
        if writable_object:
            luns.append(
                _lun(
                    role=PortionRole.WRITABLE,
                    path=backend.path(name=writable_object),
                    size_bytes=writable_size_bytes,
                    serial=_volume_serial(writable_object),
                )
            )
        return ExportSpec(target=target, luns=tuple(luns))

    def of_held(self, held: Held) -> ExportSpec:
        """The export of an attachment's volume. Raises FailedPrecondition when its object is gone.

        Not NotFound: to a caller that would say that the attachment is no more.
        """
        try:
            return self.spec(
                target=held.target,
                storage=held.storage,
                version_id=held.version_id,
                read_only=held.read_only,
                writable_object=held.writable_object,
                writable_size_bytes=held.writable_size_bytes,
            )
        except NotFound as error:
            text = (
                f"attachment {held.attachment.spec.name} can't have its volume: {error}; put the "
                "file back, or release the attachment, if it is there, and ask for another one"
            )
            raise FailedPrecondition(text, reason="OBJECT_MISSING") from None

    def of_volume(self, volume: Volume, read_only: ImagePortion | None) -> ExportSpec:
        """The export of a volume whose version's read-only portion is given."""
        return self.spec(
            target=volume.target,
            storage=volume.storage,
            version_id=volume.image_version_id,
            read_only=read_only,
            writable_object=volume.object_name,
            writable_size_bytes=volume.size_bytes,
        )

    def access(self, held: Held) -> Access:
        """Who is admitted by an attachment."""
        return Access(initiator=held.initiator, chap=self.chap(held))

    def chap(self, held: Held) -> ChapAccount | None:
        """The CHAP account of an attachment, opened; None where none is used."""
        if held.chap_mode is ChapMode.NONE or not held.chap_secret:
            return None
        context = f"attachment/{held.attachment.id}"
        secret = self._context.state.secrets.open(held.chap_secret, context=context)
        return ChapAccount(username=held.chap_username, secret=secret)

    def holds_since(self, name: str, incarnation: str) -> bool:
        """Whether what was exported to ``incarnation`` is there, or will be made again.

        Asked in the transaction that makes a volume ready: once the watcher has begun to make the
        exports of a later incarnation, it may have read the rows before.
        """
        return self._noticed.get(name, incarnation) == incarnation

    def start(self) -> None:
        """Make every fabric in use equal to the rows, then watch for lost exports."""
        with self._context.state.read() as session:
            in_use = volumes.fabrics_in_use(session, node=self._context.state.node)
        for name in in_use:
            self._guarded(name, self._reconcile_at_start)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(_CHECK_INTERVAL_S):
            for name in self._fabrics_to_watch():
                self._guarded(name, self._check)

    def _fabrics_to_watch(self) -> set[str]:
        # one that could not be opened at start is tried again
        return set(self._context.drivers.open_fabrics()) | self._seen.keys()

    def _guarded(self, name: str, step: Callable[[str, Fabric], None]) -> None:
        try:
            step(name, self._context.drivers.fabric(name))
        except ClonepoolError as error:
            if error.reason == DATABASE_AWAY:
                log.warning("fabric %s can't be checked: %s", name, error)
            else:
                self._note_away(name, error)
        except Exception:
            log.exception("fabric %s can't be checked", name)

    def _note_away(self, name: str, error: ClonepoolError) -> None:
        if self._seen.get(name) == "away":
            return
        self._seen[name] = "away"
        log.warning("fabric %s: %s", name, error)
        self._event(name, "FABRIC_AWAY", str(error), Severity.ERROR)

    def _reconcile_at_start(self, name: str, fabric: Fabric) -> None:
        incarnation = fabric.incarnation()
        reach(Point.START_RECONCILING)
        self._noticed[name] = incarnation
        before = fabric.list()
        desired = self._desired(name)
        fabric.reconcile(desired)
        reach(Point.START_RECONCILED)
        self._seen[name] = incarnation
        strays = before - {export.spec.target for export in desired}
        if strays:
            text = f"removed exports that no volume accounts for: {list_names(strays)}"
            self._event(name, "STRAY_EXPORTS_REMOVED", text, Severity.WARNING)

    def is_settled(self, name: str, fabric: Fabric) -> bool:
        """Whether the fabric is there and has had all its exports since its last start."""
        return self._seen.get(name) == fabric.incarnation()

    def remake(self, name: str, fabric: Fabric, *, lost: frozenset[str]) -> frozenset[str]:
        """Make lost targets again, granted where they were; returns those that are there again."""
        return self._remake_once(name, fabric, only=lost) if lost else lost

    def _check(self, name: str, fabric: Fabric) -> None:
        incarnation = fabric.incarnation()
        before = self._seen.get(name)
        if before == incarnation:
            return
        self._noticed[name] = incarnation
        self._remake(name, fabric)
        self._seen[name] = incarnation
        if before is None:
            # first seen: it may have died and come back since it was first used, but need not
            return
        text = f"fabric {name} lost its exports and has them again"
        log.warning(text)
        self._event(name, "EXPORTS_REMADE", text, Severity.WARNING)

    def _remake(self, name: str, fabric: Fabric) -> None:
        # twice: what became ready during the first time was perhaps exported to the dead daemon
        for _ in range(2):
            self._remake_once(name, fabric)

    def _remake_once(
        self, name: str, fabric: Fabric, *, only: frozenset[str] | None = None
    ) -> frozenset[str]:
        tried = set()
        failed: dict[str, tuple[str, str]] = {}
        for volume, read_only, held in self._exported(name):
            if only is not None and volume.target not in only:
                continue
            tried.add(volume.target)
            try:
                self._remake_one(fabric, volume, read_only, held)
            except Unavailable:
                raise
            except ClonepoolError as error:
                # one that can't be exported must not keep the others from their servers
                failed[volume.target] = (volume.id, str(error))
        # what was given back or given up meanwhile was perhaps exported after its end
        ended = tried - self._targets(name)
        for target in ended:
            with self._context.targets.of(target):
                # a release that was undone has its target again, of the same name
                if target not in self._targets(name):
                    reach(Point.EXPORT_LEFT_OVER)
                    fabric.unexport(target)
        self._tell_failed(failed)
        return frozenset(tried - ended - failed.keys())

    def _tell_failed(self, failed: Mapping[str, tuple[str, str]]) -> None:
        for target, (volume_id, text) in failed.items():
            if self._told.get(target) != text:
                self._told[target] = text
                self._event(volume_id, "EXPORT_FAILED", text, Severity.ERROR, kind="volume")

    def _remake_one(
        self, fabric: Fabric, volume: Volume, read_only: ImagePortion | None, held: Held | None
    ) -> None:
        if held is None:
            reach(Point.EXPORT_REMAKING)
            fabric.export(self.of_volume(volume, read_only))
            return
        with self._context.locks.of(held.attachment.id):
            # by now it may be released, or have another initiator or secret
            with self._context.state.read() as session:
                fresh = attachments.find(
                    session, ref=Ref(id=held.attachment.id), now=self._context.now()
                )
            if fresh is None or fresh.attachment.state is not AttachmentState.ATTACHED:
                return
            spec = self.of_held(fresh)
            reach(Point.EXPORT_REMAKING)
            fabric.export(spec)
            reach(Point.EXPORT_REMADE)
            fabric.grant(spec, self.access(fresh))

    def _exported(self, name: str) -> list[tuple[Volume, ImagePortion | None, Held | None]]:
        """What this node exports on a fabric, with shared copies and attachments."""
        node = self._context.state.node
        with self._context.state.read() as session:
            held = {
                item.attachment.volume_id: item
                for item in attachments.list_on_fabric(session, fabric=name, node=node)
            }
            found = volumes.list_on_fabric(session, fabric=name, node=node, states=_EXPORTED)
        return [(volume, read_only, held.get(volume.id)) for volume, read_only in found]

    def _targets(self, name: str) -> set[str]:
        return {volume.target for volume, _portion, _held in self._exported(name)}

    def _desired(self, name: str) -> list[DesiredExport]:
        exports = (self._desired_export(*exported) for exported in self._exported(name))
        return [export for export in exports if export is not None]

    def _desired_export(
        self, volume: Volume, read_only: ImagePortion | None, held: Held | None
    ) -> DesiredExport | None:
        try:
            spec = self.of_volume(volume, read_only)
        except ClonepoolError as error:
            # one volume whose object is missing must not keep all others from being exported
            self._event(volume.id, "OBJECT_MISSING", str(error), Severity.ERROR, kind="volume")
            return None
        admitted = held is not None and volume.state in {
            VolumeState.ATTACHING,
            VolumeState.ALLOCATED,
        }
        return DesiredExport(spec=spec, access=self.access(held) if held and admitted else None)

    def _event(
        self, name: str, reason: str, message: str, severity: Severity, *, kind: str = "fabric"
    ) -> None:
        reach(Point.EXPORT_TELLING)
        self._context.tell(
            subject=f"{kind}/{name}", reason=reason, message=message, severity=severity
        )


def _lun(*, role: PortionRole, path: Path, size_bytes: int, serial: str) -> Lun:
    return Lun(
        role=role,
        path=path,
        size_bytes=size_bytes,
        read_only=role is PortionRole.READ_ONLY,
        serial=serial,
        wwn=names.wwn(serial_number=serial),
    )


def _volume_serial(object_name: str) -> str:
    volume_id, _, generation = object_name.removeprefix("vol-").rpartition("-g")
    return names.serial(object_id=volume_id, generation=int(generation))
