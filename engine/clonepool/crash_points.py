"""The boundaries at which a crash matters: between what is durable and what is done outside.

Each has a name, and the code reaches it where it stands: ``reach(Point.RELEASE_BEGUN)``. Nothing
happens there, and nothing in the engine can make anything happen: only a test that observes may
stop, look or die. ``tests/crash`` holds the code to it: a durable write or a driver's verb that
is not told apart from the one before it by a point fails there by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum


class Point(StrEnum):
    """Every crash point; the value is its name on a command line and in a message."""

    # the writer: the one place where anything becomes durable
    COMMITTING = "writer.committing"  # the changes ran; nothing of them is durable
    COMMITTED = "writer.committed"  # durable, and nobody was told

    # a caller's request
    GRANTING = "attachment.granting"  # claimed; nobody is admitted yet
    GRANTED = "attachment.granted"  # the server may log in; neither noted nor told
    EXPORTED_AGAIN = "attachment.exported_again"  # an export that was lost, before its grant
    RELEASE_BEGUN = "release.begun"  # the intent is durable; the server still has access
    REVOKED = "release.revoked"  # no session is left; the target still is
    UNEXPORTED = "release.unexported"  # nothing reaches the volume; its row is not released yet

    # a worker with an operation
    WORK_CLAIMED = "work.claimed"  # owned and intended; nothing done
    WORK_UNDER_WAY = "work.under_way"  # in the middle of a driver's verb
    WORK_DONE = "work.done"  # done; its end is not written
    WORK_FAILED = "work.failed"  # failed; that is not written
    WORK_STOPPED = "work.stopped"  # told to stop, and stopped; that is not written
    CLONE_MADE = "clone.made"  # the object is there; no export
    DELETE_UNEXPORTED = "delete.unexported"  # no export; the object is still there
    SCRUB_UNEXPORTED = "scrub.unexported"  # looked at once more; nothing erased
    SCRUB_ERASED = "scrub.erased"  # overwritten, and read back; the object is still there
    SCRUB_READ = "scrub.read"  # read back; what was read is not noted
    SCRUB_EMPTIED = "scrub.emptied"  # the object is gone; what follows it is not made
    SCRUB_REMADE = "scrub.remade"  # what follows is made already; it is not read back
    SCRUB_BEGUN_AGAIN = "scrub.begun_again"  # what an earlier attempt made is gone
    IMPORT_STAGED = "import.staged"  # made ready beside the storage
    IMPORT_STORED = "import.stored"  # one portion is on the storage; its version is not ready
    VERSION_PORTION_DELETED = "version.portion_deleted"  # of an old version

    # the fabric, made equal to the rows
    START_RECONCILING = "start.reconciling"  # nothing looked at
    RECONCILING = "fabric.reconciling"  # before each verb that mends one target
    START_RECONCILED = "start.reconciled"  # exports are right; no work was taken over
    EXPORT_REMAKING = "export.remaking"  # one that the fabric lost
    EXPORT_REMADE = "export.remade"  # there again; its server is not admitted yet
    EXPORT_LEFT_OVER = "export.left_over"  # one whose volume went meanwhile, before it is removed
    EXPORT_TELLING = "export.telling"  # before an event about the fabric

    # storage and fabric, compared with the rows
    OBJECT_LOST = "object.lost"  # out of service; its export still is there
    OBJECT_UNEXPORTED = "object.unexported"  # out of service, and out of reach; not looked further
    ORPHAN_DUE = "orphan.due"  # no row has come; nothing of it is removed
    ORPHAN_UNEXPORTED = "orphan.unexported"  # the object still is there
    ORPHAN_DELETED = "orphan.deleted"  # still listed in quarantine


# the name, and what it is about: the kind of operation where several share a point
Observer = Callable[[Point, str], None]
_observer: Observer | None = None


def reach(point: Point, detail: str = "") -> None:
    """Say that the code is at a crash point: a comparison, as long as no test observes."""
    if _observer is not None:
        _observer(point, detail)


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """For tests: have every thread of this process call ``observer`` at each point."""
    global _observer  # noqa: PLW0603 - one comparison in the hot path is all it may cost
    before, _observer = _observer, observer
    try:
        yield
    finally:
        _observer = before
