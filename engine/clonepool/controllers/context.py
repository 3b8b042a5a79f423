"""What every controller works with."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from clonepool.config import Settings
from clonepool.controllers.drivers import Drivers
from clonepool.domain.nodes import Node
from clonepool.domain.states import Severity
from clonepool.store import events
from clonepool.store.state import State


@dataclass(frozen=True, kw_only=True)
class Signals:
    """Wake-ups. Nothing depends on one arriving: all background work also looks by itself."""

    plan: threading.Event = field(default_factory=threading.Event)
    work: threading.Event = field(default_factory=threading.Event)

    def changed(self) -> None:
        """Something is to be planned, and perhaps to be done."""
        self.plan.set()
        self.work.set()


class AttachmentLocks:
    """Grant and revoke of one attachment (or target) never interleave, whoever asks for them."""

    _COUNT = 256

    def __init__(self) -> None:
        self._locks = [threading.RLock() for _ in range(self._COUNT)]

    def of(self, attachment_id: str) -> threading.RLock:
        """The lock of one attachment, and of a few others."""
        return self._locks[hash(attachment_id) % self._COUNT]


class NodesSeen:
    """The nodes as they were seen last, for who can't look at the rows each time."""

    def __init__(self) -> None:
        self.is_draining = False
        # another machine has the name, or it was forgotten: nothing may be done under it
        self.is_ousted = False
        # the nodes that nothing new comes from, this one included, each with the reason
        self.out: Mapping[str, str] = {}
        self.others: tuple[Node, ...] = ()

    @property
    def takes_work(self) -> bool:
        """Whether this node begins anything new."""
        return not self.is_draining and not self.is_ousted

    def one_with(self, storage: str) -> Node | None:
        """Another node that has a storage; one that serves before one that does not."""
        having = [node for node in self.others if storage in node.facts.storages]
        return min(having, key=lambda node: node.name in self.out, default=None)

    def note(self, found: Sequence[Node], *, me: str, now: float) -> None:
        """Take over what was seen."""
        self.is_draining = any(node.draining for node in found if node.name == me)
        self.others = tuple(node for node in found if node.name != me)
        whys = {
            node.name: node.why_out(node.heard_at if node.name == me else now) for node in found
        }
        self.out = {name: why for name, why in whys.items() if why}


@dataclass(frozen=True, kw_only=True)
class Context:
    """State, drivers, settings and wake-ups, shared by the controllers of one engine."""

    state: State
    drivers: Drivers
    settings: Settings
    signals: Signals = field(default_factory=Signals)
    # when a storage's full clones were last measured, by its name
    measured_at: dict[str, float] = field(default_factory=dict)
    nodes: NodesSeen = field(default_factory=NodesSeen)
    locks: AttachmentLocks = field(default_factory=AttachmentLocks)
    # by target: one that came back is not unexported by who saw it released; taken last, alone
    targets: AttachmentLocks = field(default_factory=AttachmentLocks)

    def tell(
        self, *, subject: str, reason: str, message: str, severity: Severity = Severity.INFO
    ) -> Future[None]:
        """Append an event of its own; the future is for who must know that it is durable."""
        return self.state.submit(
            lambda transaction: events.add(
                transaction,
                now=self.now(),
                subject=subject,
                reason=reason,
                message=message,
                severity=severity,
            )
        )

    def home_of(self, storage: str) -> str:
        """The node that a new image on a storage lies on; "" where every node reaches it.

        This one where it has the storage, else another that has. Raises InvalidArgument (unknown),
        and what opening it raises.
        """
        found = None if storage in self.settings.storages else self.nodes.one_with(storage)
        if found is None:
            self.drivers.backend(storage)
            return "" if self.drivers.is_hostless(storage) else self.state.node
        return "" if storage in found.facts.hostless else found.name

    def place_of(self, storage: str) -> str:
        """Whose rows are held against a storage of this node: its own, or, for "", all."""
        return "" if self.drivers.is_hostless(storage) else self.state.node

    def is_here(self, *, node: str, storage: str) -> bool:
        """Whether this node can do what is to be done on ``node``'s storage; "" is any node's."""
        return node == self.state.node or (not node and storage in self.settings.storages)

    def now(self) -> float:
        """The clock that everything is stamped by."""
        return self.state.clock()
