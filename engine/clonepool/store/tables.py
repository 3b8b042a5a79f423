"""The tables. Invariants stand here where a schema can hold them, else in the first migration.

Rows never leave ``store``; ``store.rows`` turns them into domain values. ``n`` columns give the
order of insertion; times are POSIX seconds; JSON is kept as text.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlmodel import Field, SQLModel

from clonepool.store import node_tables  # noqa: F401 - one schema, registered with these

LIVE = text("deleted_at IS NULL")
RELEASED = text("state = 'released'")


class Meta(SQLModel, table=True):
    """One fact about this database a row, such as the engine's id."""

    key: str = Field(primary_key=True)
    value: str


class Image(SQLModel, table=True):
    """A master image; a row with ``deleted_at`` is a tombstone until its versions are gone."""

    __table_args__ = (Index("ux_image_name", "name", unique=True, sqlite_where=LIVE),)

    id: str = Field(primary_key=True)
    name: str
    user_name: str | None = None
    user_kind: str | None = None
    storage: str
    labels: str
    token: str
    token_digest: str
    current_version_id: str | None = None
    created_at: float
    deleted_at: float | None = None


class ImageVersion(SQLModel, table=True):
    """One content of an image; ``content`` is the declared sources as JSON."""

    __tablename__ = "image_version"
    __table_args__ = (Index("ux_version_number", "image_id", "number", unique=True),)

    id: str = Field(primary_key=True)
    image_id: str = Field(foreign_key="image.id")
    number: int
    state: str
    storage: str
    content: str
    content_digest: str
    ro_object: str | None = None
    ro_size_bytes: int = Field(default=0, sa_type=BigInteger)
    ro_digest: str = ""
    rw_object: str | None = None
    rw_size_bytes: int = Field(default=0, sa_type=BigInteger)
    rw_digest: str = ""
    error: str = ""
    created_at: float
    # where it lies, "" on a storage that every node reaches
    node: str = Field(default="", sa_column_kwargs={"server_default": ""})


class Pool(SQLModel, table=True):
    """A replica pool; a row with ``deleted_at`` is a tombstone until its volumes are gone."""

    __table_args__ = (
        Index("ux_pool_name", "name", unique=True, sqlite_where=LIVE),
        Index("ix_pool_image", "image_id"),
        CheckConstraint("min_ready <= max_replicas", name="pool_fits"),
    )

    id: str = Field(primary_key=True)
    name: str
    image_id: str = Field(foreign_key="image.id")
    image_name: str
    image_version: int = 0
    fabric: str
    min_ready: int
    max_replicas: int
    clone_mode: str
    when_empty: str
    wait_for_ready: int
    max_unavailable: int
    scrub_threshold: int
    scrub_method: str
    scrub_then: str
    scrub_on_low_space: bool
    clone_kind: str = ""
    failures: int = 0
    stopped_reason: str = ""
    token: str
    token_digest: str
    created_at: float
    deleted_at: float | None = None
    scrub_max_age_s: float = Field(default=0, sa_column_kwargs={"server_default": "0"})
    scrub_max_bytes: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"}
    )
    scrub_verify: str = Field(default="none", sa_column_kwargs={"server_default": "none"})
    scrub_undo_window_s: float = Field(default=0, sa_column_kwargs={"server_default": "0"})
    scrub_windows: str = Field(default="[]", sa_column_kwargs={"server_default": "[]"})
    scrub_assurance: str = Field(default="clear", sa_column_kwargs={"server_default": "clear"})


class Server(SQLModel, table=True):
    """A server; the system user is set exactly while it has attachments."""

    __table_args__ = (
        Index("ux_server_name", "name", unique=True),
        Index(
            "ux_server_initiator",
            "initiator",
            unique=True,
            sqlite_where=text("initiator IS NOT NULL"),
        ),
        CheckConstraint("initiator = lower(initiator)", name="initiator_lower"),
        CheckConstraint("(user_name IS NULL) = (user_kind IS NULL)", name="server_user"),
    )

    id: str = Field(primary_key=True)
    name: str
    initiator: str | None = None
    labels: str
    inline: bool = False
    user_name: str | None = None
    user_kind: str | None = None
    token: str
    token_digest: str
    created_at: float


class Attachment(SQLModel, table=True):
    """A live attachment; when it ends the row goes and its volume remembers who it was."""

    __table_args__ = (
        Index("ux_attachment_id", "id", unique=True),
        Index("ux_attachment_name", "name", unique=True),
        Index("ix_attachment_server", "server_id"),
        Index("ix_attachment_pool", "pool_id"),
        Index("ix_attachment_waiting", "pool_id", "n", sqlite_where=text("state = 'waiting'")),
        Index("ix_attachment_detaching", "changed_at", sqlite_where=text("state = 'detaching'")),
        CheckConstraint("state IN ('waiting', 'attached', 'detaching')", name="attachment_state"),
        CheckConstraint(
            "(state = 'waiting') = (volume_id IS NULL)", name="attachment_holds_volume"
        ),
        {"sqlite_autoincrement": True},
    )

    n: int | None = Field(default=None, primary_key=True)
    id: str
    name: str
    pool_id: str = Field(foreign_key="pool.id")
    server_id: str = Field(foreign_key="server.id")
    user_name: str
    user_kind: str
    state: str
    lease_until: float = 0
    warm: bool
    volume_id: str | None = None
    volume_generation: int = 0
    image_version: int = 0
    spec: str
    chap_mode: str
    chap_username: str = ""
    chap_secret: str = ""  # encrypted, never plain
    force_detach: bool = False
    token: str
    token_digest: str
    created_at: float
    allocated_at: float | None = None
    changed_at: float
    resumed_release: float | None = None  # when the volume was released that it got back


class Volume(SQLModel, table=True):
    """A volume, or a slot; the trigger in the first migration holds the table of moves."""

    __table_args__ = (
        Index("ux_volume_id", "id", unique=True),
        Index(
            "ux_volume_attachment",
            "attachment_id",
            unique=True,
            sqlite_where=text("attachment_id IS NOT NULL"),
        ),
        Index(
            "ix_volume_ready",
            "pool_id",
            "image_version_id",
            "changed_at",
            "n",
            sqlite_where=text("state = 'ready'"),
        ),
        Index("ix_volume_counts", "pool_id", "state", "image_version_id"),
        Index("ix_volume_version", "image_version_id"),
        Index("ix_volume_run", "scrub_run_id", sqlite_where=text("scrub_run_id IS NOT NULL")),
        Index("ix_volume_released", "pool_id", "released_at", sqlite_where=RELEASED),
        CheckConstraint(
            "(state IN ('attaching', 'allocated', 'detaching')) = (attachment_id IS NOT NULL)",
            name="volume_has_one_attachment",
        ),
        CheckConstraint(
            "(state = 'scrubbing') <= (scrub_run_id IS NOT NULL)", name="volume_scrub_run"
        ),
        {"sqlite_autoincrement": True},
    )

    n: int | None = Field(default=None, primary_key=True)
    id: str
    generation: int = 1
    pool_id: str = Field(foreign_key="pool.id")
    image_version_id: str = Field(foreign_key="image_version.id")
    node: str
    storage: str
    fabric: str
    state: str
    slot: bool = False
    size_bytes: int = Field(sa_type=BigInteger)
    used_bytes: int = Field(default=0, sa_type=BigInteger)
    clone_kind: str = ""
    attachment_id: str | None = None
    last_attachment_id: str = ""
    last_user_name: str | None = None
    last_user_kind: str | None = None
    last_server: str = ""
    last_allocated_at: float | None = None
    released_at: float | None = None
    scrub_run_id: str | None = None
    after_scrub: str = ""
    error: str = ""
    created_at: float
    changed_at: float
    # what was read back of this generation, as JSON, until its scrub record holds it
    read_back: str = Field(default="", sa_column_kwargs={"server_default": ""})


class ReleasedAttachment(SQLModel, table=True):
    """An attachment that ended, whole, for as long as its volume is released and not scrubbed.

    ``superseded``: another attachment of the same name was released after it.
    """

    __tablename__ = "released_attachment"
    __table_args__ = (Index("ix_released_name", "name"), Index("ix_released_id", "attachment_id"))

    volume_id: str = Field(primary_key=True)
    generation: int
    attachment_id: str
    name: str
    pool_id: str
    user_name: str
    user_kind: str
    released_at: float
    superseded: bool = False
    attachment: str  # the row as JSON; the CHAP secret in it is sealed
    server: str  # the server's row as JSON


class AuditEntry(SQLModel, table=True):
    """One link of the audit's chain; never changed. ``n`` has no gaps."""

    __tablename__ = "audit_entry"
    __table_args__ = (Index("ix_audit_at", "at"),)

    n: int = Field(primary_key=True)
    at: float
    body: str  # the canonical JSON that is hashed
    hash: str


class Hold(SQLModel, table=True):
    """What one ticket holds of one pool: so many ready replicas, none in particular."""

    __table_args__ = (
        Index("ux_hold_pool", "ticket", "pool_id", unique=True),
        Index("ix_hold_token", "token"),
        # all that a claim reads of it, so that it never looks at the rows
        Index(
            "ix_hold_active",
            "pool_id",
            "expires_at",
            "n",
            "remaining",
            sqlite_where=text("remaining > 0"),
        ),
        CheckConstraint("0 <= remaining AND remaining <= count", name="hold_remaining"),
        CheckConstraint("count >= 1", name="hold_count"),
        {"sqlite_autoincrement": True},
    )

    n: int | None = Field(default=None, primary_key=True)
    ticket: str
    pool_id: str = Field(foreign_key="pool.id")
    count: int
    remaining: int
    owner: str
    token: str
    token_digest: str
    created_at: float
    expires_at: float


class ScrubRun(SQLModel, table=True):
    """One batch of released volumes."""

    __tablename__ = "scrub_run"
    __table_args__ = (Index("ux_run_id", "id", unique=True), {"sqlite_autoincrement": True})

    n: int | None = Field(default=None, primary_key=True)
    id: str
    pool_id: str
    pool_name: str
    trigger: str
    method: str
    state: str
    volumes: int
    recycled: int = 0
    destroyed: int = 0
    faulty: int = 0
    started_at: float
    finished_at: float | None = None
    verify: str = Field(default="none", sa_column_kwargs={"server_default": "none"})


class ScrubRecord(SQLModel, table=True):
    """Who had one generation of a volume and how its bytes were erased; never changed."""

    __tablename__ = "scrub_record"
    __table_args__ = (
        Index("ux_record_generation", "volume_id", "generation", unique=True),
        Index("ix_record_run", "run_id"),
        {"sqlite_autoincrement": True},
    )

    n: int | None = Field(default=None, primary_key=True)
    volume_id: str
    generation: int
    pool_name: str
    run_id: str
    user_name: str | None = None
    user_kind: str | None = None
    attachment_id: str
    server_name: str
    method: str
    after_scrub: str
    size_bytes: int = Field(sa_type=BigInteger)
    allocated_at: float | None = None
    released_at: float
    started_at: float
    finished_at: float
    verify: str = Field(default="none", sa_column_kwargs={"server_default": "none"})
    result: str = Field(default="none", sa_column_kwargs={"server_default": "none"})
    expected: str = Field(default="", sa_column_kwargs={"server_default": ""})
    bytes_read: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"})
    digest: str = Field(default="", sa_column_kwargs={"server_default": ""})
    hash: str = Field(default="", sa_column_kwargs={"server_default": ""})


class Orphan(SQLModel, table=True):
    """An object on a storage that no row accounts for, in quarantine."""

    storage: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    size_bytes: int = Field(sa_type=BigInteger)
    used_bytes: int = Field(sa_type=BigInteger)
    first_seen_at: float
    seen_at: float
    waited_s: float
    held: str


class Operation(SQLModel, table=True):
    """Background work, written in the same transaction as the state that asks for it."""

    __table_args__ = (
        Index("ux_operation_id", "id", unique=True),
        Index(
            "ux_operation_open",
            "kind",
            "key",
            unique=True,
            sqlite_where=text("state IN ('queued', 'running')"),
        ),
        Index("ix_operation_due", "node", "run_after", "n", sqlite_where=text("state = 'queued'")),
        Index(
            "ix_operation_due_scrub",
            "node",
            "run_after",
            "n",
            sqlite_where=text("state = 'queued' AND kind = 'scrub_volume'"),
        ),
        Index(
            "ix_operation_due_other",
            "node",
            "run_after",
            "n",
            sqlite_where=text("state = 'queued' AND kind != 'scrub_volume'"),
        ),
        Index("ix_operation_key", "key"),
        {"sqlite_autoincrement": True},
    )

    n: int | None = Field(default=None, primary_key=True)
    id: str
    kind: str
    subject: str
    key: str
    state: str
    node: str
    attempt: int = 0
    run_after: float
    owner: str = ""
    fence: int = 0
    lease_until: float = 0
    progress_bytes: int = Field(default=0, sa_type=BigInteger)
    total_bytes: int = Field(default=0, sa_type=BigInteger)
    error: str = ""
    cancel: bool = False
    created_at: float
    finished_at: float | None = None


class Event(SQLModel, table=True):
    """Something worth telling an operator."""

    __table_args__ = ({"sqlite_autoincrement": True},)

    n: int | None = Field(default=None, primary_key=True)
    at: float
    severity: str
    subject: str
    reason: str
    message: str
