"""Grants: a server's initiator is admitted to the target that was made ahead of time."""

from __future__ import annotations

from dataclasses import replace

from clonepool.controllers.context import Context
from clonepool.controllers.exports import Exports
from clonepool.crash_points import Point, reach
from clonepool.domain.model import Attachment, Connection
from clonepool.errors import NotFound
from clonepool.store.attachments import Held


class Grants:
    """Grants what is claimed. Whoever calls holds the attachment's lock."""

    def __init__(self, context: Context, exports: Exports) -> None:
        self._context = context
        self._exports = exports

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
