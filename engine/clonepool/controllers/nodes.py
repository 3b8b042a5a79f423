"""The node that this engine is, and those that it shares the database with."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from clonepool.controllers.context import Context
from clonepool.domain.nodes import Node, NodeFacts
from clonepool.domain.states import Severity
from clonepool.errors import FailedPrecondition
from clonepool.store import events, nodes
from clonepool.store.writer import Transaction
from clonepool.units import format_duration

log = logging.getLogger(__name__)


class Nodes:
    """Joins, says that it lives, notices who does not, drains."""

    def __init__(self, context: Context, facts: NodeFacts) -> None:
        self._context = context
        self._facts = facts

    def join(self) -> None:
        """Take this node's place among the others. Raises FailedPrecondition: see store.nodes."""

        def change(transaction: Transaction) -> None:
            now = self._context.now()
            before, came = nodes.join(
                transaction,
                facts=self._facts,
                lease_s=self._context.settings.node_lease_s,
                now=now,
                takes_over=not self._context.state.is_shared,
            )
            if before:
                text = f"is node {before} under a new name, with all that is on it"
                self._tell(transaction, self._facts.name, "NODE_RENAMED", text)
            elif came and len(nodes.list_all(transaction.session)) > 1:
                text = f"joined, version {self._facts.version}"
                self._tell(transaction, self._facts.name, "NODE_CAME", text)

        self._context.state.write(change)
        self.look()

    def beat(self, transaction: Transaction) -> None:
        """Say that it lives, within a change that is made now and then."""
        now = self._context.now()
        silent_since = nodes.beat(
            transaction, facts=self._facts, lease_s=self._context.settings.node_lease_s, now=now
        )
        if silent_since is None:
            self._context.nodes.is_ousted = True
        elif silent_since:
            ago = format_duration(max(1, round(now - silent_since)))
            text = f"is back after {ago}; what it was doing meanwhile counts only where nobody else"
            self._tell(transaction, self._facts.name, "NODE_BACK", f"{text} took it over")

    def look(self) -> None:
        """Planner's step: see the others, and tell once of those that fell silent."""
        with self._context.state.read() as session:
            found = nodes.list_all(session)
        now, me = self._context.now(), self._facts.name
        self._context.nodes.note(found, me=me, now=now)
        if any(node.is_silent(now) for node in found if node.name != me):
            self._context.state.write(self._note_silent)

    def _note_silent(self, transaction: Transaction) -> None:
        now = self._context.now()
        for name, heard_at in nodes.fall_silent(transaction, me=self._facts.name, now=now):
            ago = format_duration(max(1, round(now - heard_at)))
            text = (
                f"was last heard of {ago} ago; what lies on its own storages waits for it, what "
                "any node can do the others do"
            )
            log.warning("node %s %s", name, text)
            self._tell(transaction, name, "NODE_SILENT", text, severity=Severity.ERROR)

    def get(self, *, name: str) -> Node:
        """One node. Raises NotFound."""
        with self._context.state.read() as session:
            return nodes.get(session, name=name)

    def list(self) -> Sequence[Node]:
        """Every node, by name."""
        with self._context.state.read() as session:
            return nodes.list_all(session, with_loads=True)

    def is_silent(self, node: Node) -> bool:
        """Whether nothing was heard of it for longer than its lease."""
        return node.is_silent(self._context.now())

    def drain(self, *, name: str, draining: bool) -> Node:
        """Have a node take no new work, or take it again; may be repeated. Raises NotFound."""

        def change(transaction: Transaction) -> None:
            if not nodes.set_draining(transaction, name=name, draining=draining):
                return
            text = "takes no new work" if draining else "takes work again"
            reason = "NODE_DRAINING" if draining else "NODE_UNDRAINED"
            self._tell(transaction, name, reason, text)

        self._context.state.write(change)
        self.look()
        self._context.signals.changed()
        return self.get(name=name)

    def forget(self, *, name: str) -> None:
        """Remove a silent node from the list; one that is not there is no error."""
        if name == self._facts.name:
            text = f"node {name} answers this call; a node can't forget itself"
            raise FailedPrecondition(text, reason="NODE_ALIVE")

        def change(transaction: Transaction) -> None:
            if nodes.forget(transaction, name=name, now=self._context.now()):
                text = "forgotten; what lies on it is there again when a node of its name starts"
                self._tell(transaction, name, "NODE_FORGOTTEN", text, severity=Severity.WARNING)

        self._context.state.write(change)
        self.look()

    def _tell(
        self,
        transaction: Transaction,
        name: str,
        reason: str,
        text: str,
        *,
        severity: Severity = Severity.INFO,
    ) -> None:
        events.add(
            transaction,
            now=self._context.now(),
            subject=f"node/{name}",
            reason=reason,
            message=f"node {name} {text}",
            severity=severity,
        )
