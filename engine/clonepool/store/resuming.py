"""A released volume goes back to its own user: an undone release, or a resumed attachment.

It counts to ``max_replicas`` again, so where the pool is full a ready replica makes room for it.
"""

from __future__ import annotations

import json
from typing import Any

from clonepool.domain.model import ServerSpec, SystemUser
from clonepool.domain.states import CAPACITY_STATES, SystemUserKind
from clonepool.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    NotFound,
    ResourceExhausted,
)
from clonepool.store import allocation_servers, operations, released
from clonepool.store.allocation_holds import AHEAD, Turn
from clonepool.store.allocation_servers import ResolvedServer
from clonepool.store.released import Resumable
from clonepool.store.writer import Transaction

_COUNTED = ", ".join(f"'{state.value}'" for state in sorted(CAPACITY_STATES))
_IS_FULL = f"""
    SELECT (SELECT count(*) FROM volume WHERE pool_id = :pool AND state IN ({_COUNTED}))
        >= (SELECT max_replicas FROM pool WHERE id = :pool)
"""  # noqa: S608 - texts of ours, values bound
# a stale one first; else the one that the attachment would have got, not one that is meant for
# whoever waits ahead of it or held for a ticket
_WANTED = """(
    SELECT CASE p.image_version WHEN 0 THEN i.current_version_id ELSE (
        SELECT id FROM image_version WHERE image_id = i.id AND number = p.image_version) END
    FROM pool p JOIN image i ON i.id = p.image_id WHERE p.id = :pool)
"""
_MAKE_ROOM = f"""
    UPDATE volume SET state = 'deleting', changed_at = :now
    WHERE n = coalesce((
        SELECT n FROM volume
        WHERE pool_id = :pool AND state = 'ready' AND image_version_id IS NOT {_WANTED}
        ORDER BY changed_at, n LIMIT 1
    ), (
        SELECT n FROM volume
        WHERE pool_id = :pool AND state = 'ready' AND image_version_id = {_WANTED}
        ORDER BY changed_at, n LIMIT 1 OFFSET {AHEAD}))
    RETURNING id, node
"""  # noqa: S608 - texts of ours, values bound
_INSERT = """
    INSERT INTO attachment(id, name, pool_id, server_id, user_name, user_kind, state, lease_until,
        warm, volume_id, volume_generation, image_version, spec, chap_mode, chap_username,
        chap_secret, force_detach, token, token_digest, created_at, allocated_at, changed_at,
        resumed_release)
    VALUES (:id, :name, :pool, :server_id, :user_name, :user_kind, 'attached', 0, :warm, :volume,
        :generation, :number, :spec, :chap_mode, :chap_username, :chap_secret, :force_detach,
        :token, :digest, :created_at, :allocated_at, :now, :resumed)
"""


def resume(transaction: Transaction, values: dict[str, Any], *, turn: Turn) -> Resumable | None:
    """Take back what the attachment of ``values`` had; None: it gets a replica, as any other.

    None too where the pool is full and nothing can make room: what waits for a replica waits for
    its own volume then.
    """
    found = released.find_resumable(transaction, values)
    if found is None:
        return None
    if not _make_room(transaction, values, turn):
        return None
    moved = released.give_back(
        transaction, values, volume_id=found.volume_id, generation=found.generation
    )
    return found if moved else None


def _make_room(transaction: Transaction, values: dict[str, Any], turn: Turn) -> bool:
    pool = {"pool": values["pool"]}
    if not transaction.sql(_IS_FULL, pool).fetchone()[0]:
        return True
    parameters = pool | {"now": values["now"], "place": turn.place, "hold": turn.hold}
    row = transaction.sql(_MAKE_ROOM, parameters).fetchone()
    if row is None:
        return False
    operations.add_for_volume(
        transaction, kind="delete_volume", volume_id=row[0], node=row[1], now=values["now"]
    )
    return True


def undo(
    transaction: Transaction, *, attachment: str, volume_id: str, now: float
) -> tuple[str, bool]:
    """Undo the release of an attachment (id or name) or of a volume.

    Returns the attachment's id, and whether it was undone now: repeated, it answers as before.
    Errors: see UndoRelease.
    """
    row = _find(transaction, attachment=attachment, volume_id=volume_id)
    if row is None:
        return _undone_before(transaction, attachment=attachment, volume_id=volume_id), False
    found_volume, generation, attachment_id, name, released_at = row[:5]
    state, pool_id, pool, live = row[7:]
    if state != "released":
        text = f"volume {found_volume} of attachment {name} is {state}: it can't come back"
        raise FailedPrecondition(text, reason="NOT_RELEASED")
    if not live:
        text = f"pool {pool} was deleted; the volumes that it left are scrubbed and destroyed"
        raise FailedPrecondition(text, reason="POOL_DELETED")
    _check_name_free(transaction, name)
    document, server_document = json.loads(row[5]), json.loads(row[6])
    user = SystemUser(name=document["user_name"], kind=SystemUserKind(document["user_kind"]))
    server = _server(transaction, server_document, user=user, now=now)
    values = _as_kept(document) | {
        "attachment": attachment_id,
        "pool": pool_id,
        "server": server.name,
        "server_id": server.id,
        "now": now,
        "resumed": released_at,
    }
    if not _make_room(transaction, values, Turn()):
        text = (
            f"pool {pool} is at max_replicas and has no ready replica that could make room; raise "
            f"max_replicas, or release something else, then undo the release of {name}"
        )
        raise ResourceExhausted(text, reason="MAX_REPLICAS", retry_after_s=5)
    if not released.give_back(transaction, values, volume_id=found_volume, generation=generation):
        text = f"volume {found_volume} is no longer as attachment {name} left it"
        raise FailedPrecondition(text, reason="NOT_RELEASED")
    transaction.sql(_INSERT, values)
    allocation_servers.occupy(transaction, server_id=server.id, user=user)
    return str(attachment_id), True


def _as_kept(document: dict[str, Any]) -> dict[str, Any]:
    """The row that was: SQLite writes yes and no as numbers, and times are kept as texts."""
    read = {"warm": bool, "force_detach": bool, "created_at": float, "allocated_at": float}
    return document | {name: as_type(document[name]) for name, as_type in read.items()}


def _find(transaction: Transaction, *, attachment: str, volume_id: str) -> tuple[Any, ...] | None:
    if volume_id:
        return released.find(transaction, column="volume_id", value=volume_id)
    return released.find(transaction, column="attachment_id", value=attachment) or released.find(
        transaction, column="name", value=attachment
    )


def _undone_before(transaction: Transaction, *, attachment: str, volume_id: str) -> str:
    row = transaction.sql(
        "SELECT id, name, state, resumed_release FROM attachment "
        "WHERE volume_id = :volume OR :volume = '' AND (id = :word OR name = :word)",
        {"volume": volume_id, "word": attachment},
    ).fetchone()
    what = f"volume {volume_id}" if volume_id else f"attachment {attachment}"
    if row is None:
        text = (
            f"{what} was not released, or is scrubbed by now (or was released by an older version "
            "of Clonepool); `clonepool volume list --state released` shows what can come back"
        )
        raise NotFound(text, reason="NOT_RELEASED")
    if row[2] == "attached" and row[3] is not None:
        return str(row[0])
    text = f"{what} is not released: attachment {row[1]} is {row[2]}, so there is nothing to undo"
    raise FailedPrecondition(text, reason="NOT_RELEASED")


def _check_name_free(transaction: Transaction, name: str) -> None:
    row = transaction.sql("SELECT id FROM attachment WHERE name = ?", (name,)).fetchone()
    if row is not None:
        text = (
            f"attachment {name} exists again (id {row[0]}) with another volume; release that "
            f"first (`clonepool release {name}`)"
        )
        raise AlreadyExists(text, reason="NAME_TAKEN", metadata={"id": row[0]})


def _server(
    transaction: Transaction, document: dict[str, Any], *, user: SystemUser, now: float
) -> ResolvedServer:
    """The server that had it; an inline one comes again, with the initiator that it had."""
    if document["inline"]:
        return _inline_server(transaction, document, user=user, now=now)
    row = transaction.sql(
        "SELECT id, name, initiator, user_name, user_kind FROM server WHERE id = ?",
        (document["id"],),
    ).fetchone()
    if row is None:
        text = (
            f"server {document['name']} was deleted since; attach a server under the same "
            "attachment name with resume_released instead"
        )
        raise FailedPrecondition(text, reason="SERVER_GONE")
    server = ResolvedServer(
        id=row[0],
        name=row[1],
        initiator=row[2] or "",
        system_user=SystemUser(name=row[3], kind=SystemUserKind(row[4])) if row[3] else None,
    )
    allocation_servers.check_user(transaction, server, user)
    return server


def _inline_server(
    transaction: Transaction, document: dict[str, Any], *, user: SystemUser, now: float
) -> ResolvedServer:
    row = transaction.sql(
        "SELECT id, inline, initiator, user_name, user_kind FROM server WHERE name = ?",
        (document["name"],),
    ).fetchone()
    if row is None:
        return _made_again(transaction, document, user=user, now=now)
    if not row[1] or row[2] != document["initiator"]:
        text = (
            f"server {document['name']} is another one by now (id {row[0]}); give that one "
            "another name, or attach it under the same attachment name with resume_released"
        )
        raise FailedPrecondition(text, reason="SERVER_GONE")
    found = SystemUser(name=row[3], kind=SystemUserKind(row[4])) if row[3] else None
    server = ResolvedServer(
        id=row[0], name=document["name"], initiator=row[2] or "", system_user=found
    )
    allocation_servers.check_user(transaction, server, user)
    return server


def _made_again(
    transaction: Transaction, document: dict[str, Any], *, user: SystemUser, now: float
) -> ResolvedServer:
    initiator = document["initiator"] or ""
    allocation_servers.check_initiator_free(transaction, initiator, server_id="")
    spec = ServerSpec(
        name=document["name"], initiator=initiator, labels=json.loads(document["labels"])
    )
    made = allocation_servers.make_inline(transaction, spec, user=user, now=now)
    if made is None:
        raise Internal(f"server {spec.name} could not be made, and nothing stands in its way")
    return made
