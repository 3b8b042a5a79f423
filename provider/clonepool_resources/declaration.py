"""The one declaration of Clonepool's resources and functions, for every ecosystem.

It makes the Pulumi classes' arguments, schema.json and the Terraform schema; tests hold them,
engine.proto and the engine's own defaults together. A field stands here only when it works.
"""

from __future__ import annotations

from typing import Final

from clonepool_resources.image_fields import MASTER_IMAGE, PORTION_DIGESTS, PORTION_SIZES
from clonepool_resources.pool_fields import REPLICA_POOL
from clonepool_resources.server_fields import ATTACHMENT, SERVER
from clonepool_resources.shared_fields import CONNECTION, SYSTEM_USER
from clonepool_resources.types import Field, Function, Kind, MapOf, Resource

RESOURCES: Final[tuple[Resource, ...]] = (MASTER_IMAGE, REPLICA_POOL, SERVER, ATTACHMENT)

# the volume states that a pool is counted by, in the order of a volume's life
COUNTED_STATES: Final = {
    "ready": "Attachable at once.",
    "cloning": "Being cloned, or about to be.",
    "allocated": "Held by servers, being attached or released included.",
    "released": "De-allocated, still with the last user's bytes.",
    "scrubbing": "Being erased.",
    "faulty": "Broken, never handed out; see `clonepool volume list`.",
}


def _out(name: str, kind: Kind, description: str) -> Field:
    return Field(name=name, type=kind, description=description, computed=True)


def _named(what: str) -> tuple[Field, ...]:
    return (Field(name="name", type=Kind.STRING, description=f"The {what}'s name.", required=True),)


GET_POOL: Final = Function(
    name="get_pool",
    description="What a pool holds now.",
    inputs=_named("pool"),
    outputs=(
        _out("id", Kind.STRING, "The id of this incarnation."),
        _out("name", Kind.STRING, "The pool's name."),
        _out("master_image", Kind.STRING, "The master image's name."),
        _out("image_version", Kind.INT, "What new replicas are made of; 0 before the first."),
        _out("fabric", Kind.STRING, "The fabric that servers reach it over."),
        _out("min_ready", Kind.INT, "How many ready replicas are kept in stock."),
        _out("max_replicas", Kind.INT, "How many replicas there may be."),
        *(_out(state, Kind.INT, text) for state, text in COUNTED_STATES.items()),
        _out("stale", Kind.INT, "Ready ones of an old image version."),
        _out("held", Kind.INT, "Ready ones that are held for tickets."),
        _out("waiting", Kind.INT, "Attachments in the queue."),
        _out("clone_kind", Kind.STRING, "What clones really are: `thin`, `full`, or empty."),
        _out("stopped_reason", Kind.STRING, "Why filling stopped; empty while it goes on."),
        _out(
            "short_of_space",
            Kind.STRING,
            "Why its storage has no room for what it lacks; empty while there is.",
        ),
    ),
)

GET_ATTACHMENT: Final = Function(
    name="get_attachment",
    description="An attachment as it is now. The CHAP secret is not among it.",
    inputs=_named("attachment"),
    outputs=(
        _out("id", Kind.STRING, "The id of this incarnation."),
        _out("name", Kind.STRING, "The attachment's name."),
        _out("state", Kind.STRING, "`waiting`, `attached` or `detaching`."),
        _out("pool", Kind.STRING, "The pool's name."),
        _out("server", Kind.STRING, "The server's name; empty while none is chosen."),
        Field(
            name="system_user",
            type=SYSTEM_USER,
            description="Who the server is allocated to.",
            computed=True,
        ),
        _out("volume", Kind.STRING, "The id of the server's volume; empty while it waits."),
        _out("image_version", Kind.INT, "The image version that the volume was cloned from."),
        _out("warm", Kind.BOOL, "Whether a replica was ready at once."),
        Field(
            name="connection",
            type=CONNECTION,
            description="How the server reaches its volumes; absent while it waits.",
            computed=True,
        ),
        _out("chap_username", Kind.STRING, "The CHAP account's name; empty without CHAP."),
        _out("allocated_at", Kind.STRING, "When the server got it; empty while it waits."),
    ),
)

GET_IMAGE: Final = Function(
    name="get_image",
    description="A master image as it is now.",
    inputs=_named("master image"),
    outputs=(
        _out("id", Kind.STRING, "The id of this incarnation."),
        _out("name", Kind.STRING, "The master image's name."),
        Field(
            name="system_user",
            type=SYSTEM_USER,
            description="Whose image it is; absent where it is shared.",
            computed=True,
        ),
        _out("storage", Kind.STRING, "The engine's storage that holds it."),
        Field(
            name="labels",
            type=MapOf(item=Kind.STRING),
            description="Its labels.",
            computed=True,
        ),
        _out("version", Kind.INT, "The current version; 0 before the first import is done."),
        Field(
            name="digests",
            type=PORTION_DIGESTS,
            description="The content digest of each portion.",
            computed=True,
        ),
        Field(
            name="size_bytes",
            type=PORTION_SIZES,
            description="The size of each portion in bytes.",
            computed=True,
        ),
        _out("latest_version", Kind.INT, "The newest version, imported or not."),
        _out("latest_state", Kind.STRING, "`importing`, `ready` or `failed`."),
        _out("latest_error", Kind.STRING, "Why its import failed; else empty."),
    ),
)

FUNCTIONS: Final[tuple[Function, ...]] = (GET_POOL, GET_ATTACHMENT, GET_IMAGE)


def resource(name: str) -> Resource:
    """The declaration of one resource by its name, such as ``ReplicaPool``. Raises KeyError."""
    return {found.name: found for found in RESOURCES}[name]
