"""Reads of what is there now, while the program runs; nothing of it is kept in the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi

from clonepool.errors import ClonepoolError
from pulumi_clonepool.errors import LookupFailed
from pulumi_clonepool.resource import ClonepoolResource
from pulumi_clonepool.settings import engine_client, stack_settings

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from pulumi_clonepool.servers import ServerStorageAttachment
    from pulumi_clonepool.storage import MasterImage, ReplicaPool


@dataclass(frozen=True, kw_only=True)
class PoolInfo:
    """What a pool holds now. ``stopped_reason`` is empty while its filling goes on.

    ``short_of_space`` is empty while its storage has room for what it lacks.
    """

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
    held: int
    waiting: int
    clone_kind: str
    stopped_reason: str
    short_of_space: str = ""


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
    chap_username: str
    allocated_at: str
    connection: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """A master image as it is now; ``version`` 0, with nothing imported yet, has no digests."""

    id: str
    name: str
    storage: str
    labels: dict[str, str]
    version: int
    latest_version: int
    latest_state: str
    latest_error: str
    system_user: dict[str, str] | None = None
    digests: dict[str, str] | None = None
    size_bytes: dict[str, int] | None = None


def get_pool(name: str) -> PoolInfo:
    """What the pool of this name holds now.

    Asks the engine at once, in a preview too. Ends the program with one line where there is no
    such pool or the engine is away; ``get_pool_output`` waits for a pool of the same program.
    """
    from clonepool.api.v1 import engine_pb2 as pb  # noqa: PLC0415 - only where it is used
    from clonepool_resources import reads  # noqa: PLC0415 - only where it is used

    found = _ask("GetPool", pb.GetRequest(name=name), what=f"pool {name}")
    return PoolInfo(**reads.pool_value(found))


def get_attachment(name: str) -> AttachmentInfo:
    """The attachment of this name as it is now; as ``get_pool`` does."""
    from clonepool.api.v1 import engine_pb2 as pb  # noqa: PLC0415 - only where it is used
    from clonepool_resources import reads  # noqa: PLC0415 - only where it is used

    request = pb.GetAttachmentRequest(name=name)
    found = _ask("GetAttachment", request, what=f"attachment {name}")
    return AttachmentInfo(**reads.attachment_value(found))


def get_image(name: str) -> ImageInfo:
    """The master image of this name as it is now; as ``get_pool`` does."""
    from clonepool.api.v1 import engine_pb2 as pb  # noqa: PLC0415 - only where it is used
    from clonepool_resources import reads  # noqa: PLC0415 - only where it is used

    found = _ask("GetImage", pb.GetRequest(name=name), what=f"master image {name}")
    return ImageInfo(**reads.image_value(found))


def get_pool_output(pool: ReplicaPool | pulumi.Input[str]) -> pulumi.Output[PoolInfo]:
    """What a pool holds, once it is there; unknown in the preview that creates it."""
    return _when_there(pool).apply(get_pool)


def get_attachment_output(
    attachment: ServerStorageAttachment | pulumi.Input[str],
) -> pulumi.Output[AttachmentInfo]:
    """An attachment, once it is there; unknown in the preview that creates it."""
    return _when_there(attachment).apply(get_attachment)


def get_image_output(image: MasterImage | pulumi.Input[str]) -> pulumi.Output[ImageInfo]:
    """A master image, once it is there; unknown in the preview that creates it."""
    return _when_there(image).apply(get_image)


def _when_there(reference: ClonepoolResource | pulumi.Input[str]) -> pulumi.Output[str]:
    if isinstance(reference, ClonepoolResource):
        # the name is known before the resource is there, the id is not
        return pulumi.Output.all(reference.id, reference.name).apply(lambda both: str(both[1]))
    return pulumi.Output.from_input(reference)


def _ask(method: str, request: Message, *, what: str) -> Any:
    settings = stack_settings()
    try:
        return engine_client(settings).call(method, request)
    except ClonepoolError as error:
        raise LookupFailed(f"can't look up {what}: {error.one_line()}") from None
