"""The shapes of nested arguments; a plain dict of the same keys will do.

They are the declaration's object types, spelled for type checkers; a test holds the two together.
"""

from collections.abc import Sequence
from typing import Literal, NotRequired, Required, TypeAlias, TypedDict

import pulumi

SystemUserKind: TypeAlias = Literal["customer", "application"]
PortionRole: TypeAlias = Literal["read_only", "writable"]
CloneMode: TypeAlias = Literal["auto", "thin", "full"]
WhenEmpty: TypeAlias = Literal["wait", "fail"]
ScrubMethod: TypeAlias = Literal["reformat", "zero", "discard"]
AfterScrub: TypeAlias = Literal["recycle", "destroy"]
VerifyMode: TypeAlias = Literal["none", "sample", "full"]
Assurance: TypeAlias = Literal["clear", "purge"]
ChapMode: TypeAlias = Literal["generated", "given", "none"]


class SystemUserArgs(TypedDict):
    """Who servers and storage are allocated to. Two kinds with one name are two users."""

    name: Required[pulumi.Input[str]]
    kind: Required[pulumi.Input[SystemUserKind]]


class ImagePortionArgs(TypedDict):
    """Where one portion's content comes from.

    ``source`` is a path on the engine's side or an http(s) URL; ``format`` is ``auto``, ``raw`` or
    any that qemu-img reads; ``size`` (such as ``10GiB``) grows it; ``sha256`` is of the source.
    """

    source: Required[pulumi.Input[str]]
    format: NotRequired[pulumi.Input[str]]
    size: NotRequired[pulumi.Input[str]]
    sha256: NotRequired[pulumi.Input[str]]


class PreconfiguredFileArgs(TypedDict):
    """One file written into a portion's file system at import.

    Exactly one of ``content`` and ``source`` is given; ``mode`` is octal, ``0644`` by default.
    """

    portion: Required[pulumi.Input[PortionRole]]
    path: Required[pulumi.Input[str]]
    content: NotRequired[pulumi.Input[str]]
    source: NotRequired[pulumi.Input[str]]
    mode: NotRequired[pulumi.Input[str]]


class RolloutArgs(TypedDict):
    """How ready replicas of an old image version are replaced: how many may be away at once."""

    max_unavailable: NotRequired[pulumi.Input[int]]


class ScrubPolicyArgs(TypedDict):
    """When and how released volumes are erased before anyone else can have them.

    One run takes all when ``threshold`` (10) are released, by ``method`` (``reformat``), and
    ``then`` recycles or destroys them; ``on_low_space`` (True) scrubs earlier where a server waits
    for want of space. ``max_age`` (such as ``7d``), ``max_bytes`` (``1TiB``) and ``on_low_stock``
    (fewer ready than this, and no more clones fit) are further causes.
    ``verify`` reads back; ``undo_window`` leaves released volumes alone for so long; ``windows``
    say when it may run (UTC, ``22:00-06:00``); ``assurance`` is what it must promise.
    """

    threshold: NotRequired[pulumi.Input[int]]
    method: NotRequired[pulumi.Input[ScrubMethod]]
    then: NotRequired[pulumi.Input[AfterScrub]]
    on_low_space: NotRequired[pulumi.Input[bool]]
    max_age: NotRequired[pulumi.Input[str]]
    max_bytes: NotRequired[pulumi.Input[str]]
    on_low_stock: NotRequired[pulumi.Input[int]]
    verify: NotRequired[pulumi.Input[VerifyMode]]
    undo_window: NotRequired[pulumi.Input[str]]
    windows: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    assurance: NotRequired[pulumi.Input[Assurance]]


class InlineServerArgs(TypedDict):
    """A server that comes with its first attachment and goes with its last."""

    name: Required[pulumi.Input[str]]
    initiator: NotRequired[pulumi.Input[str]]


class ChapArgs(TypedDict):
    """The CHAP account that a server logs in with; username and secret with mode ``given``."""

    mode: NotRequired[pulumi.Input[ChapMode]]
    username: NotRequired[pulumi.Input[str]]
    secret: NotRequired[pulumi.Input[str]]


class AttachmentTimeoutsArgs(TypedDict):
    """How long each operation may take, such as ``90s``; ``5m`` by default."""

    create: NotRequired[pulumi.Input[str]]
    update: NotRequired[pulumi.Input[str]]
    delete: NotRequired[pulumi.Input[str]]
