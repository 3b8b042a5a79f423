"""Which server an attachment takes, and whom it serves while it has attachments."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clonepool.domain.content import canonical
from clonepool.domain.drift import list_names
from clonepool.domain.model import AttachmentSpec, ServerSpec, SystemUser
from clonepool.domain.states import SystemUserKind
from clonepool.errors import AlreadyExists, FailedPrecondition, Internal, NotFound
from clonepool.store import attachments
from clonepool.store.writer import Transaction

_SELECT = "SELECT id, name, initiator, user_name, user_kind, labels, inline FROM server"
_FREE = "NOT EXISTS (SELECT 1 FROM attachment WHERE server_id = server.id)"
_HAS_LABEL = "EXISTS (SELECT 1 FROM json_each(server.labels) WHERE key = ? AND value = ?)"
_INSERT_INLINE = """
    INSERT INTO server(id, name, initiator, labels, inline, user_name, user_kind, token,
        token_digest, created_at)
    VALUES (:id, :name, :initiator, :labels, TRUE, :user_name, :user_kind, '', '', :now)
    ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, kw_only=True)
class ResolvedServer:
    """The server that an attachment takes."""

    id: str
    name: str
    initiator: str
    system_user: SystemUser | None


def resolve(
    transaction: Transaction,
    *,
    spec: AttachmentSpec,
    user: SystemUser,
    needs_initiator: bool,
    now: float,
) -> ResolvedServer:
    """Find, make or pick the server, and refuse one that serves somebody else."""
    if spec.inline_server:
        server = _inline(transaction, spec.inline_server, user=user, now=now)
    elif spec.server:
        server = _named(transaction, spec.server)
    else:
        server = _picked(transaction, spec.server_selector, needs_initiator=needs_initiator)
    if needs_initiator and not server.initiator:
        text = (
            f"server {server.name} has no initiator, and the pool's fabric needs one; set the "
            "server's initiator to its IQN"
        )
        raise FailedPrecondition(text, reason="NO_INITIATOR")
    check_user(transaction, server, user)
    return server


def check_user(transaction: Transaction, server: ResolvedServer, user: SystemUser) -> None:
    """Refuse a server that serves somebody else."""
    if server.system_user is None or server.system_user == user:
        return
    held = list_names(attachments.names_of_server(transaction, server_id=server.id))
    text = (
        f"server {server.name} serves {server.system_user} (attachments {held}); it can't serve "
        f"{user} at the same time: release those first, then run again"
    )
    raise FailedPrecondition(text, reason="SERVER_TAKEN")


def _resolved(row: tuple[Any, ...]) -> ResolvedServer:
    user = SystemUser(name=row[3], kind=SystemUserKind(row[4])) if row[3] is not None else None
    return ResolvedServer(id=row[0], name=row[1], initiator=row[2] or "", system_user=user)


def _find(transaction: Transaction, name: str) -> tuple[Any, ...] | None:
    cursor = transaction.sql(f"{_SELECT} WHERE name = ?", (name,))
    row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def _named(transaction: Transaction, name: str) -> ResolvedServer:
    row = _find(transaction, name)
    if row is None:
        raise NotFound(f"there is no server {name}; `clonepool server list` shows what there is")
    return _resolved(row)


def _inline(
    transaction: Transaction, spec: ServerSpec, *, user: SystemUser, now: float
) -> ResolvedServer:
    """Make it at once, as is usual; only when that can't be, look what stands in the way."""
    made = make_inline(transaction, spec, user=user, now=now)
    if made is not None:
        return made
    row = _find(transaction, spec.name)
    if row is None:
        check_initiator_free(transaction, spec.initiator, server_id="")
        raise Internal(f"server {spec.name} could not be made, and nothing stands in its way")
    same = row[2] == (spec.initiator or None) and json.loads(row[5]) == dict(spec.labels)
    if row[6] and same:
        return _resolved(row)
    text = (
        f"server {spec.name} exists (id {row[0]}) with other properties; name it by `server` "
        "instead of `inline_server`, or take another name"
    )
    raise AlreadyExists(text, reason="NAME_TAKEN", metadata={"id": row[0]})


def make_inline(
    transaction: Transaction, spec: ServerSpec, *, user: SystemUser, now: float
) -> ResolvedServer | None:
    """None when the name or the initiator is taken. The user is whom the attachment is for."""
    server_id = str(uuid.uuid4())
    values = {
        "id": server_id,
        "name": spec.name,
        "initiator": spec.initiator or None,
        "labels": canonical(dict(spec.labels)),
        "user_name": user.name,
        "user_kind": user.kind.value,
        "now": now,
    }
    if transaction.sql(_INSERT_INLINE, values).rowcount == 0:
        return None
    return ResolvedServer(id=server_id, name=spec.name, initiator=spec.initiator, system_user=user)


def check_initiator_free(transaction: Transaction, initiator: str, *, server_id: str) -> None:
    """Refuse an initiator name that another server has: it would be let in as that server."""
    row = transaction.sql(
        "SELECT name, id FROM server WHERE initiator = ? AND id != ?", (initiator, server_id)
    ).fetchone()
    if initiator and row is not None:
        text = f"initiator {initiator} belongs to server {row[0]} (id {row[1]}); use its own name"
        raise AlreadyExists(text, reason="INITIATOR_TAKEN", metadata={"id": row[1]})


def _picked(
    transaction: Transaction, labels: Mapping[str, str], *, needs_initiator: bool
) -> ResolvedServer:
    conditions = [_FREE, *[_HAS_LABEL for _ in labels]]
    if needs_initiator:
        conditions.append("initiator IS NOT NULL")
    values = [text for item in labels.items() for text in item]
    row = transaction.sql(
        f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY created_at, id LIMIT 1",
        values,
    ).fetchone()
    if row is None:
        asked = ", ".join(f"{key}={value}" for key, value in labels.items())
        text = f"no free server has the labels {asked}; add one, or release one that has them"
        raise FailedPrecondition(text, reason="NO_SERVER_MATCHES", retry_after_s=5)
    return _resolved(row)


def occupy(transaction: Transaction, *, server_id: str, user: SystemUser) -> None:
    """The server serves this system user from now on."""
    transaction.sql(
        "UPDATE server SET user_name = ?, user_kind = ? WHERE id = ? AND user_name IS NULL",
        (user.name, user.kind.value, server_id),
    )


def vacate(transaction: Transaction, *, server_id: str) -> None:
    """After an attachment is gone: the last one frees the server, an inline one goes with it."""
    held = transaction.sql(
        "SELECT 1 FROM attachment WHERE server_id = ? LIMIT 1", (server_id,)
    ).fetchone()
    if held is not None:
        return
    transaction.sql("DELETE FROM server WHERE id = ? AND inline", (server_id,))
    transaction.sql(
        "UPDATE server SET user_name = NULL, user_kind = NULL WHERE id = ?", (server_id,)
    )
