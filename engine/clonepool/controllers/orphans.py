"""Orphans: objects of ours that no row accounts for, quarantined, listed, deleted in the end."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from clonepool.backends.base import ObjectInfo, StorageBackend
from clonepool.controllers.context import Context
from clonepool.crash_points import Point, reach
from clonepool.domain.drift import Orphan, list_names, waited_s, why_held
from clonepool.domain.model import PageRequest
from clonepool.domain.states import Severity
from clonepool.errors import (
    ClonepoolError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from clonepool.store import doubt, orphans
from clonepool.store.writer import Transaction
from clonepool.units import format_duration, format_size

log = logging.getLogger(__name__)
_NEVER = "orphan_grace is never"


class Orphans:
    """The quarantine and its use cases."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def list(self, *, page: PageRequest) -> tuple[Sequence[Orphan], str]:
        """One page and the next page's token."""
        with self._context.state.read() as session:
            return orphans.list_page(session, page=page)

    def due_in_s(self, orphan: Orphan) -> float | None:
        """How long until it is deleted, None while it is held."""
        grace_s = self._context.settings.orphan_grace_s
        if orphan.held or grace_s is None:
            return None
        return max(0.0, grace_s - orphan.waited_s)

    def delete(self, *, storage: str, name: str) -> None:
        """Delete one at once, held or not; one that is gone already is no error.

        Raises FailedPrecondition for what is there but not in quarantine, Unavailable for what
        another node has to delete.
        """
        with self._context.state.read() as session:
            orphan = orphans.find(session, storage=storage, name=name)
        if orphan is not None and orphan.node not in ("", self._context.state.node):
            text = f"object {name} is on storage {storage} of node {orphan.node}; ask that node"
            raise Unavailable(text, reason="OTHER_NODE")
        backend = self._context.drivers.backend(storage)
        if orphan is None and not _is_there(backend, name):
            return
        if orphan is None or not self._delete(orphan, why="asked for"):
            text = (
                f"object {name} on storage {storage} is not in quarantine: a row accounts for it, "
                "or the engine has not come across it yet; `clonepool orphan list` shows what is"
            )
            raise FailedPrecondition(text, reason="NO_ORPHAN")

    def look(
        self,
        *,
        storage: str,
        backend: StorageBackend,
        strays: Mapping[str, ObjectInfo],
        accounted: int,
    ) -> None:
        """Compare the quarantine with what a storage holds without a row; delete what is due."""
        with self._context.state.read() as session:
            place = self._context.place_of(storage)
            known = orphans.of_storage(session, storage=storage, node=place)
            doubt_text = doubt.why_strays_are_held(session, storage=storage)
        if not strays and not known and not doubt_text:
            return
        there = {name: info for name, info in strays.items() if _is_there(backend, name)}
        held = doubt_text or why_held(strays=len(there), accounted=accounted)
        if self._context.settings.orphan_grace_s is None:
            held = held or _NEVER
        seen = [self._seen(storage, info, known.get(name), held) for name, info in there.items()]
        self._note(storage, seen=seen, known=known)
        for orphan in seen:
            if self.due_in_s(orphan) == 0.0:
                self._delete_due(orphan)

    def _seen(self, storage: str, info: ObjectInfo, before: Orphan | None, held: str) -> Orphan:
        now = self._context.now()
        fresh = Orphan(
            storage=storage,
            name=info.name,
            size_bytes=info.size_bytes,
            used_bytes=info.used_bytes,
            first_seen_at=now,
            seen_at=now,
            waited_s=0.0,
            held=held,
            node=self._context.place_of(storage),
        )
        if before is None:
            return fresh
        waited = waited_s(
            before_s=before.waited_s,
            last_look_at=before.seen_at,
            now=now,
            interval_s=self._context.settings.compare_every_s,
        )
        # once held, always: pools that fill meanwhile make no stray any less of another engine's
        was_held = before.held if before.held != _NEVER else ""
        return replace(
            fresh, first_seen_at=before.first_seen_at, waited_s=waited, held=was_held or held
        )

    def _note(self, storage: str, *, seen: Sequence[Orphan], known: Mapping[str, Orphan]) -> None:
        gone = known.keys() - {orphan.name for orphan in seen}
        new = [orphan for orphan in seen if orphan.name not in known]
        newly_held = [
            orphan for orphan in seen if orphan.held and not _was_held(known, orphan.name)
        ]

        def change(transaction: Transaction) -> None:
            for orphan in seen:
                orphans.keep(transaction, orphan)
            orphans.forget(transaction, storage=storage, names=gone)
            doubt.strays_were_held(transaction, storage=storage)
            for reason, message, severity in self._messages(new, newly_held, gone):
                self._context.note(
                    transaction,
                    subject=f"storage/{storage}",
                    reason=reason,
                    message=message,
                    severity=severity,
                )

        self._context.state.write(change)

    def _messages(
        self, new: Sequence[Orphan], newly_held: Sequence[Orphan], gone: set[str]
    ) -> Sequence[tuple[str, str, Severity]]:
        found = []
        if new:
            size = format_size(sum(orphan.used_bytes for orphan in new))
            text = (
                f"no row accounts for {list_names(orphan.name for orphan in new)} ({size}); in "
                f"quarantine, {self._fate(new)}; `clonepool orphan list` shows all"
            )
            found.append(("ORPHANS_FOUND", text, Severity.WARNING))
        if newly_held and newly_held[0].held != _NEVER:
            text = (
                f"orphans are kept: {newly_held[0].held} Look before anything is deleted; then "
                "`clonepool orphan delete STORAGE NAME` deletes one"
            )
            found.append(("ORPHANS_HELD", text, Severity.ERROR))
        if gone:
            text = f"no orphan any more, gone or with a row: {list_names(gone)}"
            found.append(("ORPHANS_RESOLVED", text, Severity.INFO))
        return found

    def _fate(self, new: Sequence[Orphan]) -> str:
        grace_s = self._context.settings.orphan_grace_s
        if new[0].held or grace_s is None:
            return "and not deleted by itself"
        return f"and deleted after {format_duration(grace_s)}"

    def _delete_due(self, orphan: Orphan) -> None:
        try:
            self._delete(orphan, why=f"without a row for {format_duration(orphan.waited_s)}")
        except ClonepoolError as error:
            # it stays in quarantine, and is tried again at the next look
            log.warning("orphan %s on storage %s: %s", orphan.name, orphan.storage, error)

    def _delete(self, orphan: Orphan, *, why: str) -> bool:
        """Unexport and delete; False when a row accounts for it by now, then nothing is touched."""
        if self._context.state.write(lambda transaction: self._has_row(transaction, orphan)):
            return False
        reach(Point.ORPHAN_DUE)
        for fabric in self._context.drivers.open_fabrics().values():
            fabric.unexport(orphan.name)
            reach(Point.ORPHAN_UNEXPORTED)
        self._context.drivers.backend(orphan.storage).delete(name=orphan.name)
        reach(Point.ORPHAN_DELETED)

        def change(transaction: Transaction) -> None:
            orphans.forget(transaction, storage=orphan.storage, names=[orphan.name])
            text = f"deleted {orphan.name} ({format_size(orphan.used_bytes)}): {why}"
            self._context.note(
                transaction,
                subject=f"storage/{orphan.storage}",
                reason="ORPHAN_DELETED",
                message=text,
                severity=Severity.WARNING,
            )

        self._context.state.write(change)
        return True

    def _has_row(self, transaction: Transaction, orphan: Orphan) -> bool:
        # rows come before objects and names are never reused: what has none now never gets one
        has_row = orphans.has_row(transaction, name=orphan.name)
        if has_row:
            orphans.forget(transaction, storage=orphan.storage, names=[orphan.name])
        return has_row


def _was_held(known: Mapping[str, Orphan], name: str) -> bool:
    return name in known and bool(known[name].held)


def _is_there(backend: StorageBackend, name: str) -> bool:
    """It was listed, but somebody may have deleted it since."""
    try:
        backend.stat(name=name)
    except (InvalidArgument, NotFound):
        # what is no object's name is no object's
        return False
    return True
