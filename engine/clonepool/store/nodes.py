"""Nodes: who shares the database, heard of by the database's clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from clonepool.domain.nodes import Node, NodeFacts
from clonepool.errors import FailedPrecondition, NotFound
from clonepool.store import node_tables, tables
from clonepool.store.writer import Transaction
from clonepool.units import format_duration

_JOIN = """
    INSERT INTO node(name, machine, version, listen, storages, hostless, fabrics, started_at,
        heard_at, lease_until, draining, silent)
    VALUES (:name, :machine, :version, :listen, :storages, :hostless, :fabrics, :now, :now,
        :lease, FALSE, FALSE)
    ON CONFLICT (name) DO UPDATE SET machine = excluded.machine, version = excluded.version,
        listen = excluded.listen, storages = excluded.storages, hostless = excluded.hostless,
        fabrics = excluded.fabrics, started_at = excluded.started_at,
        heard_at = excluded.heard_at, lease_until = excluded.lease_until, silent = FALSE
"""
_BEAT = """
    UPDATE node SET heard_at = :now, lease_until = :lease, silent = FALSE
    WHERE name = :name AND machine = :machine
"""
_FALL_SILENT = """
    UPDATE node SET silent = TRUE WHERE NOT silent AND lease_until < :now AND name != :me
    RETURNING name, heard_at
"""
# what belongs to a host, by its name
_HOSTED = ("volume", "operation", "image_version")


def join(
    transaction: Transaction, *, facts: NodeFacts, lease_s: float, now: float, takes_over: bool
) -> tuple[str, bool]:
    """Write down that a node starts; returns the name it had before ("": the same), and if it came.

    A machine that changed its name keeps what it has. ``takes_over`` where the database is this
    node's alone: what it says is of itself. Raises FailedPrecondition when the name is another
    machine's.
    """
    row = transaction.session.get(node_tables.Node, facts.name)
    if row is not None and row.machine != facts.machine and not takes_over:
        raise _name_taken(row, now=now)
    before = _renamed(transaction, facts) if row is None else ""
    values = {
        "name": facts.name,
        "machine": facts.machine,
        "version": facts.version,
        "listen": facts.listen,
        "storages": json.dumps(facts.storages),
        "hostless": json.dumps(facts.hostless),
        "fabrics": json.dumps(facts.fabrics),
        "now": now,
        "lease": now + lease_s,
    }
    transaction.sql(_JOIN, values)
    return before, row is None and not before


def _name_taken(row: node_tables.Node, *, now: float) -> FailedPrecondition:
    ago = format_duration(max(1, round(now - row.heard_at)))
    text = (
        f"node {row.name} is another machine's or state folder's ({row.machine}, heard of {ago} "
        "ago); give this one a name of its own (--host), or, if it takes that one's place, run "
        f"`clonepool node forget {row.name}` at another node first"
    )
    return FailedPrecondition(text, reason="NODE_NAME_TAKEN")


def _renamed(transaction: Transaction, facts: NodeFacts) -> str:
    found = transaction.sql(
        "SELECT name FROM node WHERE machine = ? ORDER BY name", (facts.machine,)
    ).fetchone()
    if found is None:
        return ""
    name = str(found[0])
    for table in _HOSTED:
        transaction.sql(
            f"UPDATE {table} SET node = ? WHERE node = ?",  # noqa: S608 - names of ours
            (facts.name, name),
        )
    transaction.sql("UPDATE node SET name = ? WHERE name = ?", (facts.name, name))
    return name


def beat(transaction: Transaction, *, facts: NodeFacts, lease_s: float, now: float) -> float | None:
    """Say that a node lives. Returns since when it was silent, 0 if it was not.

    None where the name is another machine's by now, or was forgotten: then nothing is written.
    """
    row = transaction.sql(
        "SELECT silent, heard_at FROM node WHERE name = ? AND machine = ?",
        (facts.name, facts.machine),
    ).fetchone()
    if row is None:
        return None
    values = {"name": facts.name, "machine": facts.machine, "now": now, "lease": now + lease_s}
    transaction.sql(_BEAT, values)
    return float(row[1]) if row[0] else 0.0


def fall_silent(transaction: Transaction, *, me: str, now: float) -> list[tuple[str, float]]:
    """The nodes that let their leases run out since somebody looked: (name, last heard of)."""
    return [(row[0], row[1]) for row in transaction.sql(_FALL_SILENT, {"me": me, "now": now})]


def set_draining(transaction: Transaction, *, name: str, draining: bool) -> bool:
    """Drain a node, or end that; False when it is so already. Raises NotFound."""
    _check_there(transaction.session, name)
    return (
        transaction.sql(
            "UPDATE node SET draining = ? WHERE name = ? AND draining != ?",
            (draining, name, draining),
        ).rowcount
        == 1
    )


def forget(transaction: Transaction, *, name: str, now: float) -> bool:
    """Remove the row of a silent node; what lies on it stays its name's. False when there is none.

    Raises FailedPrecondition while it is heard of.
    """
    row = transaction.session.get(node_tables.Node, name)
    if row is None:
        return False
    if row.lease_until >= now:
        text = f"node {name} is alive; end its engine first, then wait until it is silent"
        raise FailedPrecondition(text, reason="NODE_ALIVE")
    transaction.sql("DELETE FROM node WHERE name = ?", (name,))
    return True


def get(session: Session, *, name: str) -> Node:
    """One node with what is on it. Raises NotFound."""
    row = _check_there(session, name)
    return _loaded(session, {name: _node(row)})[name]


def list_all(session: Session, *, with_loads: bool = False) -> list[Node]:
    """Every node, by name."""
    found = {row.name: _node(row) for row in session.exec(select(node_tables.Node))}
    made = _loaded(session, found) if with_loads else found
    return [made[name] for name in sorted(made)]


def _check_there(session: Session, name: str) -> node_tables.Node:
    row = session.get(node_tables.Node, name)
    if row is None:
        raise NotFound(f"there is no node {name}; `clonepool node list` shows what there is")
    return row


def _node(row: node_tables.Node) -> Node:
    facts = NodeFacts(
        name=row.name,
        machine=row.machine,
        version=row.version,
        listen=row.listen,
        storages=tuple(json.loads(row.storages)),
        hostless=tuple(json.loads(row.hostless)),
        fabrics=tuple(json.loads(row.fabrics)),
    )
    return Node(
        facts=facts,
        started_at=row.started_at,
        heard_at=row.heard_at,
        lease_until=row.lease_until,
        draining=bool(row.draining),
    )


def _loaded(session: Session, found: Mapping[str, Node]) -> dict[str, Node]:
    volume, operation = tables.Volume, tables.Operation
    held = select(col(volume.node), func.count(), func.count(col(volume.attachment_id))).group_by(
        col(volume.node)
    )
    work = (
        select(col(operation.node), func.count())
        .where(col(operation.state).in_(("queued", "running")))
        .group_by(col(operation.node))
    )
    volumes: dict[str, Any] = {row[0]: (row[1], row[2]) for row in session.exec(held)}
    operations: dict[str, int] = {row[0]: row[1] for row in session.exec(work)}
    return {
        name: replace(
            node,
            volumes=volumes.get(name, (0, 0))[0],
            attachments=volumes.get(name, (0, 0))[1],
            operations=operations.get(name, 0),
        )
        for name, node in found.items()
    }
