"""Grants: a server's initiator is admitted to the target that was made ahead of time."""

from __future__ import annotations

import threading
from dataclasses import replace

from clonepool.controllers.context import Context
from clonepool.controllers.exports import Exports
from clonepool.crash_points import Point, reach
from clonepool.domain.model import Attachment, Connection
from clonepool.errors import NotFound
from clonepool.store import release
from clonepool.store.attachments import Held
from clonepool.store.writer import Transaction


class Grants:
    """Grants what is claimed, and notes it. Whoever calls holds the attachment's lock."""

    def __init__(self, context: Context, exports: Exports) -> None:
        self._context = context
        self._exports = exports
        self._granted: list[str] = []
        self._noting = threading.Lock()

    def grant(self, held: Held) -> Connection:
        """Admit the server; may be repeated. An export that is lost is made again first."""
        if held.attachment.resumed_release is None:
            return self._grant_now(held)
        with self._context.targets.of(held.target):
            return self._grant_now(held)

    def _grant_now(self, held: Held) -> Connection:
        fabric = self._context.drivers.fabric(held.fabric)
        spec = self._exports.of_held(held)
        access = self._exports.access(held)
        reach(Point.GRANTING)
        try:
            connection = fabric.grant(spec, access)
        except NotFound:
            # the fabric lost the export a moment ago and the watcher has not come round yet, or a
            # released volume comes back
            reach(Point.GRANTING)
            fabric.export(spec)
            reach(Point.EXPORTED_AGAIN)
            connection = fabric.grant(spec, access)
        reach(Point.GRANTED)
        return connection

    def note(self, attachment_id: str) -> None:
        """Write down that it is granted, without waiting until that is durable.

        The claim is durable, and after a crash it is granted again. What is granted until the
        next commit is noted by one change.
        """
        with self._noting:
            self._granted.append(attachment_id)
            if len(self._granted) > 1:
                return
        self._context.state.defer(self._write_granted)

    def _write_granted(self, transaction: Transaction) -> None:
        with self._noting:
            granted, self._granted = self._granted, []
        release.mark_allocated(transaction, attachment_ids=granted, now=self._context.now())

    def connection(self, held: Held) -> Connection | None:
        """How the server reaches its volumes; None while it waits for one."""
        if not held.target:
            return None
        fabric = self._context.drivers.fabric(held.fabric)
        return fabric.connection(self._exports.of_held(held))

    def full(self, held: Held, connection: Connection | None) -> Attachment:
        """The attachment with its connection and its secret, for the one whom they are for."""
        chap = self._exports.chap(held) if held.target else None
        return replace(held.attachment, connection=connection, chap=chap)
