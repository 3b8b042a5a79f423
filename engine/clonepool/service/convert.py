"""The domain's values made into messages. Secrets are left out unless a handler adds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain import facts, model
from clonepool.domain.nodes import is_any
from clonepool.domain.states import SystemUserKind, VolumeState

_USER_KINDS: Final[Mapping[SystemUserKind, pb.SystemUserKind.ValueType]] = {
    SystemUserKind.CUSTOMER: pb.SYSTEM_USER_KIND_CUSTOMER,
    SystemUserKind.APPLICATION: pb.SYSTEM_USER_KIND_APPLICATION,
}


def timestamp(at: float | None) -> Timestamp | None:
    """POSIX seconds as a Timestamp, to the microsecond; None stays absent."""
    if at is None:
        return None
    microseconds = round(at * 1_000_000)
    return Timestamp(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000)


def user(value: model.SystemUser | None) -> pb.SystemUser | None:
    """A system user; None stays absent."""
    return pb.SystemUser(name=value.name, kind=_USER_KINDS[value.kind]) if value else None


def engine_info(facts: facts.EngineFacts) -> pb.EngineInfo:
    """What an engine is, with its storages and fabrics."""
    return pb.EngineInfo(
        version=facts.version,
        node=facts.node,
        engine_id=facts.engine_id,
        started_at=timestamp(facts.started_at),
        storages=[_storage(storage) for storage in facts.storages],
        fabrics=[_fabric(fabric) for fabric in facts.fabrics],
        import_roots=facts.import_roots,
        images=facts.images,
        pools=facts.pools,
        servers=facts.servers,
        attachments=facts.attachments,
        volumes=facts.volumes,
    )


def image(value: model.MasterImage, *, latest: pb.ImageVersion | None = None) -> pb.MasterImage:
    """A master image; ``latest`` where the caller has it with its import's progress."""
    return pb.MasterImage(
        id=value.id,
        spec=_image_spec(value.spec),
        current=image_version(value.current) if value.current else None,
        latest=latest or image_version(value.latest),
        created_at=timestamp(value.created_at),
    )


def image_version(
    version: model.ImageVersion, *, work: model.Operation | None = None, volumes: int = 0
) -> pb.ImageVersion:
    """An image version, its import's progress, and how many volumes refer to it."""
    return pb.ImageVersion(
        id=version.id,
        number=version.number,
        state=version.state,
        read_only=_portion(version.read_only),
        writable=_portion(version.writable),
        error=version.error,
        created_at=timestamp(version.created_at),
        operation_id=work.id if work else "",
        progress_bytes=work.progress_bytes if work else 0,
        total_bytes=work.total_bytes if work else 0,
        volumes=volumes,
    )


def pool(value: model.ReplicaPool, *, image_version: int) -> pb.ReplicaPool:
    """A pool; ``image_version`` is what new replicas are made of, 0 when none is ready."""
    return pb.ReplicaPool(
        id=value.id,
        spec=_pool_spec(value.spec),
        counts=_counts(value.counts),
        clone_kind=value.clone_kind,
        failures=value.failures,
        stopped_reason=value.stopped_reason,
        image_id=value.image_id,
        image_version=image_version,
        created_at=timestamp(value.created_at),
    )


def server(value: model.Server) -> pb.Server:
    """A server."""
    return pb.Server(
        id=value.id,
        spec=_server_spec(value.spec),
        system_user=user(value.system_user),
        attachments=value.attachments,
        inline=value.inline,
        created_at=timestamp(value.created_at),
    )


def attachment(
    value: model.Attachment, *, lease_s: float, include_secret: bool = False
) -> pb.Attachment:
    """An attachment; its CHAP secret only with ``include_secret``."""
    account = value.chap
    return pb.Attachment(
        id=value.id,
        spec=_attachment_spec(value.spec),
        state=value.state,
        place=value.place,
        lease_s=lease_s,
        server_id=value.server_id,
        server_name=value.server_name,
        system_user=user(value.system_user),
        pool_id=value.pool_id,
        volume_id=value.volume_id,
        volume_generation=value.volume_generation,
        image_version=value.image_version,
        warm=value.warm,
        connection=_connection(value.connection) if value.connection else None,
        chap_username=account.username if account else "",
        chap_secret=account.secret if account and include_secret else "",
        created_at=timestamp(value.created_at),
        allocated_at=timestamp(value.allocated_at),
        hold_note=value.hold_note,
        resumed_release=timestamp(value.resumed_release),
    )


def volume(value: model.Volume) -> pb.Volume:
    """A volume."""
    return pb.Volume(
        id=value.id,
        generation=value.generation,
        pool=value.pool_name,
        image_version=value.image_version,
        state=value.state,
        slot=value.slot,
        node=value.node,
        storage=value.storage,
        fabric=value.fabric,
        object_name=value.object_name,
        size_bytes=value.size_bytes,
        clone_kind=value.clone_kind,
        attachment_id=value.attachment_id or "",
        last_attachment_id=value.last_attachment_id,
        last_system_user=user(value.last_system_user),
        scrub_run_id=value.scrub_run_id or "",
        error=value.error,
        created_at=timestamp(value.created_at),
        changed_at=timestamp(value.changed_at),
    )


def scrub_run(run: model.ScrubRun) -> pb.ScrubRun:
    """A scrub run."""
    return pb.ScrubRun(
        id=run.id,
        pool=run.pool_name,
        trigger=run.trigger,
        method=run.method,
        verify=run.verify,
        state=run.state,
        volumes=run.volumes,
        scrubbed=run.scrubbed,
        recycled=run.recycled,
        destroyed=run.destroyed,
        faulty=run.faulty,
        started_at=timestamp(run.started_at),
        finished_at=timestamp(run.finished_at),
    )


def scrub_record(record: model.ScrubRecord) -> pb.ScrubRecord:
    """A scrub record."""
    return pb.ScrubRecord(
        id=record.id,
        volume_id=record.volume_id,
        generation=record.generation,
        pool=record.pool_name,
        run_id=record.run_id,
        system_user=user(record.system_user),
        attachment_id=record.attachment_id,
        server_name=record.server_name,
        method=record.method,
        then=record.then,
        size_bytes=record.size_bytes,
        allocated_at=timestamp(record.allocated_at),
        released_at=timestamp(record.released_at),
        started_at=timestamp(record.started_at),
        finished_at=timestamp(record.finished_at),
        verify=record.read_back.mode,
        result=record.read_back.result,
        expected=record.read_back.expected,
        bytes_read=record.read_back.bytes_read,
        digest=record.read_back.digest,
        hash=record.hash,
    )


def operation(work: model.Operation) -> pb.Operation:
    """A piece of background work."""
    return pb.Operation(
        id=work.id,
        kind=work.kind,
        subject=work.subject,
        state=work.state,
        node="" if is_any(work.node) else work.node,
        attempt=work.attempt,
        run_after=timestamp(work.run_after),
        progress_bytes=work.progress_bytes,
        total_bytes=work.total_bytes,
        error=work.error,
        created_at=timestamp(work.created_at),
        finished_at=timestamp(work.finished_at),
    )


def event(value: model.Event) -> pb.Event:
    """An event."""
    return pb.Event(
        id=value.id,
        at=timestamp(value.at),
        severity=value.severity,
        subject=value.subject,
        reason=value.reason,
        message=value.message,
    )


def _storage(facts: facts.StorageFacts) -> pb.StorageInfo:
    return pb.StorageInfo(
        name=facts.name,
        driver=facts.driver,
        thin_clones=facts.thin_clones,
        thin_reason=facts.thin_reason,
        scrub_methods=facts.scrub_methods,
        erasure_note=facts.erasure_note,
        purges=facts.purges,
        total_bytes=facts.total_bytes,
        free_bytes=facts.free_bytes,
        reserve_bytes=facts.reserve_bytes,
        error=facts.error,
    )


def _fabric(facts: facts.FabricFacts) -> pb.FabricInfo:
    return pb.FabricInfo(
        name=facts.name,
        driver=facts.driver,
        chap=facts.chap,
        read_only_enforced_by=facts.read_only_enforced_by,
        sees_sessions=facts.sees_sessions,
        notes=facts.notes,
        error=facts.error,
    )


def _image_spec(spec: model.ImageSpec) -> pb.ImageSpec:
    return pb.ImageSpec(
        name=spec.name,
        system_user=user(spec.system_user),
        read_only=_portion_spec(spec.read_only),
        writable=_portion_spec(spec.writable),
        preconfigure=[_preconfigure(item) for item in spec.preconfigure],
        storage=spec.storage,
        labels=spec.labels,
    )


def _portion_spec(portion: model.PortionSpec | None) -> pb.PortionSpec | None:
    if portion is None:
        return None
    return pb.PortionSpec(
        source=portion.source,
        format=portion.format,
        size_bytes=portion.size_bytes,
        sha256=portion.sha256,
    )


def _preconfigure(item: model.Preconfigure) -> pb.Preconfigure:
    message = pb.Preconfigure(portion=item.portion, path=item.path, mode=item.mode)
    if item.content is not None:
        message.content = item.content
    elif item.source is not None:
        message.source = item.source
    return message


def _portion(portion: model.ImagePortion | None) -> pb.ImagePortion | None:
    if portion is None:
        return None
    return pb.ImagePortion(
        object_name=portion.object_name, size_bytes=portion.size_bytes, digest=portion.digest
    )


def _pool_spec(spec: model.PoolSpec) -> pb.PoolSpec:
    return pb.PoolSpec(
        name=spec.name,
        master_image=spec.master_image,
        image_version=spec.image_version,
        fabric=spec.fabric,
        min_ready=spec.min_ready,
        max_replicas=spec.max_replicas,
        clone_mode=spec.clone_mode,
        when_empty=spec.when_empty,
        wait_for_ready=spec.wait_for_ready,
        max_unavailable=spec.max_unavailable,
        scrub=pb.ScrubPolicy(
            threshold=spec.scrub.threshold,
            method=spec.scrub.method,
            then=spec.scrub.then,
            on_low_space=spec.scrub.on_low_space,
            max_age_s=spec.scrub.max_age_s,
            max_bytes=spec.scrub.max_bytes,
            verify=spec.scrub.verify,
            undo_window_s=spec.scrub.undo_window_s,
            windows=spec.scrub.windows,
            assurance=spec.scrub.assurance,
        ),
    )


def _counts(counts: model.PoolCounts) -> pb.PoolCounts:
    by_state = {state.value: counts.by_state.get(state, 0) for state in VolumeState}
    return pb.PoolCounts(**by_state, stale=counts.stale, waiting=counts.waiting, held=counts.held)


def _server_spec(spec: model.ServerSpec) -> pb.ServerSpec:
    return pb.ServerSpec(name=spec.name, initiator=spec.initiator, labels=spec.labels)


def _attachment_spec(spec: model.AttachmentSpec) -> pb.AttachmentSpec:
    message = pb.AttachmentSpec(
        name=spec.name,
        pool=spec.pool,
        system_user=user(spec.system_user),
        inline_server=_server_spec(spec.inline_server) if spec.inline_server else None,
        chap=pb.ChapSpec(mode=spec.chap.mode, username=spec.chap.username),
        force_detach=spec.force_detach,
        resume_released=spec.resume_released,
    )
    if spec.server:
        message.server = spec.server
    elif spec.server_selector:
        message.server_selector.labels.update(spec.server_selector)
    return message


def _connection(connection: model.Connection) -> pb.Connection:
    return pb.Connection(
        fabric=connection.fabric,
        portals=connection.portals,
        target=connection.target,
        volumes=[_connected_volume(volume) for volume in connection.volumes],
    )


def _connected_volume(volume: model.ConnectedVolume) -> pb.ConnectedVolume:
    return pb.ConnectedVolume(
        role=volume.role,
        lun=volume.lun,
        path=volume.path,
        serial=volume.serial,
        wwn=volume.wwn,
        size_bytes=volume.size_bytes,
        read_only=volume.read_only,
    )
