"""What the engine does and did, as frozen values: operations, scrub runs, their records, events.

Times are POSIX seconds, sizes bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from clonepool.domain.model import SystemUser
from clonepool.domain.read_back import ReadBack
from clonepool.domain.states import (
    AfterScrub,
    OperationState,
    ScrubMethod,
    ScrubRunState,
    Severity,
    VerifyMode,
)


@dataclass(frozen=True, kw_only=True)
class ScrubRun:
    """One batch of released volumes.

    ``trigger``: threshold, bytes, age, demand, low_space, low_stock, deletion, retry or
    destroy.
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
