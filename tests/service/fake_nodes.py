"""Nodes in memory with the controller's signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clonepool.domain.nodes import Node, NodeFacts
from clonepool.errors import FailedPrecondition, NotFound
from tests.service.fake_values import NOW


def node(name: str, **changes: object) -> Node:
    facts = NodeFacts(
        name=name,
        machine=f"machine-of-{name}/state",
        version="0.1.0",
        listen=f"tcp://{name}.example:7443",
        storages=("ceph", "default"),
        hostless=("ceph",),
        fabrics=("iscsi", "local"),
    )
    made = Node(
        facts=facts,
        started_at=NOW,
        heard_at=NOW,
        lease_until=NOW + 30,
        draining=False,
        volumes=12,
        attachments=3,
        operations=1,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


class FakeNodes:
    """Two nodes, the second of them silent since a minute."""

    def __init__(self) -> None:
        silent = node("node2", heard_at=NOW - 60, lease_until=NOW - 30)
        self.items = {"node1": node("node1"), "node2": silent}

    def list(self) -> Sequence[Node]:
        return tuple(self.items.values())

    def get(self, *, name: str) -> Node:
        if name not in self.items:
            raise NotFound(f"there is no node {name}; `clonepool node list` shows what there is")
        return self.items[name]

    def is_silent(self, node: Node) -> bool:
        return node.is_silent(NOW)

    def drain(self, *, name: str, draining: bool) -> Node:
        self.items[name] = replace(self.get(name=name), draining=draining)
        return self.items[name]

    def forget(self, *, name: str) -> None:
        if name == "node1":
            raise FailedPrecondition("node node1 is alive; end its engine first")
        self.items.pop(name, None)
