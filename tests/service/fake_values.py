"""Things as the fake engine shows them."""

from __future__ import annotations

import uuid

from clonepool.domain.model import (
    Attachment,
    AttachmentSpec,
    ChapAccount,
    ConnectedVolume,
    Connection,
    ImagePortion,
    ImageVersion,
    PoolCounts,
    PoolSpec,
    ReplicaPool,
    SystemUser,
    Volume,
)
from clonepool.domain.read_back import ReadBack
from clonepool.domain.states import (
    AfterScrub,
    AttachmentState,
    OperationState,
    PortionRole,
    ScrubMethod,
    ScrubRunState,
    SystemUserKind,
    VerifyMode,
    VersionState,
    VolumeState,
)
from clonepool.domain.work import Operation, ScrubRecord, ScrubRun

NOW = 1_700_000_000.25
ACME = SystemUser(name="acme", kind=SystemUserKind.CUSTOMER)
GIB = 2**30


def version(state: VersionState) -> ImageVersion:
    portion = ImagePortion(object_name="img-1-rw", size_bytes=10 * GIB, digest="ab" * 32)
    return ImageVersion(
        id="version-1",
        image_id="image-1",
        number=1,
        state=state,
        storage="default",
        read_only=None,
        writable=portion if state is VersionState.READY else None,
        error="",
        created_at=NOW,
    )


def operation() -> Operation:
    return Operation(
        id="operation-1",
        kind="import",
        subject="image/web",
        key="version-1",
        state=OperationState.RUNNING,
        node="node1",
        attempt=1,
        run_after=NOW,
        fence=1,
        progress_bytes=512,
        total_bytes=1024,
        error="",
        cancel=False,
        created_at=NOW,
        finished_at=None,
    )


def pool(spec: PoolSpec) -> ReplicaPool:
    counts = {VolumeState.READY: 3, VolumeState.CLONING: 1, VolumeState.RELEASED: 2}
    return ReplicaPool(
        id=str(uuid.uuid4()),
        spec=spec,
        image_id="image-1",
        counts=PoolCounts(by_state=counts, stale=1, waiting=4, held=2),
        clone_kind="thin",
        failures=0,
        stopped_reason="",
        created_at=NOW,
    )


def attachment(spec: AttachmentSpec) -> Attachment:
    volumes = (
        ConnectedVolume(role=PortionRole.READ_ONLY, size_bytes=GIB, read_only=True, lun=1),
        ConnectedVolume(role=PortionRole.WRITABLE, size_bytes=10 * GIB, read_only=False, lun=2),
    )
    return Attachment(
        id=str(uuid.uuid4()),
        spec=spec,
        state=AttachmentState.ATTACHED,
        place=0,
        pool_id="pool-1",
        server_id="server-1",
        server_name=spec.server or "web1",
        system_user=spec.system_user or ACME,
        volume_id="volume-1",
        volume_generation=3,
        image_version=1,
        warm=True,
        connection=Connection(
            fabric="iscsi",
            target="iqn.2026-01.io.clonepool:vol-1-g3",
            portals=("127.0.0.1:3260",),
            volumes=volumes,
        ),
        chap=ChapAccount(username="cp-1-3", secret="made-by-the-engine"),
        created_at=NOW,
        allocated_at=NOW + 1,
    )


def volume() -> Volume:
    return Volume(
        id="volume-1",
        generation=3,
        pool_id="pool-1",
        pool_name="web",
        image_version_id="version-1",
        image_version=1,
        state=VolumeState.RELEASED,
        slot=False,
        node="node1",
        storage="default",
        fabric="iscsi",
        object_name="vol-1-g3",
        target="vol-1-g3",
        size_bytes=10 * GIB,
        clone_kind="thin",
        attachment_id=None,
        last_attachment_id="attachment-1",
        last_system_user=ACME,
        scrub_run_id=None,
        error="",
        created_at=NOW,
        changed_at=NOW,
    )


def scrub_run() -> ScrubRun:
    return ScrubRun(
        id="run-1",
        pool_id="pool-1",
        pool_name="web",
        trigger="threshold",
        method=ScrubMethod.REFORMAT,
        verify=VerifyMode.SAMPLE,
        state=ScrubRunState.RUNNING,
        volumes=10,
        scrubbed=4,
        recycled=3,
        destroyed=1,
        faulty=0,
        started_at=NOW,
        finished_at=None,
    )


def scrub_record() -> ScrubRecord:
    return ScrubRecord(
        id=1,
        volume_id="volume-1",
        generation=2,
        pool_name="web",
        run_id="run-1",
        system_user=ACME,
        attachment_id="attachment-1",
        server_name="web1",
        method=ScrubMethod.ZERO,
        then=AfterScrub.RECYCLE,
        size_bytes=10 * GIB,
        allocated_at=NOW,
        released_at=NOW + 60,
        started_at=NOW + 61,
        finished_at=NOW + 62,
        read_back=ReadBack(
            mode=VerifyMode.FULL,
            result="passed",
            expected="zeros",
            bytes_read=10 * GIB,
            digest="d" * 64,
        ),
        hash="a" * 64,
    )
