"""Fields and types that several resources declare."""

from __future__ import annotations

from typing import Final

from clonepool_resources.types import EnumType, Field, Kind, ListOf, MapOf, ObjectType

# the engine's own rules (a test compares): a preview thus says what an apply would
NAME_PATTERN: Final = r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?"
NAME_HINT: Final = (
    "a name: 1 to 63 characters from a-z 0-9 . _ -, the first and the last a letter or a digit"
)
INITIATOR_PATTERN: Final = (
    r"(?i:(?=.{1,223}$)(iqn\.\d{4}-(0[1-9]|1[0-2])\.[a-z0-9]([a-z0-9.-]*[a-z0-9])?"
    r"(:[a-z0-9.:_-]+)?|eui\.[0-9a-f]{16}|naa\.([0-9a-f]{16}|[0-9a-f]{32})))"
)
INITIATOR_HINT: Final = "an initiator name; write one such as iqn.2026-01.com.example:web1"

SYSTEM_USER_KIND: Final = EnumType(
    name="SystemUserKind",
    description="What sort of system user servers and storage are allocated to.",
    values={
        "customer": "A customer, or tenant.",
        "application": "An application.",
    },
)

SYSTEM_USER: Final = ObjectType(
    name="SystemUser",
    description="Who servers and storage are allocated to. Two kinds with one name are two users.",
    fields=(
        Field(
            name="name",
            type=Kind.STRING,
            description="The system user's name.",
            required=True,
            replace=True,
            pattern=r"\S(.{0,126}\S)?",
            pattern_hint="1 to 128 characters without spaces around them",
        ),
        Field(
            name="kind",
            type=SYSTEM_USER_KIND,
            description="Whether it is a customer or an application.",
            required=True,
            replace=True,
        ),
    ),
)

LABELS: Final = MapOf(item=Kind.STRING, most_items=64, longest_key=63, longest_text=255)

CONNECTED_VOLUME: Final = ObjectType(
    name="ConnectedVolume",
    description="One volume as the server sees it: a LUN on iSCSI, a path on the local fabric.",
    fields=(
        Field(name="role", type=Kind.STRING, description='`"read_only"` or `"writable"`.'),
        Field(name="lun", type=Kind.INT, description="The LUN on the target (iSCSI)."),
        Field(name="path", type=Kind.STRING, description="The path on the host (local fabric)."),
        Field(
            name="serial",
            type=Kind.STRING,
            description="The SCSI serial number; it names the volume and its generation.",
        ),
        Field(name="wwn", type=Kind.STRING, description="The world-wide name, where there is one."),
        Field(name="size_bytes", type=Kind.INT, description="The size in bytes."),
        Field(name="read_only", type=Kind.BOOL, description="Whether writes are refused."),
    ),
)

CONNECTION: Final = ObjectType(
    name="Connection",
    description="How the server reaches its volumes.",
    fields=(
        Field(name="fabric", type=Kind.STRING, description="`iscsi` or `local`."),
        Field(
            name="portals",
            type=ListOf(item=Kind.STRING),
            description="Where the target listens, each as `address:port`.",
        ),
        Field(name="target", type=Kind.STRING, description="The target's name (IQN)."),
        Field(
            name="volumes",
            type=ListOf(item=CONNECTED_VOLUME),
            description="The server's replica and the shared read-only copy.",
        ),
    ),
)


def name_field(*, what: str) -> Field:
    """The engine's name of a resource; it identifies it, so a new name is a new resource."""
    return Field(
        name="name",
        type=Kind.STRING,
        description=f"The {what}'s name in the engine, unique among the live ones.",
        required=True,
        derived=True,
        replace=True,
        pattern=NAME_PATTERN,
        pattern_hint=NAME_HINT,
    )


def labels_field(*, use: str) -> Field:
    """Free words on a resource."""
    return Field(
        name="labels",
        type=LABELS,
        description=f"Free words by key, changed in place; {use}",
    )


def initiator_field() -> Field:
    """The initiator name of a server; case does not count in one."""
    return Field(
        name="initiator",
        type=Kind.STRING,
        description=(
            "The server's iSCSI initiator name (IQN), unique among servers. Leave it out for a "
            "server of the `local` fabric. A change is granted anew to its attachments; it is "
            "refused while the server is logged in."
        ),
        ignore_case=True,
        pattern=INITIATOR_PATTERN,
        pattern_hint=INITIATOR_HINT,
    )
