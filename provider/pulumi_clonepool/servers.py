"""Servers and the storage that they are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from clonepool_resources.server_fields import ATTACHMENT, SERVER
from pulumi_clonepool.args import (
    AttachmentTimeoutsArgs,
    ChapArgs,
    InlineServerArgs,
    SystemUserArgs,
)
from pulumi_clonepool.outputs import Connection
from pulumi_clonepool.providers import ServerProvider, ServerStorageAttachmentProvider
from pulumi_clonepool.resource import ClonepoolResource, name_of
from pulumi_clonepool.storage import ReplicaPool


class Server(ClonepoolResource, module="clonepool", name="Server"):
    """A server in the engine's inventory: a host with an initiator name, or a local one.

    It belongs to one system user at a time, for as long as it has attachments.

    - ``name``: left out, it is made from the project, the stack and the resource's name. A change
      replaces the server.
    - ``initiator``: its IQN, unique among servers; none for the ``local`` fabric. A change is
      granted anew to its attachments, and refused while the server is logged in.
    - ``labels``: what an attachment's ``server_selector`` picks by.
    """

    declaration = SERVER

    initiator: pulumi.Output[str | None]
    labels: pulumi.Output[dict[str, str] | None]

    def __init__(
        self,
        resource_name: str,
        *,
        name: pulumi.Input[str] | None = None,
        initiator: pulumi.Input[str] | None = None,
        labels: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        given = {"name": name, "initiator": initiator, "labels": labels}
        self._declare(
            provider=ServerProvider(), resource_name=resource_name, given=given, opts=opts
        )


class ServerStorageAttachment(
    ClonepoolResource, module="clonepool", name="ServerStorageAttachment"
):
    """An allocation of a server to a system user together with its storage.

    The server gets a replica of its own and the shared read-only copy. Deleting it releases the
    volume, which is scrubbed before anyone else can have it. Creation waits for a replica, for
    up to ``timeouts.create``.

    - ``pool``: the pool, or its name. A change replaces the attachment, as do the next three.
    - ``system_user``: needed where the image is shared; else it must match the image's.
    - ``server`` (a server, or its name), ``inline_server`` (name and initiator) or
      ``server_selector`` (labels): exactly one of them.
    - ``chap``: the account that the server logs in with; by default the engine makes one.
    - ``force_detach``: release, or grant anew, even while the server is logged in.
    - ``resume_released``: made again in time, it gets the volume back that it had.
    - ``timeouts``: how long ``create``, ``update`` and ``delete`` may take, ``5m`` by default.
    """

    declaration = ATTACHMENT

    pool: pulumi.Output[str]
    system_user: pulumi.Output[dict[str, Any] | None]
    force_detach: pulumi.Output[bool]
    resume_released: pulumi.Output[bool]
    server: pulumi.Output[str]
    """The server's name, however it was chosen."""
    volume: pulumi.Output[str]
    """The id of the server's volume."""
    image_version: pulumi.Output[int]
    """The image version that the volume was cloned from."""
    warm: pulumi.Output[bool]
    """Whether a replica was ready at once, without waiting."""
    connection: pulumi.Output[Connection]
    """How the server reaches its volumes."""
    chap_username: pulumi.Output[str]
    """The CHAP account's name; empty where there is no CHAP."""
    chap_secret: pulumi.Output[str]
    """The CHAP account's secret; a Pulumi secret, encrypted in the state."""
    allocated_at: pulumi.Output[str]
    """When the server got it (RFC 3339, UTC)."""

    def __init__(
        self,
        resource_name: str,
        *,
        pool: pulumi.Input[str] | ReplicaPool,
        name: pulumi.Input[str] | None = None,
        system_user: pulumi.Input[SystemUserArgs] | None = None,
        server: pulumi.Input[str] | Server | None = None,
        inline_server: pulumi.Input[InlineServerArgs] | None = None,
        server_selector: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        chap: pulumi.Input[ChapArgs] | None = None,
        force_detach: pulumi.Input[bool] | None = None,
        resume_released: pulumi.Input[bool] | None = None,
        timeouts: pulumi.Input[AttachmentTimeoutsArgs] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        given = {
            "name": name,
            "pool": name_of(pool),
            "system_user": system_user,
            "server": name_of(server),
            "inline_server": inline_server,
            "server_selector": server_selector,
            "chap": _with_secret(chap),
            "force_detach": force_detach,
            "resume_released": resume_released,
            "timeouts": timeouts,
        }
        self._declare(
            provider=ServerStorageAttachmentProvider(),
            resource_name=resource_name,
            given=given,
            opts=opts,
        )


def _with_secret(chap: pulumi.Input[ChapArgs] | None) -> Any:
    """Make a given secret a Pulumi secret, so that it rests encrypted in the state."""
    if chap is None:
        return None
    if isinstance(chap, Mapping):
        secret = chap.get("secret")
        return chap if secret is None else {**chap, "secret": pulumi.Output.secret(secret)}
    return pulumi.Output.secret(chap)
