"""Nodes: the engines that share one database, each on a host of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clonepool.units import format_duration

# begins what stands for all nodes that have a storage, where the name of one would stand; no node's
# name begins so
_ANY: Final = "@"


def work_place(*, node: str, storage: str) -> str:
    """Where work is to be done: on a node, or, for "", on any that has the hostless storage."""
    return node or f"{_ANY}{storage}"


def is_any(place: str) -> bool:
    """Whether any node that has the storage may do what is to be done there."""
    return place.startswith(_ANY)


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """What a node says of itself when it starts.

    ``machine`` tells two machines of one name apart. ``hostless`` are those of its storages that
    every node reaches.
    """

    name: str
    machine: str
    version: str
    listen: str
    storages: tuple[str, ...]
    hostless: tuple[str, ...]
    fabrics: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node as the rows have it, with how much is on it.

    It is silent when nothing was heard of it since ``lease_until``; ``draining`` it takes no new
    work.
    """

    facts: NodeFacts
    started_at: float
    heard_at: float
    lease_until: float
    draining: bool
    volumes: int = 0
    attachments: int = 0
    operations: int = 0

    @property
    def name(self) -> str:
        """Its host's name in the rows."""
        return self.facts.name

    def is_silent(self, now: float) -> bool:
        """Whether it let its lease run out."""
        return self.lease_until < now

    def why_out(self, now: float) -> str:
        """Why nothing new comes from it now; "" when it serves."""
        if self.is_silent(now):
            ago = format_duration(max(1, round(now - self.heard_at)))
            return f"node {self.name} was last heard of {ago} ago"
        return f"node {self.name} is draining" if self.draining else ""
