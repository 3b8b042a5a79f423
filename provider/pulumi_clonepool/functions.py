"""Reads of what is there now, while the program runs; nothing of it is kept in the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi

from clonepool.errors import ClonepoolError
from pulumi_clonepool.errors import LookupFailed, one_line
from pulumi_clonepool.resource import ClonepoolResource
from pulumi_clonepool.settings import Settings, engine_client

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from clonepool.api.v1 import engine_pb2
    from pulumi_clonepool.servers import ServerStorageAttachment
    from pulumi_clonepool.storage import ReplicaPool


@dataclass(frozen=True, kw_only=True)
class PoolInfo:
    """What a pool holds now. ``stopped_reason`` is empty while its filling goes on."""

    id: str
    name: str
    master_image: str
    image_version: int
    fabric: str
    min_ready: int
    max_replicas: int
    ready: int
    cloning: int
    allocated: int
    released: int
    scrubbing: int
    faulty: int
    stale: int
    waiting: int
    clone_kind: str
    stopped_reason: str


@dataclass(frozen=True, kw_only=True)
class AttachmentInfo:
    """An attachment as it is now, without its CHAP secret. ``connection`` None: it waits."""

    id: str
    name: str
    state: str
    pool: str
    server: str
    system_user: dict[str, str]
    volume: str
    image_version: int
    warm: bool
    connection: dict[str, Any] | None
    chap_username: str
    allocated_at: str


def get_pool(name: str) -> PoolInfo:
    """What the pool of this name holds now.

    Asks the engine at once, in a preview too. Ends the program with one line where there is no
    such pool or the engine is away; ``get_pool_output`` waits for a pool of the same program.
    """
    from clonepool.api.v1 import engine_pb2 as pb  # noqa: PLC0415 - only where it is used

    return _pool_info(_ask("GetPool", pb.GetRequest(name=name), what=f"pool {name}"))


def get_attachment(name: str) -> AttachmentInfo:
    """The attachment of this name as it is now; as ``get_pool`` does."""
    from clonepool.api.v1 import engine_pb2 as pb  # noqa: PLC0415 - only where it is used

    request = pb.GetAttachmentRequest(name=name)
    return _attachment_info(_ask("GetAttachment", request, what=f"attachment {name}"))


def get_pool_output(pool: ReplicaPool | pulumi.Input[str]) -> pulumi.Output[PoolInfo]:
    """What a pool holds, once it is there; unknown in the preview that creates it."""
    return _when_there(pool).apply(get_pool)


def get_attachment_output(
    attachment: ServerStorageAttachment | pulumi.Input[str],
) -> pulumi.Output[AttachmentInfo]:
    """An attachment, once it is there; unknown in the preview that creates it."""
    return _when_there(attachment).apply(get_attachment)


def _when_there(reference: ClonepoolResource | pulumi.Input[str]) -> pulumi.Output[str]:
    if isinstance(reference, ClonepoolResource):
        # the name is known before the resource is there, the id is not
        return pulumi.Output.all(reference.id, reference.name).apply(lambda both: str(both[1]))
    return pulumi.Output.from_input(reference)


def _ask(method: str, request: Message, *, what: str) -> Any:
    settings = Settings.of(lambda key: pulumi.Config("clonepool").get(key.partition(":")[2]))
    try:
        return engine_client(settings).call(method, request)
    except ClonepoolError as error:
        raise LookupFailed(f"can't look up {what}: {one_line(error)}") from None


def _pool_info(pool: engine_pb2.ReplicaPool) -> PoolInfo:
    counts = pool.counts
    return PoolInfo(
        id=pool.id,
        name=pool.spec.name,
        master_image=pool.spec.master_image,
        image_version=pool.image_version,
        fabric=pool.spec.fabric,
        min_ready=pool.spec.min_ready,
        max_replicas=pool.spec.max_replicas,
        ready=counts.ready,
        cloning=counts.planned + counts.cloning,
        allocated=counts.attaching + counts.allocated + counts.detaching,
        released=counts.released,
        scrubbing=counts.scrubbing,
        faulty=counts.faulty,
        stale=counts.stale,
        waiting=counts.waiting,
        clone_kind=pool.clone_kind,
        stopped_reason=pool.stopped_reason,
    )


def _attachment_info(attachment: engine_pb2.Attachment) -> AttachmentInfo:
    from clonepool_resources import convert  # noqa: PLC0415 - only where it is used

    connected = attachment.HasField("connection")
    return AttachmentInfo(
        id=attachment.id,
        name=attachment.spec.name,
        state=attachment.state,
        pool=attachment.spec.pool,
        server=attachment.server_name,
        system_user=convert.system_user_value(attachment.system_user),
        volume=attachment.volume_id,
        image_version=attachment.image_version,
        warm=attachment.warm,
        connection=convert.connection_value(attachment.connection) if connected else None,
        chap_username=attachment.chap_username,
        allocated_at=convert.allocated_at(attachment),
    )
