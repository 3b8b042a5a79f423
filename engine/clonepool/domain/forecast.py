"""What a forecast is asked, what it looks at, and what it says. Pure values.

A ``Plan`` is what an infrastructure program is about to do; a ``Snapshot`` is what the engine
holds now; ``clonepool.domain.forecast_run`` plays the one on the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from clonepool.domain.model import AttachmentSpec, ImageSpec, PoolSpec, ServerSpec, SystemUser
from clonepool.domain.policy import Scrubbing


class Thing(StrEnum):
    """The four kinds of things that a plan changes."""

    IMAGE = "image"
    POOL = "pool"
    SERVER = "server"
    ATTACHMENT = "attachment"


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """What others call a change by ("": nobody does), and the keys of what comes before it.

    Where one of those that come before it fails, it is not made.
    """

    key: str = ""
    after: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Attach(Ordered):
    """Allocate. Names in ``spec`` may be ""; ``unknown`` names fields known after the apply."""

    spec: AttachmentSpec
    label: str = ""
    unknown: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class PutImage(Ordered):
    """Create an image, or change it; ``content_changes`` None: to be found out by comparing."""

    spec: ImageSpec
    label: str = ""
    create: bool = False
    content_changes: bool | None = None


@dataclass(frozen=True, kw_only=True)
class PutPool(Ordered):
    """Create a pool, or change it."""

    spec: PoolSpec
    label: str = ""
    create: bool = False


@dataclass(frozen=True, kw_only=True)
class PutServer(Ordered):
    """Create a server, or change it; its name may be ""."""

    spec: ServerSpec
    label: str = ""
    create: bool = False


@dataclass(frozen=True, kw_only=True)
class Remove:
    """Release an attachment, or delete another thing; ``first`` where it comes before creates."""

    thing: Thing
    name: str
    label: str = ""
    first: bool = False


Made: TypeAlias = Attach | PutImage | PutPool | PutServer
Change: TypeAlias = Made | Remove


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Changes in the order in which they are begun within their phase.

    ``hold`` is the ticket that the attachments will bring, "" for none.
    """

    changes: tuple[Change, ...]
    stop_at_failure: bool = False
    hold: str = ""


@dataclass(frozen=True, kw_only=True)
class VersionView:
    """One version that is ready; ``writable_bytes`` None: it has no writable portion."""

    number: int
    writable_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class ImageView:
    """A live image. ``current`` is 0 while no version is ready; ``content`` is of the latest."""

    name: str
    system_user: SystemUser | None
    storage: str
    current: int
    latest: int
    content: str  # digest
    versions: tuple[VersionView, ...]


@dataclass(frozen=True, kw_only=True)
class TicketView:
    """What a ticket still holds of a pool."""

    ticket: str
    remaining: int


@dataclass(frozen=True, kw_only=True)
class ReleasedView:
    """A released volume; ``attachment`` is the name of who can resume it, "" where nobody can."""

    size_bytes: int
    age_s: float = math.inf  # since its release
    attachment: str = ""
    system_user: SystemUser | None = None
    image_version: int = 0


@dataclass(frozen=True, kw_only=True)
class PoolView:
    """A live pool; counts by image version, released volumes, the longest released first.

    ``tickets`` are those that hold some of what is ready, the oldest first.
    ``clone_s`` is how long one clone took lately, None where none has ended; ``clones_seen`` is
    of how many that is the mean.
    """

    spec: PoolSpec
    stopped_reason: str = ""
    ready: Mapping[int, int] = field(default_factory=dict)
    making: Mapping[int, int] = field(default_factory=dict)
    held: Mapping[int, int] = field(default_factory=dict)  # attaching, allocated, detaching
    recycling: int = 0
    destroying: int = 0  # in a scrub that ends in their deletion
    released: tuple[ReleasedView, ...] = ()
    waiting: int = 0
    tickets: tuple[TicketView, ...] = ()
    full_clones: bool = False
    clone_s: float | None = None
    clones_seen: int = 0


@dataclass(frozen=True, kw_only=True)
class AttachmentView:
    """A live attachment; ``busy`` where a release would find the server logged in."""

    name: str
    pool: str
    server: str
    image_version: int  # 0 while it waits
    slot: bool = False
    size_bytes: int = 0
    busy: bool = False
    system_user: SystemUser | None = None


@dataclass(frozen=True, kw_only=True)
class ServerView:
    """A server, with the one whom it serves while it has attachments."""

    spec: ServerSpec
    system_user: SystemUser | None
    inline: bool


@dataclass(frozen=True, kw_only=True)
class StorageView:
    """A storage; ``left_bytes`` is free less reserve less what full clones may still grow by.

    ``promisable_bytes`` is what its overcommit ratio lets it promise yet, None: any number.
    """

    thin_clones: bool
    scrubbing: Scrubbing
    left_bytes: int
    promisable_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class FabricView:
    """What a fabric asks of servers, and whether it knows CHAP."""

    needs_initiator: bool
    chap: bool


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What the engine holds, all of one moment; servers in the order a selector picks them.

    ``at`` is that moment, POSIX: what may be scrubbed depends on the time of day.
    """

    at: float = 0.0

    images: tuple[ImageView, ...] = ()
    pools: tuple[PoolView, ...] = ()
    servers: tuple[ServerView, ...] = ()
    attachments: tuple[AttachmentView, ...] = ()
    storages: Mapping[str, StorageView] = field(default_factory=dict)
    fabrics: Mapping[str, FabricView] = field(default_factory=dict)


class Outcome(StrEnum):
    """What becomes of an attachment."""

    WARM = "warm"
    WAITS = "waits"
    FAILS = "fails"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class AttachmentForecast:
    """``place`` counts from 1 where it waits; ``wait_s`` None: nothing to estimate by.

    ``held``: it is warm by the plan's ticket.
    """

    label: str
    name: str
    pool: str
    outcome: Outcome
    place: int = 0
    wait_s: float | None = None
    estimate: str = ""
    reason: str = ""
    held: bool = False


@dataclass(frozen=True, kw_only=True)
class StockCounts:
    """A pool's stock at one moment."""

    ready: int = 0
    stale: int = 0
    allocated: int = 0
    released: int = 0
    waiting: int = 0
    held: int = 0


@dataclass(frozen=True, kw_only=True)
class PoolForecast:
    """What a plan does to a pool; see the message of the same name."""

    name: str
    before: StockCounts
    after: StockCounts
    created: bool
    deleted: bool
    threshold: int
    reaches_threshold: bool
    scrubbed: int
    scrubbed_at_least: int
    scrubbed_bytes: int
    recycled: int
    destroyed: int
    stale_replaced: int
    servers_on_old_version: int
    image_version: int


@dataclass(frozen=True, kw_only=True)
class ImageForecast:
    """What a plan does to an image; ``version`` is the current one after it."""

    name: str
    new_version: bool
    version: int
    deleted: bool


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What will not work; ``subject`` as in events ("pool/web"), ``text`` with the way out."""

    subject: str
    label: str
    reason: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """All that a plan does."""

    attachments: tuple[AttachmentForecast, ...]
    pools: tuple[PoolForecast, ...]
    images: tuple[ImageForecast, ...]
    failures: tuple[Failure, ...]
    deletes_skipped: bool
