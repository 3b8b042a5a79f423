"""The declaration of master images."""

from __future__ import annotations

from typing import Final

from clonepool_resources import rules
from clonepool_resources.shared_fields import (
    NAME_HINT,
    NAME_PATTERN,
    SYSTEM_USER,
    labels_field,
    name_field,
)
from clonepool_resources.types import EnumType, Field, Kind, ListOf, ObjectType, Resource

# a path has at most so many characters
_SOURCE_PATTERN: Final = r"(?=.{1,4095}\Z)(/|(?i:https?)://)(.*\S)?"
_SOURCE_HINT: Final = "an absolute path on the engine's machine, or an http(s) URL"

PORTION: Final = ObjectType(
    name="ImagePortion",
    description="Where one portion's content comes from.",
    fields=(
        Field(
            name="source",
            type=Kind.STRING,
            description=(
                "A path on the engine's side, under one of its import roots, or an http(s) URL."
            ),
            required=True,
            pattern=_SOURCE_PATTERN,
            pattern_hint=_SOURCE_HINT,
        ),
        Field(
            name="format",
            type=Kind.STRING,
            description="`auto`, `raw`, or any format that qemu-img reads, such as `qcow2`.",
            default="auto",
            pattern=r"[a-z0-9][a-z0-9_-]{0,31}",
            pattern_hint="auto, raw or a format that qemu-img reads",
        ),
        Field(
            name="size",
            type=Kind.SIZE,
            description=(
                "The size to grow it to, such as `10GiB`, a multiple of 512 bytes. Left out, it is "
                "the source's own size."
            ),
        ),
        Field(
            name="sha256",
            type=Kind.STRING,
            description="The source file's SHA-256 in hex; the import fails where it differs.",
            ignore_case=True,
            pattern=r"[0-9a-fA-F]{64}",
            pattern_hint="64 hexadecimal digits",
        ),
    ),
)

PORTION_ROLE: Final = EnumType(
    name="PortionRole",
    description="Which portion of a master image.",
    values={
        "read_only": "The portion that all servers share and none can write.",
        "writable": "The portion that is cloned for every server.",
    },
)

PRECONFIGURE: Final = ObjectType(
    name="PreconfiguredFile",
    description="One file written into a portion's file system at import.",
    fields=(
        Field(
            name="portion",
            type=PORTION_ROLE,
            description="The portion that it is written into.",
            required=True,
        ),
        Field(
            name="path",
            type=Kind.STRING,
            description="Its absolute path inside the portion's file system.",
            required=True,
            pattern=r"(/(?!\.{1,2}(/|$))[^/\0]{1,255})+",
            pattern_hint="the absolute path of a file, without `..`",
        ),
        Field(
            name="content",
            type=Kind.STRING,
            description="Its text. Exactly one of `content` and `source` is given.",
        ),
        Field(
            name="source",
            type=Kind.STRING,
            description="A path or http(s) URL on the engine's side that its bytes come from.",
            pattern=_SOURCE_PATTERN,
            pattern_hint=_SOURCE_HINT,
        ),
        Field(
            name="mode",
            type=Kind.MODE,
            description="Its permission bits in octal, such as `0600`.",
            default="0644",
        ),
    ),
)


def _per_portion(*, name: str, kind: Kind, what: str) -> ObjectType:
    return ObjectType(
        name=name,
        description=f"The {what} of each portion; a portion the image lacks is left out.",
        fields=(
            Field(name="read_only", type=kind, description="Of the read-only portion."),
            Field(name="writable", type=kind, description="Of the writable portion."),
        ),
    )


PORTION_DIGESTS: Final = _per_portion(
    name="PortionDigests", kind=Kind.STRING, what="content digest"
)
PORTION_SIZES: Final = _per_portion(name="PortionSizes", kind=Kind.INT, what="size in bytes")

# what makes a new version when it changes
_CONTENT: Final = ("read_only", "writable", "preconfigure")

MASTER_IMAGE: Final = Resource(
    name="MasterImage",
    title="master image",
    description=(
        "A golden image in the engine's storage: a read-only portion that all servers share, a "
        "writable portion that is cloned for each of them, or both. Changed content makes a new "
        "version in place; servers that are attached keep the version they have. Creation waits "
        "until the import is done."
    ),
    fields=(
        name_field(what="master image"),
        Field(
            name="system_user",
            type=SYSTEM_USER,
            description=(
                "Whose image it is. Left out, it is shared: each attachment then names its own."
            ),
            replace=True,
        ),
        Field(
            name="read_only",
            type=PORTION,
            description="The portion that exists once and is read by all servers.",
        ),
        Field(
            name="writable",
            type=PORTION,
            description="The portion that every server gets a replica of.",
        ),
        Field(
            name="preconfigure",
            type=ListOf(item=PRECONFIGURE),
            description="Files written into the portions at import (ext2, ext3 and ext4).",
        ),
        Field(
            name="storage",
            type=Kind.STRING,
            description="The engine's storage that holds the image and its replicas.",
            default="default",
            replace=True,
            pattern=NAME_PATTERN,
            pattern_hint=NAME_HINT,
        ),
        labels_field(use="they have no meaning to the engine."),
        Field(
            name="version",
            type=Kind.INT,
            description="The number of the current version, from 1.",
            computed=True,
            moved_by=_CONTENT,
        ),
        Field(
            name="digests",
            type=PORTION_DIGESTS,
            description="The content digest of each imported portion.",
            computed=True,
            moved_by=_CONTENT,
        ),
        Field(
            name="size_bytes",
            type=PORTION_SIZES,
            description="The size of each imported portion in bytes.",
            computed=True,
            moved_by=_CONTENT,
        ),
    ),
    rules=(
        rules.some_portion,
        rules.sources_with_hosts,
        rules.whole_sectors,
        rules.preconfigured_files,
    ),
)
