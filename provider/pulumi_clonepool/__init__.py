"""Pulumi resources of Clonepool: pre-cloned server storage, attached in milliseconds.

The engine is found by the stack's configuration (``clonepool:endpoint``, ``clonepool:token``,
``clonepool:caFile``), else by ``CLONEPOOL_ENDPOINT``, ``CLONEPOOL_TOKEN`` and
``CLONEPOOL_CA_FILE``, else it is this machine's own. ``clonepool:hold``, else ``CLONEPOOL_HOLD``,
is a ticket that attachments are served by.
"""

from pulumi_clonepool.args import (
    AttachmentTimeoutsArgs,
    ChapArgs,
    ImagePortionArgs,
    InlineServerArgs,
    PreconfiguredFileArgs,
    RolloutArgs,
    ScrubPolicyArgs,
    SystemUserArgs,
)
from pulumi_clonepool.functions import (
    AttachmentInfo,
    ImageInfo,
    PoolInfo,
    get_attachment,
    get_attachment_output,
    get_image,
    get_image_output,
    get_pool,
    get_pool_output,
)
from pulumi_clonepool.outputs import ConnectedVolume, Connection, PortionDigests, PortionSizes
from pulumi_clonepool.servers import Server, ServerStorageAttachment
from pulumi_clonepool.storage import MasterImage, ReplicaPool

__all__ = [
    "AttachmentInfo",
    "AttachmentTimeoutsArgs",
    "ChapArgs",
    "ConnectedVolume",
    "Connection",
    "ImageInfo",
    "ImagePortionArgs",
    "InlineServerArgs",
    "MasterImage",
    "PoolInfo",
    "PortionDigests",
    "PortionSizes",
    "PreconfiguredFileArgs",
    "ReplicaPool",
    "RolloutArgs",
    "ScrubPolicyArgs",
    "Server",
    "ServerStorageAttachment",
    "SystemUserArgs",
    "get_attachment",
    "get_attachment_output",
    "get_image",
    "get_image_output",
    "get_pool",
    "get_pool_output",
]
