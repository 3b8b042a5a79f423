"""What this node does at its own fabrics for callers of other nodes."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from clonepool.controllers.context import Context
from clonepool.controllers.exports import Exports
from clonepool.domain.errands import Errand, ErrandKind, Outcome
from clonepool.domain.model import Connection
from clonepool.errors import ClonepoolError, NotFound, Unavailable
from clonepool.store import connections_kept, errands, release
from clonepool.store.writer import Transaction

log = logging.getLogger(__name__)
# as long as nobody else shares the database, nobody asks
_ALONE_S = 1.0
_LOOK_S = 0.1
_THREADS = 8
# connections are kept as soon as something is granted; and whatever was missed now and then
_KEEP_S = 60.0


class Here(Protocol):
    """What an errand needs of attachments; each may be repeated."""

    def grant_here(self, *, attachment_id: str) -> Connection | None:
        """Grant it; None when it is not attached any more."""

    def delete(self, *, attachment_id: str, force: bool) -> None:
        """Release it."""

    def look_here(self, *, attachment_id: str) -> None:
        """Raise FailedPrecondition when its server is logged in."""


class Errands:
    """A thread that looks for errands, and a few that do them: none waits behind a long import."""

    def __init__(self, context: Context, attachments: Here, exports: Exports) -> None:
        self._context = context
        self._attachments = attachments
        self._exports = exports
        self._running: set[tuple[ErrandKind, str]] = set()
        self._lock = threading.Lock()
        self._kept_at = 0.0
        self._stopping = threading.Event()
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="errand")
        self._thread = threading.Thread(target=self._run, name="errands", daemon=True)

    def start(self) -> None:
        """Forget what an earlier incarnation said of connections, then look for errands."""
        node = self._context.state.node
        self._context.state.write(
            lambda transaction: connections_kept.forget_of_node(transaction, node=node)
        )
        self._thread.start()

    def stop(self) -> None:
        """Finish what was begun and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._executor.shutdown(wait=True)

    def run_once(self) -> None:
        """Do what this node is asked to do now, and wait for it."""
        for errand in self._asked():
            self._do(errand)
        self.keep_connections()

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_S if self._context.nodes.others else _ALONE_S):
            if not self._context.nodes.others or self._context.nodes.is_ousted:
                continue
            try:
                for errand in self._asked():
                    self._executor.submit(self._do, errand)
                self._keep_now_and_then()
            except ClonepoolError as error:
                log.warning("errands can't be looked for: %s", error)
            except Exception:
                log.exception("looking for errands failed")

    def _asked(self) -> list[Errand]:
        with self._context.state.read() as session:
            found = errands.asked_of(session, node=self._context.state.node)
        with self._lock:
            new = [each for each in found if (each.kind, each.attachment_id) not in self._running]
            self._running |= {(each.kind, each.attachment_id) for each in new}
        return new

    def _do(self, errand: Errand) -> None:
        try:
            self._do_one(errand)
        except ClonepoolError as error:
            # it stays asked for: a fabric that is away comes back
            log.warning("%s of attachment %s: %s", errand.kind, errand.attachment_id, error)
        except Exception:
            log.exception("%s of attachment %s failed", errand.kind, errand.attachment_id)
        finally:
            with self._lock:
                self._running.discard((errand.kind, errand.attachment_id))

    def _do_one(self, errand: Errand) -> None:
        connection, outcome = None, Outcome()
        try:
            if errand.kind is ErrandKind.GRANT:
                connection = self._attachments.grant_here(attachment_id=errand.attachment_id)
            elif errand.kind is ErrandKind.RELEASE:
                self._attachments.delete(attachment_id=errand.attachment_id, force=errand.force)
            else:
                self._attachments.look_here(attachment_id=errand.attachment_id)
        except NotFound:
            # it is gone: there is nothing to do any more
            outcome = Outcome()
        except Unavailable:
            raise
        except ClonepoolError as error:
            outcome = Outcome(
                error_kind=type(error).__name__, reason=error.reason, error=str(error)
            )

        def change(transaction: Transaction) -> None:
            now = self._context.now()
            if connection is not None:
                granted = [errand.attachment_id]
                release.mark_allocated(transaction, attachment_ids=granted, now=now)
                connections_kept.keep(transaction, {errand.attachment_id: connection})
            errands.answer(transaction, errand, outcome, now=now)

        self._context.state.write(change)

    def _keep_now_and_then(self) -> None:
        missed = abs(self._context.now() - self._kept_at) > _KEEP_S
        if missed or self._context.nodes.granted.is_set():
            self._context.nodes.granted.clear()
            self._kept_at = self._context.now()
            self.keep_connections()

    def keep_connections(self) -> None:
        """Write down how servers reach what was granted here, for the callers of other nodes."""
        with self._context.state.read() as session:
            lacking = connections_kept.lacking(session, node=self._context.state.node)
        found: dict[str, Connection] = {}
        for held in lacking:
            try:
                fabric = self._context.drivers.fabric(held.fabric)
                found[held.attachment.id] = fabric.connection(self._exports.of_held(held))
            except ClonepoolError as error:
                log.warning("connection of %s: %s", held.attachment.spec.name, error)
        if not found:
            return

        def change(transaction: Transaction) -> None:
            connections_kept.keep(transaction, found)
            errands.prune(transaction, now=self._context.now())

        self._context.state.write(change)
        # a full page may have another behind it
        self._context.nodes.granted.set()
