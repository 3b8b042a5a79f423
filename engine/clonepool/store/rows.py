"""Rows to domain values."""

from __future__ import annotations

import json

from clonepool.domain import model, names
from clonepool.domain.content import parse_image_content
from clonepool.domain.read_back import ReadBack
from clonepool.domain.states import (
    AfterScrub,
    Assurance,
    CloneMode,
    OperationState,
    ScrubMethod,
    ScrubRunState,
    Severity,
    SystemUserKind,
    VerifyMode,
    VersionState,
    VolumeState,
    WhenEmpty,
)
from clonepool.store import tables


def user(name: str | None, kind: str | None) -> model.SystemUser | None:
    """A system user of its two columns."""
    if name is None or kind is None:
        return None
    return model.SystemUser(name=name, kind=SystemUserKind(kind))


def version(row: tables.ImageVersion) -> model.ImageVersion:
    """An image version."""
    return model.ImageVersion(
        id=row.id,
        image_id=row.image_id,
        number=row.number,
        state=VersionState(row.state),
        storage=row.storage,
        read_only=portion(row.ro_object, row.ro_size_bytes, row.ro_digest),
        writable=portion(row.rw_object, row.rw_size_bytes, row.rw_digest),
        error=row.error,
        created_at=row.created_at,
        node=row.node,
    )


def portion(name: str | None, size_bytes: int, digest: str) -> model.ImagePortion | None:
    """A portion of its three columns; None where the version has none."""
    if name is None:
        return None
    return model.ImagePortion(object_name=name, size_bytes=size_bytes, digest=digest)


def image(
    row: tables.Image, *, latest: tables.ImageVersion, current: tables.ImageVersion | None
) -> model.MasterImage:
    """A master image; what it declares is the latest version's content."""
    return model.MasterImage(
        id=row.id,
        spec=model.ImageSpec(
            name=row.name,
            system_user=user(row.user_name, row.user_kind),
            storage=row.storage,
            labels=json.loads(row.labels),
            **parse_image_content(latest.content),
        ),
        current=version(current) if current else None,
        latest=version(latest),
        created_at=row.created_at,
    )


def pool_spec(row: tables.Pool) -> model.PoolSpec:
    """A pool as declared."""
    return model.PoolSpec(
        name=row.name,
        master_image=row.image_name,
        image_version=row.image_version,
        fabric=row.fabric,
        min_ready=row.min_ready,
        max_replicas=row.max_replicas,
        clone_mode=CloneMode(row.clone_mode),
        when_empty=WhenEmpty(row.when_empty),
        wait_for_ready=row.wait_for_ready,
        max_unavailable=row.max_unavailable,
        scrub=model.ScrubPolicy(
            threshold=row.scrub_threshold,
            method=ScrubMethod(row.scrub_method),
            then=AfterScrub(row.scrub_then),
            on_low_space=row.scrub_on_low_space,
            max_age_s=row.scrub_max_age_s,
            max_bytes=row.scrub_max_bytes,
            verify=VerifyMode(row.scrub_verify),
            undo_window_s=row.scrub_undo_window_s,
            windows=tuple(json.loads(row.scrub_windows)),
            assurance=Assurance(row.scrub_assurance),
        ),
    )


def pool(row: tables.Pool, *, counts: model.PoolCounts) -> model.ReplicaPool:
    """A pool with its counts."""
    return model.ReplicaPool(
        id=row.id,
        spec=pool_spec(row),
        image_id=row.image_id,
        counts=counts,
        clone_kind=row.clone_kind,
        failures=row.failures,
        stopped_reason=row.stopped_reason,
        created_at=row.created_at,
    )


def server(row: tables.Server, *, attachments: int) -> model.Server:
    """A server with the number of its attachments."""
    return model.Server(
        id=row.id,
        spec=model.ServerSpec(
            name=row.name, initiator=row.initiator or "", labels=json.loads(row.labels)
        ),
        system_user=user(row.user_name, row.user_kind),
        attachments=attachments,
        inline=row.inline,
        created_at=row.created_at,
    )


def volume(row: tables.Volume, *, pool_name: str, image_version: int) -> model.Volume:
    """A volume."""
    name = names.volume_object(volume_id=row.id, generation=row.generation)
    return model.Volume(
        id=row.id,
        generation=row.generation,
        pool_id=row.pool_id,
        pool_name=pool_name,
        image_version_id=row.image_version_id,
        image_version=image_version,
        state=VolumeState(row.state),
        slot=bool(row.slot),
        node=row.node,
        storage=row.storage,
        fabric=row.fabric,
        object_name="" if row.slot else name,
        target=name,
        size_bytes=row.size_bytes,
        clone_kind=row.clone_kind,
        attachment_id=row.attachment_id,
        last_attachment_id=row.last_attachment_id,
        last_system_user=user(row.last_user_name, row.last_user_kind),
        scrub_run_id=row.scrub_run_id,
        error=row.error,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )


def scrub_run(row: tables.ScrubRun, *, scrubbed: int) -> model.ScrubRun:
    """A scrub run with the number of its records."""
    return model.ScrubRun(
        id=row.id,
        pool_id=row.pool_id,
        pool_name=row.pool_name,
        trigger=row.trigger,
        method=ScrubMethod(row.method),
        verify=VerifyMode(row.verify),
        state=ScrubRunState(row.state),
        volumes=row.volumes,
        scrubbed=scrubbed,
        recycled=row.recycled,
        destroyed=row.destroyed,
        faulty=row.faulty,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def scrub_record(row: tables.ScrubRecord) -> model.ScrubRecord:
    """A scrub record."""
    return model.ScrubRecord(
        id=row.n or 0,
        volume_id=row.volume_id,
        generation=row.generation,
        pool_name=row.pool_name,
        run_id=row.run_id,
        system_user=user(row.user_name, row.user_kind),
        attachment_id=row.attachment_id,
        server_name=row.server_name,
        method=ScrubMethod(row.method),
        then=AfterScrub(row.after_scrub),
        size_bytes=row.size_bytes,
        allocated_at=row.allocated_at,
        released_at=row.released_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        read_back=ReadBack(
            mode=VerifyMode(row.verify),
            result=row.result,
            expected=row.expected,
            bytes_read=row.bytes_read,
            digest=row.digest,
        ),
        hash=row.hash,
    )


def operation(row: tables.Operation) -> model.Operation:
    """An operation."""
    return model.Operation(
        id=row.id,
        kind=row.kind,
        subject=row.subject,
        key=row.key,
        state=OperationState(row.state),
        node=row.node,
        attempt=row.attempt,
        run_after=row.run_after,
        fence=row.fence,
        progress_bytes=row.progress_bytes,
        total_bytes=row.total_bytes,
        error=row.error,
        cancel=bool(row.cancel),
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def event(row: tables.Event) -> model.Event:
    """An event."""
    return model.Event(
        id=row.n or 0,
        at=row.at,
        severity=Severity(row.severity),
        subject=row.subject,
        reason=row.reason,
        message=row.message,
    )
