"""Work on storages that every node reaches, taken over from nodes that are silent or draining."""

from __future__ import annotations

from dataclasses import dataclass

from clonepool.store.writer import Transaction

# what servers hold stays where it is exported; what runs at a node that lives is handed back first
_VOLUMES = """
    UPDATE volume SET node = :me WHERE node = :gone AND storage = :storage
        AND state NOT IN ('attaching', 'allocated', 'detaching')
        AND NOT EXISTS (SELECT 1 FROM operation WHERE key = volume.id AND node = :gone
            AND state = 'running' AND lease_until >= :now)
    RETURNING id, state, fabric
"""
_OPERATION = """
    UPDATE operation SET node = :me, state = 'queued', lease_until = 0
    WHERE key = :key AND node = :gone AND state IN ('queued', 'running')
"""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What came over: how many volumes and operations, and the ready volumes of each fabric."""

    volumes: int
    operations: int
    ready: tuple[tuple[str, str], ...]  # (fabric, volume's id)


def take(transaction: Transaction, *, gone: str, me: str, storage: str, now: float) -> Taken:
    """Make volumes of a hostless storage this node's, with what is to be done to them."""
    values = {"gone": gone, "me": me, "storage": storage, "now": now}
    found = transaction.sql(_VOLUMES, values).fetchall()
    operations = sum(
        transaction.sql(_OPERATION, {"gone": gone, "me": me, "key": row[0]}).rowcount
        for row in found
    )
    return Taken(
        volumes=len(found),
        operations=operations,
        ready=tuple((row[2], row[0]) for row in found if row[1] == "ready"),
    )
