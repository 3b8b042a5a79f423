"""Taking over what any node can do from those that are silent or draining."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from clonepool.controllers.context import Context
from clonepool.controllers.exports import Exports
from clonepool.domain.states import Severity
from clonepool.errors import ClonepoolError, NotFound
from clonepool.store import events, takeover, volumes
from clonepool.store.takeover import Taken
from clonepool.store.writer import Transaction

log = logging.getLogger(__name__)


class Takeover:
    """The planner's step. What lies on a node's own storage is never taken over: it waits."""

    def __init__(self, context: Context, exports: Exports) -> None:
        self._context = context
        self._exports = exports

    def look(self) -> None:
        """Take over what there is; a node that comes back finds it gone, and lets go of it."""
        if not self._context.nodes.takes_work or not self._context.nodes.out:
            return
        mine = set(self._context.drivers.hostless_storages())
        for node in self._context.nodes.others:
            if node.name not in self._context.nodes.out:
                continue
            for storage in sorted(mine & set(node.facts.hostless)):
                self._take(node.name, storage)

    def _take(self, gone: str, storage: str) -> None:
        with self._context.state.read() as session:
            if not volumes.has_idle(session, node=gone, storage=storage):
                return

        def change(transaction: Transaction) -> Taken:
            me = self._context.state.node
            now = self._context.now()
            taken = takeover.take(transaction, gone=gone, me=me, storage=storage, now=now)
            if taken.volumes:
                text = (
                    f"node {me} took over {taken.volumes} volumes and {taken.operations} "
                    f"operations of node {gone} on storage {storage}"
                )
                events.add(
                    transaction,
                    now=now,
                    subject=f"node/{gone}",
                    reason="NODE_TAKEN_OVER",
                    message=text,
                    severity=Severity.WARNING,
                )
            return taken

        taken = self._context.state.write(change)
        if taken.volumes:
            self._export(taken.ready)
            self._context.signals.changed()

    def _export(self, ready: Iterable[tuple[str, str]]) -> None:
        """What is ready is exported here from now on; what fails is mended with the fabric."""
        targets: dict[str, set[str]] = {}
        with self._context.state.read() as session:
            for fabric, volume_id in ready:
                try:
                    target = volumes.get(session, volume_id=volume_id).target
                except NotFound:
                    continue
                targets.setdefault(fabric, set()).add(target)
        for name, lost in targets.items():
            try:
                driver = self._context.drivers.fabric(name)
                self._exports.remake(name, driver, lost=frozenset(lost))
            except ClonepoolError as error:
                log.warning("exports on fabric %s: %s", name, error)
