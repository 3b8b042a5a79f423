"""States and the one table of allowed moves of each kind of thing."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class VolumeState(StrEnum):
    """Where a volume is in its life; the "-ing" states are worked off by one controller each."""

    PLANNED = "planned"
    CLONING = "cloning"
    READY = "ready"
    ATTACHING = "attaching"
    ALLOCATED = "allocated"
    DETACHING = "detaching"
    RELEASED = "released"
    SCRUBBING = "scrubbing"
    DELETING = "deleting"  # and then gone: the row goes with the object
    FAULTY = "faulty"


V = VolumeState

# RELEASED -> SCRUBBING is the only way out of the last user's bytes to anybody else: no arrow leads
# from RELEASED or DETACHING to READY. RELEASED -> ATTACHING gives them back to the one who had them
# (an undone release, a resumed attachment); the store's trigger checks that it is the same system
# user. A slot (no writable portion) has no bytes, so it alone may go DETACHING -> CLONING or
# DELETING; the store's trigger checks `slot`. READY and RELEASED -> FAULTY where the object is gone
# or was changed behind the engine's back.
VOLUME_MOVES: Final[Mapping[VolumeState, frozenset[VolumeState]]] = {
    V.PLANNED: frozenset({V.CLONING, V.DELETING}),
    V.CLONING: frozenset({V.READY, V.DELETING}),
    V.READY: frozenset({V.ATTACHING, V.DELETING, V.FAULTY}),
    V.ATTACHING: frozenset({V.ALLOCATED, V.DETACHING}),
    V.ALLOCATED: frozenset({V.DETACHING}),
    V.DETACHING: frozenset({V.RELEASED, V.CLONING, V.DELETING}),
    V.RELEASED: frozenset({V.SCRUBBING, V.ATTACHING, V.FAULTY}),
    V.SCRUBBING: frozenset({V.CLONING, V.DELETING, V.FAULTY}),
    V.DELETING: frozenset(),
    V.FAULTY: frozenset({V.SCRUBBING}),
}

# What `max_replicas` counts: released volumes below the threshold must not starve a pool.
CAPACITY_STATES: Final = frozenset(
    {V.PLANNED, V.CLONING, V.READY, V.ATTACHING, V.ALLOCATED, V.DETACHING, V.SCRUBBING}
)


class AttachmentState(StrEnum):
    """An attachment waits for a replica, holds one, or gives it back."""

    WAITING = "waiting"
    ATTACHED = "attached"
    DETACHING = "detaching"  # and then gone: the volume and its scrub record remember it


class VersionState(StrEnum):
    """An image version is imported once, then serves until nothing refers to it."""

    IMPORTING = "importing"
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"


class OperationState(StrEnum):
    """A piece of background work."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ScrubRunState(StrEnum):
    """A scrub run is open until each of its volumes is scrubbed or faulty."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class CloneMode(StrEnum):
    """What a clone should be; what it really was is THIN or FULL."""

    AUTO = "auto"
    THIN = "thin"
    FULL = "full"


class WhenEmpty(StrEnum):
    """What an attachment does when no replica is ready."""

    WAIT = "wait"
    FAIL = "fail"


class ScrubMethod(StrEnum):
    """How a released volume's bytes are erased."""

    REFORMAT = "reformat"
    ZERO = "zero"
    DISCARD = "discard"


class VerifyMode(StrEnum):
    """How much is read back after a volume was erased."""

    NONE = "none"
    SAMPLE = "sample"
    FULL = "full"


class Assurance(StrEnum):
    """What a scrub promises of the medium, in the words of NIST SP 800-88; rising."""

    CLEAR = "clear"
    PURGE = "purge"


class AfterScrub(StrEnum):
    """What becomes of a scrubbed volume."""

    RECYCLE = "recycle"
    DESTROY = "destroy"


class ChapMode(StrEnum):
    """Who names the CHAP account of an attachment."""

    GENERATED = "generated"
    GIVEN = "given"
    NONE = "none"


class SystemUserKind(StrEnum):
    """A system user is a customer or an application."""

    CUSTOMER = "customer"
    APPLICATION = "application"


class PortionRole(StrEnum):
    """The two portions of a master image, and the two volumes a server sees."""

    READ_ONLY = "read_only"
    WRITABLE = "writable"


class Severity(StrEnum):
    """How much an event matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
