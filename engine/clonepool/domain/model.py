"""The things Clonepool knows, as frozen values. Times are POSIX seconds, sizes bytes.

A ``*Spec`` is what a user declares; the other classes are what the engine knows about it.
``id`` is the UUID of one incarnation, ``name`` is unique among the live things of its kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from clonepool.domain.read_back import ReadBack
from clonepool.domain.states import (
    AfterScrub,
    Assurance,
    AttachmentState,
    ChapMode,
    CloneMode,
    OperationState,
    PortionRole,
    ScrubMethod,
    ScrubRunState,
    Severity,
    SystemUserKind,
    VerifyMode,
    VersionState,
    VolumeState,
    WhenEmpty,
)
from clonepool.errors import InvalidArgument


@dataclass(frozen=True, kw_only=True)
class SystemUser:
    """Who servers and storage are allocated to. Two kinds with one name are two users."""

    name: str
    kind: SystemUserKind

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, kw_only=True)
class PortionSpec:
    """Where one portion's content comes from.

    ``format`` is ``auto``, ``raw`` or any format qemu-img reads; ``size_bytes`` 0 keeps the
    source's virtual size, a larger value grows it; ``sha256`` (hex) is of the source file, ""
    leaves it unchecked.
    """

    source: str
    format: str = "auto"
    size_bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Preconfigure:
    """One file written into a portion's file system at import.

    Exactly one of ``content`` and ``source`` is set; ``mode`` is the permission bits.
    """

    portion: PortionRole
    path: str
    content: str | None = None
    source: str | None = None
    mode: int = 0o644


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """A master image as declared. ``system_user`` None means shared."""

    name: str
    system_user: SystemUser | None = None
    read_only: PortionSpec | None = None
    writable: PortionSpec | None = None
    preconfigure: tuple[Preconfigure, ...] = ()
    storage: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ImagePortion:
    """One imported portion: its object on the storage, size and content digest."""

    object_name: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class ImageVersion:
    """One imported content of a master image; ``number`` counts from 1."""

    id: str
    image_id: str
    number: int
    state: VersionState
    storage: str
    read_only: ImagePortion | None
    writable: ImagePortion | None
    error: str
    created_at: float
    node: str = ""  # where it lies, "" on a storage that every node reaches


@dataclass(frozen=True, kw_only=True)
class MasterImage:
    """A master image; ``current`` is the newest version that is ready, ``latest`` the newest."""

    id: str
    spec: ImageSpec
    current: ImageVersion | None
    latest: ImageVersion
    created_at: float


@dataclass(frozen=True, kw_only=True)
class ScrubPolicy:
    """When and how a pool's released volumes are erased.

    ``max_age_s`` and ``max_bytes`` 0 are no triggers. A released volume counts, and is erased, only
    when ``undo_window_s`` has passed since. ``windows`` (``clonepool.windows``) empty: any time.
    """

    threshold: int = 10
    method: ScrubMethod = ScrubMethod.REFORMAT
    then: AfterScrub = AfterScrub.RECYCLE
    on_low_space: bool = True
    max_age_s: float = 0
    max_bytes: int = 0
    verify: VerifyMode = VerifyMode.NONE
    undo_window_s: float = 0
    windows: tuple[str, ...] = ()
    assurance: Assurance = Assurance.CLEAR


@dataclass(frozen=True, kw_only=True)
class PoolSpec:
    """A replica pool as declared. ``image_version`` 0 follows the current version."""

    name: str
    master_image: str
    image_version: int = 0
    fabric: str = "iscsi"
    min_ready: int = 1
    max_replicas: int = 100
    clone_mode: CloneMode = CloneMode.AUTO
    when_empty: WhenEmpty = WhenEmpty.WAIT
    wait_for_ready: int = 1
    max_unavailable: int = 1
    scrub: ScrubPolicy = field(default_factory=ScrubPolicy)


@dataclass(frozen=True, kw_only=True)
class PoolCounts:
    """A pool's volumes by state, and its queue.

    ``stale`` of the ready ones and ``making_stale`` of those being made have an old version;
    ``recycling`` of those being scrubbed will be ready again; ``held`` of the ready ones are for
    tickets only.
    """

    by_state: Mapping[VolumeState, int]
    stale: int = 0
    making_stale: int = 0
    recycling: int = 0
    waiting: int = 0
    held: int = 0

    def of(self, *states: VolumeState) -> int:
        """How many volumes are in any of ``states``."""
        return sum(self.by_state.get(state, 0) for state in states)


@dataclass(frozen=True, kw_only=True)
class ReplicaPool:
    """A replica pool; ``stopped_reason`` is set when repeated failures stopped its filling."""

    id: str
    spec: PoolSpec
    image_id: str
    counts: PoolCounts
    clone_kind: str  # "thin", "full", or "" before the first clone
    failures: int
    stopped_reason: str
    created_at: float


@dataclass(frozen=True, kw_only=True)
class ServerSpec:
    """A server as declared. ``initiator`` is its IQN, lower case, or "" for a local server."""

    name: str
    initiator: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server in the inventory; ``system_user`` is set while it has attachments."""

    id: str
    spec: ServerSpec
    system_user: SystemUser | None
    attachments: int
    inline: bool
    created_at: float


@dataclass(frozen=True, kw_only=True)
class ChapSpec:
    """CHAP as asked for; username and secret only with mode ``given``."""

    mode: ChapMode = ChapMode.GENERATED
    username: str = ""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class ChapAccount:
    """The CHAP account of one export generation."""

    username: str
    secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class AttachmentSpec:
    """An attachment as declared; exactly one of the three ways to name the server is set.

    ``resume_released``: made again in time, it gets the volume back that it had.
    """

    name: str
    pool: str
    system_user: SystemUser | None = None
    server: str = ""
    inline_server: ServerSpec | None = None
    server_selector: Mapping[str, str] = field(default_factory=dict)
    chap: ChapSpec = field(default_factory=ChapSpec)
    force_detach: bool = False
    resume_released: bool = False


@dataclass(frozen=True, kw_only=True)
class ConnectedVolume:
    """One volume as the server sees it: a LUN on iSCSI, a path on the local fabric."""

    role: PortionRole
    size_bytes: int
    read_only: bool
    lun: int | None = None
    path: str | None = None
    serial: str = ""
    wwn: str = ""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How the server reaches its volumes; ``portals`` are ``address:port``."""

    fabric: str
    target: str
    portals: tuple[str, ...]
    volumes: tuple[ConnectedVolume, ...]


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """An allocation of a server to a system user, with its storage.

    ``place`` counts from 1 while WAITING, else 0. ``warm`` says that it never had to wait.
    ``hold_note`` tells who has just made it why the ticket that came along was no use.
    ``resumed_release`` is when the volume was released that it got back, None for a replica.
    """

    id: str
    spec: AttachmentSpec
    state: AttachmentState
    place: int
    pool_id: str
    server_id: str
    server_name: str
    system_user: SystemUser
    volume_id: str
    volume_generation: int
    image_version: int
    warm: bool
    connection: Connection | None
    chap: ChapAccount | None
    created_at: float
    allocated_at: float | None
    hold_note: str = ""
    resumed_release: float | None = None


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One logical volume, or a slot (no bytes of its own) for an image without a writable portion.

    ``object_name`` is its name on the storage in this generation; names are never reused.
    """

    id: str
    generation: int
    pool_id: str
    pool_name: str
    image_version_id: str
    image_version: int
    state: VolumeState
    slot: bool
    node: str
    storage: str
    fabric: str
    object_name: str
    target: str
    size_bytes: int
    clone_kind: str
    attachment_id: str | None
    last_attachment_id: str
    last_system_user: SystemUser | None
    scrub_run_id: str | None
    error: str
    created_at: float
    changed_at: float


@dataclass(frozen=True, kw_only=True)
class ScrubRun:
    """One batch of released volumes.

    ``trigger``: threshold, bytes, age, demand, low_space, deletion, retry or destroy.
    """

    id: str
    pool_id: str
    pool_name: str
    trigger: str
    method: ScrubMethod
    verify: VerifyMode
    state: ScrubRunState
    volumes: int
    scrubbed: int
    recycled: int
    destroyed: int
    faulty: int
    started_at: float
    finished_at: float | None


@dataclass(frozen=True, kw_only=True)
class ScrubRecord:
    """Who had one generation of a volume, and when and how its bytes were erased.

    ``hash`` is the record's own in the chain of the audit.
    """

    id: int
    volume_id: str
    generation: int
    pool_name: str
    run_id: str
    system_user: SystemUser | None
    attachment_id: str
    server_name: str
    method: ScrubMethod
    then: AfterScrub
    size_bytes: int
    allocated_at: float | None
    released_at: float
    started_at: float
    finished_at: float
    read_back: ReadBack
    hash: str


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A piece of background work: what, on what, how far, and what went wrong last."""

    id: str
    kind: str
    subject: str  # "image/web", "volume/<id>"
    key: str
    state: OperationState
    node: str
    attempt: int
    run_after: float
    fence: int
    progress_bytes: int
    total_bytes: int
    error: str
    cancel: bool
    created_at: float
    finished_at: float | None


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something worth telling an operator; ``id`` only grows."""

    id: int
    at: float
    severity: Severity
    subject: str  # "pool/web", "volume/<id>"
    reason: str  # UPPER_SNAKE, stable
    message: str


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A thing by its id or by its live name; exactly one is set."""

    id: str = ""
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.id


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """One page of a listing: at most ``size`` rows after ``token`` ("" from the start)."""

    size: int = 1000
    token: str = ""
    name_prefix: str = ""

    def row(self) -> int:
        """The token as a row's number, 0 from the start. Raises InvalidArgument for no token."""
        text = self.token or "0"
        # 18 digits: what a database's integer holds for certain
        if not re.fullmatch(r"[0-9]{1,18}", text):
            problem = f"{text[:40]!r} is no token of an earlier answer; begin without one"
            raise InvalidArgument.field("page_token", problem)
        return int(text)
