"""How servers reach their volumes, kept in the rows for the callers of other nodes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from sqlmodel import Session

from clonepool.domain.model import ConnectedVolume, Connection
from clonepool.domain.states import PortionRole
from clonepool.store import attachments
from clonepool.store.attachments import Held
from clonepool.store.writer import Transaction

_AT_ONCE = 100


def document(connection: Connection) -> str:
    """As it is kept."""
    return json.dumps(asdict(connection))


def parse(text: str) -> Connection:
    """As it was."""
    found = json.loads(text)
    volumes = tuple(
        ConnectedVolume(**{**volume, "role": PortionRole(volume["role"])})
        for volume in found["volumes"]
    )
    return Connection(
        fabric=found["fabric"],
        target=found["target"],
        portals=tuple(found["portals"]),
        volumes=volumes,
    )


def keep(transaction: Transaction, connections: Mapping[str, Connection]) -> None:
    """Write down connections by their attachments' ids."""
    for attachment_id, connection in connections.items():
        transaction.sql(
            "UPDATE attachment SET connection = ? WHERE id = ? AND state = 'attached'",
            (document(connection), attachment_id),
        )


def forget_of_node(transaction: Transaction, *, node: str) -> None:
    """A node that starts may listen elsewhere."""
    transaction.sql(
        "UPDATE attachment SET connection = NULL WHERE connection IS NOT NULL "
        "AND volume_id IN (SELECT id FROM volume WHERE node = ?)",
        (node,),
    )


def forget_of_server(transaction: Transaction, *, server_id: str) -> None:
    """What a server has is granted to it anew."""
    transaction.sql(
        "UPDATE attachment SET connection = NULL WHERE connection IS NOT NULL AND server_id = ?",
        (server_id,),
    )


def lacking(session: Session, *, node: str) -> list[Held]:
    """Attachments of a node's volumes that are granted, and whose connection is not kept."""
    return attachments.list_without_connection(session, node=node, limit=_AT_ONCE)
