"""The declaration of servers and of the storage that they are given."""

from __future__ import annotations

from typing import Final

from clonepool_resources import rules
from clonepool_resources.shared_fields import (
    CONNECTION,
    LABELS,
    NAME_HINT,
    NAME_PATTERN,
    SYSTEM_USER,
    initiator_field,
    labels_field,
    name_field,
)
from clonepool_resources.types import EnumType, Field, Kind, ObjectType, Resource

SERVER: Final = Resource(
    name="Server",
    title="server",
    description=(
        "A server in the engine's inventory: a host with an initiator name, or a local one. It "
        "belongs to one system user at a time, for as long as it has attachments."
    ),
    fields=(
        name_field(what="server"),
        initiator_field(),
        labels_field(use="an attachment's `server_selector` picks by them."),
    ),
)

INLINE_SERVER: Final = ObjectType(
    name="InlineServer",
    description="A server that comes with its first attachment and goes with its last.",
    fields=(
        Field(
            name="name",
            type=Kind.STRING,
            description="The server's name.",
            required=True,
            replace=True,
            pattern=NAME_PATTERN,
            pattern_hint=NAME_HINT,
        ),
        initiator_field(),
    ),
)

# tgtd's socket splits on commas
_CHAP_WORD: Final = r"[!-+\--~]([ -+\--~]*[!-+\--~])?"
CHAP_MODE: Final = EnumType(
    name="ChapMode",
    description="Who names the CHAP account of an attachment.",
    values={
        "generated": "The engine makes an account for each export.",
        "given": "The account that is given here.",
        "none": "No CHAP. An initiator name alone is easily forged.",
    },
)
CHAP: Final = ObjectType(
    name="Chap",
    description="The CHAP account that the server logs in with.",
    fields=(
        Field(
            name="mode",
            type=CHAP_MODE,
            description="Who names the account.",
            default="generated",
        ),
        Field(
            name="username",
            type=Kind.STRING,
            description="The account's name, with mode `given` only.",
            pattern=r"(?=.{1,255}$)" + _CHAP_WORD,
            pattern_hint="1 to 255 printable ASCII characters without commas",
        ),
        Field(
            name="secret",
            type=Kind.STRING,
            description="The account's secret, 12 to 255 characters, with mode `given` only.",
            secret=True,
            write_only=True,
            pattern=r"(?=.{12,255}$)" + _CHAP_WORD,
            pattern_hint="12 to 255 printable ASCII characters without commas",
        ),
    ),
)
TIMEOUTS: Final = ObjectType(
    name="AttachmentTimeouts",
    description="How long each operation may take, such as `90s` or `10m`.",
    fields=(
        Field(
            name="create",
            type=Kind.DURATION,
            description="How long to wait for a replica.",
            default="5m",
        ),
        Field(
            name="update",
            type=Kind.DURATION,
            description="How long a change may take.",
            default="5m",
        ),
        Field(
            name="delete",
            type=Kind.DURATION,
            description="How long a release may take.",
            default="5m",
        ),
    ),
)


def _made(name: str, kind: Kind, description: str) -> Field:
    return Field(name=name, type=kind, description=description, computed=True, stable=True)


ATTACHMENT: Final = Resource(
    name="ServerStorageAttachment",
    title="attachment",
    description=(
        "An allocation of a server to a system user together with its storage: a replica of its "
        "own, and the shared read-only copy. Deleting it releases the volume, which is scrubbed "
        "before anyone else can have it. Creation waits for a replica, `timeouts.create` long."
    ),
    fields=(
        name_field(what="attachment"),
        Field(
            name="pool",
            type=Kind.STRING,
            description="The name of the pool that the replica comes from.",
            required=True,
            replace=True,
            refers_to="ReplicaPool",
            pattern=NAME_PATTERN,
            pattern_hint=NAME_HINT,
        ),
        Field(
            name="system_user",
            type=SYSTEM_USER,
            description=(
                "Who the server is allocated to. Needed where the image is shared; else it is the "
                "image's, and must match where it is given."
            ),
            replace=True,
        ),
        Field(
            name="server",
            type=Kind.STRING,
            description=(
                "The server's name. Exactly one of `server`, `inline_server` and "
                "`server_selector` is given; as an output it is the server in any case."
            ),
            replace=True,
            computed=True,
            optional_input=True,
            stable=True,
            refers_to="Server",
            pattern=NAME_PATTERN,
            pattern_hint=NAME_HINT,
        ),
        Field(
            name="inline_server",
            type=INLINE_SERVER,
            description="A server that need not be declared by itself.",
            replace=True,
        ),
        Field(
            name="server_selector",
            type=LABELS,
            description="Picks a server without attachments that has all of these labels.",
            replace=True,
        ),
        Field(
            name="chap",
            type=CHAP,
            description="The CHAP account that the server logs in with (iSCSI).",
            default={},
        ),
        Field(
            name="force_detach",
            type=Kind.BOOL,
            description="Release, or grant anew, even while the server is logged in.",
            default=False,
        ),
        Field(
            name="resume_released",
            type=Kind.BOOL,
            description=(
                "Made again while the volume of its last release is not scrubbed yet, for the same "
                "system user, pool and name, it gets that volume back, bytes and image version "
                "included. The pool's `scrub.undo_window` says for how long that is certain."
            ),
            default=False,
        ),
        Field(
            name="timeouts",
            type=TIMEOUTS,
            description="How long each operation may take.",
            local=True,
        ),
        _made("volume", Kind.STRING, "The id of the server's volume."),
        _made("image_version", Kind.INT, "The image version that the volume was cloned from."),
        _made("warm", Kind.BOOL, "Whether a replica was ready at once, without waiting."),
        Field(
            name="connection",
            type=CONNECTION,
            description="How the server reaches its volumes.",
            computed=True,
            moved_by=("inline_server",),
        ),
        Field(
            name="chap_username",
            type=Kind.STRING,
            description="The CHAP account's name; empty where there is no CHAP.",
            computed=True,
            moved_by=("chap",),
        ),
        Field(
            name="chap_secret",
            type=Kind.STRING,
            description="The CHAP account's secret; empty where there is no CHAP.",
            computed=True,
            secret=True,
            ephemeral=True,
        ),
        _made("allocated_at", Kind.STRING, "When the server got it (RFC 3339, UTC)."),
    ),
    rules=(rules.one_server, rules.chap_account),
)
