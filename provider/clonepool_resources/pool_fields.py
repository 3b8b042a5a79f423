"""The declaration of replica pools."""

from __future__ import annotations

from typing import Final

from clonepool_resources import rules
from clonepool_resources.shared_fields import NAME_HINT, NAME_PATTERN, name_field
from clonepool_resources.types import EnumType, Field, Kind, ListOf, ObjectType, Resource

CLONE_MODE: Final = EnumType(
    name="CloneMode",
    description="What a replica is on the storage.",
    values={
        "auto": "Thin where the storage can, else full.",
        "thin": "Shares its unchanged blocks with the image; refused where the storage can't.",
        "full": "A copy of its own.",
    },
)
WHEN_EMPTY: Final = EnumType(
    name="WhenEmpty",
    description="What an attachment does when no replica is ready.",
    values={
        "wait": "Takes its place in the queue, first come, first served.",
        "fail": "Fails at once, with the pool's counts.",
    },
)
SCRUB_METHOD: Final = EnumType(
    name="ScrubMethod",
    description="How a released volume's bytes are erased.",
    values={
        "reformat": "The volume is made anew, empty, and cloned again where it is reused.",
        "zero": "Overwritten with zeros.",
        "discard": "Discarded on the storage.",
    },
)
VERIFY_MODE: Final = EnumType(
    name="VerifyMode",
    description="How much is read back after a volume was erased.",
    values={
        "none": "Nothing.",
        "sample": "The first block, the last, and 64 at random places.",
        "full": "All of it.",
    },
)
ASSURANCE: Final = EnumType(
    name="Assurance",
    description="What a scrub must promise of the medium, in the words of NIST SP 800-88.",
    values={
        "clear": "Nothing written before reads back through the storage's own interface.",
        "purge": "Nothing can be had from the medium either; refused where the storage can't.",
    },
)
AFTER_SCRUB: Final = EnumType(
    name="AfterScrub",
    description="What becomes of a scrubbed volume.",
    values={
        "recycle": "It refills the pool, up to `min_ready`; the rest is destroyed.",
        "destroy": "It is destroyed.",
    },
)

ROLLOUT: Final = ObjectType(
    name="Rollout",
    description="How ready replicas of an old image version are replaced.",
    fields=(
        Field(
            name="max_unavailable",
            type=Kind.INT,
            description="How many ready replicas may be away at once.",
            default=1,
            minimum=1,
        ),
    ),
)
SCRUB: Final = ObjectType(
    name="ScrubPolicy",
    description="When and how released volumes are erased before anyone else can have them.",
    fields=(
        Field(
            name="threshold",
            type=Kind.INT,
            description="When this many volumes are released, one run scrubs them all.",
            default=10,
            minimum=1,
        ),
        Field(
            name="method",
            type=SCRUB_METHOD,
            description="How they are erased.",
            default="reformat",
        ),
        Field(
            name="then",
            type=AFTER_SCRUB,
            description="What becomes of them after it.",
            default="recycle",
        ),
        Field(
            name="on_low_space",
            type=Kind.BOOL,
            description="Scrub below the threshold when a server waits for want of space.",
            default=True,
        ),
        Field(
            name="max_age",
            type=Kind.DURATION,
            description="Scrub when the oldest was released so long ago.",
        ),
        Field(
            name="max_bytes",
            type=Kind.SIZE,
            description="Scrub when those released are so large together, as servers see them.",
        ),
        Field(
            name="on_low_stock",
            type=Kind.INT,
            description=(
                "Scrub when fewer replicas than this are ready, at most `min_ready`, and the "
                "storage has no space for the clones that are missing. Left out, never for that."
            ),
            minimum=1,
        ),
        Field(
            name="verify",
            type=VERIFY_MODE,
            description="How much is read back after it; what differs is never handed out.",
            default="none",
        ),
        Field(
            name="undo_window",
            type=Kind.DURATION,
            description=(
                "How long a released volume is left alone, so that its release can be undone; "
                "until then it counts to no trigger."
            ),
            default="0s",
        ),
        Field(
            name="windows",
            type=ListOf(item=Kind.STRING),
            description=(
                "When scrubbing may run, UTC: `22:00-06:00`, `mon-fri 22:00-06:00` or "
                "`sat,sun 00:00-24:00`. Left out, at any time."
            ),
        ),
        Field(
            name="assurance",
            type=ASSURANCE,
            description="What it must promise of the medium; the file backend clears.",
            default="clear",
        ),
    ),
)

REPLICA_POOL: Final = Resource(
    name="ReplicaPool",
    title="pool",
    description=(
        "A stock of replicas of one master image, cloned ahead of time, so that a server gets its "
        "storage in milliseconds. Creation waits until `wait_for_ready` replicas are ready. What "
        "moves by itself (how many are ready now) comes from `get_pool`."
    ),
    fields=(
        name_field(what="pool"),
        Field(
            name="master_image",
            type=Kind.STRING,
            description="The master image's name.",
            required=True,
            replace=True,
            refers_to="MasterImage",
            pattern=NAME_PATTERN,
            pattern_hint=NAME_HINT,
        ),
        Field(
            name="image_version",
            type=Kind.INT,
            description="The image version to stay at. Left out, it follows the current one.",
            minimum=1,
        ),
        Field(
            name="fabric",
            type=Kind.STRING,
            description="The engine's fabric that servers reach it over: `iscsi` or `local`.",
            default="iscsi",
            replace=True,
            pattern=NAME_PATTERN,
            pattern_hint=NAME_HINT,
        ),
        Field(
            name="min_ready",
            type=Kind.INT,
            description="How many ready replicas are kept in stock.",
            default=1,
            minimum=0,
        ),
        Field(
            name="max_replicas",
            type=Kind.INT,
            description="How many replicas there may be, attached ones included.",
            default=100,
            minimum=1,
        ),
        Field(
            name="clone_mode",
            type=CLONE_MODE,
            description="What a replica is on the storage.",
            default="auto",
        ),
        Field(
            name="when_empty",
            type=WHEN_EMPTY,
            description="What an attachment does when no replica is ready.",
            default="wait",
        ),
        Field(
            name="wait_for_ready",
            type=Kind.INT,
            description=(
                "How many replicas must be ready before creation is done, at most `min_ready`. "
                "Left out, it is 1, or 0 where `min_ready` is 0."
            ),
            default=1,
            default_at_most="min_ready",
            minimum=0,
        ),
        Field(
            name="rollout",
            type=ROLLOUT,
            description="How ready replicas of an old image version are replaced.",
            default={},
        ),
        Field(
            name="scrub",
            type=SCRUB,
            description="When and how released volumes are erased.",
            default={},
        ),
    ),
    rules=(rules.stock_fits, rules.scrub_windows),
)
