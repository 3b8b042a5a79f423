"""Attachments as they are: one joined read with all that an export needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from clonepool.domain import names
from clonepool.domain.content import parse_attachment_document
from clonepool.domain.model import Attachment, ImagePortion, PageRequest, Ref, SystemUser
from clonepool.domain.states import AttachmentState, ChapMode, SystemUserKind
from clonepool.errors import NotFound
from clonepool.store.postgres.dialect import as_driver_takes
from clonepool.store.writer import Transaction

_COLUMNS = """
    a.n, a.id, a.name, a.state, a.lease_until, a.spec, a.pool_id, a.server_id,
    s.name AS server_name,
    s.initiator, a.user_name, a.user_kind, a.volume_id, a.volume_generation, a.image_version,
    a.warm, a.chap_mode, a.chap_username, a.chap_secret, a.force_detach, a.created_at,
    a.allocated_at, a.resumed_release, p.fabric, v.node, v.storage, v.slot, v.size_bytes,
    v.state AS volume_state,
    i.id AS version_id, i.ro_object, i.ro_size_bytes, i.ro_digest
"""
_FROM = """
    FROM attachment a JOIN pool p ON p.id = a.pool_id JOIN server s ON s.id = a.server_id
    LEFT JOIN volume v ON v.id = a.volume_id LEFT JOIN image_version i ON i.id = v.image_version_id
"""
_SELECT = f"SELECT {_COLUMNS} {_FROM}"
_PLACE = """
    SELECT count(*) FROM attachment
    WHERE pool_id = ? AND state = 'waiting' AND n <= ? AND (lease_until > ? OR n = ?)
"""


@dataclass(frozen=True, kw_only=True)
class Held:
    """An attachment with what its export is made of; ``target`` is "" while it waits."""

    attachment: Attachment
    initiator: str
    fabric: str
    storage: str
    target: str
    version_id: str
    read_only: ImagePortion | None
    writable_object: str  # "" for a slot
    writable_size_bytes: int
    chap_mode: ChapMode
    chap_username: str
    chap_secret: str  # sealed
    lease_until: float
    volume_state: str
    node: str  # that the volume is on, "" while it waits


def held(row: Any, *, place: int = 0) -> Held:
    """What a joined row says."""
    waiting = row["volume_id"] is None
    target = "" if waiting else _target(row)
    return Held(
        attachment=_attachment(row, place=place),
        initiator=row["initiator"] or "",
        fabric=row["fabric"],
        storage=row["storage"] or "",
        target=target,
        version_id=row["version_id"] or "",
        read_only=_read_only(row),
        writable_object="" if waiting or row["slot"] else target,
        writable_size_bytes=row["size_bytes"] or 0,
        chap_mode=ChapMode(row["chap_mode"]),
        chap_username=row["chap_username"],
        chap_secret=row["chap_secret"],
        lease_until=row["lease_until"],
        volume_state=row["volume_state"] or "",
        node=row["node"] or "",
    )


def _target(row: Any) -> str:
    return names.volume_object(volume_id=row["volume_id"], generation=row["volume_generation"])


def _read_only(row: Any) -> ImagePortion | None:
    if row["ro_object"] is None:
        return None
    return ImagePortion(
        object_name=row["ro_object"], size_bytes=row["ro_size_bytes"], digest=row["ro_digest"]
    )


def _attachment(row: Any, *, place: int) -> Attachment:
    return Attachment(
        id=row["id"],
        spec=parse_attachment_document(row["spec"]),
        state=AttachmentState(row["state"]),
        place=place,
        pool_id=row["pool_id"],
        server_id=row["server_id"],
        server_name=row["server_name"],
        system_user=SystemUser(name=row["user_name"], kind=SystemUserKind(row["user_kind"])),
        volume_id=row["volume_id"] or "",
        volume_generation=row["volume_generation"],
        image_version=row["image_version"],
        warm=bool(row["warm"]),
        connection=None,
        chap=None,
        created_at=row["created_at"],
        allocated_at=row["allocated_at"],
        resumed_release=row["resumed_release"],
    )


def _dicts(cursor: Any) -> Iterable[dict[str, Any]]:
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def _query(session: Session, sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    # by the driver itself: SQLAlchemy's rows cost more than the query, on the way of a release
    connection = session.connection()
    raw: Any = connection.connection.driver_connection
    return list(_dicts(raw.execute(as_driver_takes(connection, sql), tuple(parameters))))


def in_transaction(transaction: Transaction, *, attachment_id: str, now: float) -> Held:
    """One attachment as the change just left it."""
    row = next(iter(_dicts(transaction.sql(f"{_SELECT} WHERE a.id = ?", (attachment_id,)))))
    place = 0
    if row["volume_id"] is None:
        values = (row["pool_id"], row["n"], now, row["n"])
        place = transaction.sql(_PLACE, values).fetchone()[0]
    return held(row, place=place)


def find(session: Session, *, ref: Ref, now: float) -> Held | None:
    """One live attachment by id or name."""
    column, value = ("id", ref.id) if ref.id else ("name", ref.name)
    found = _query(session, f"{_SELECT} WHERE a.{column} = ?", (value,))
    if not found:
        return None
    return _placed(session, found[0], now=now)


def get(session: Session, *, ref: Ref, now: float) -> Held:
    """The same. Raises NotFound."""
    result = find(session, ref=ref, now=now)
    if result is None:
        raise NotFound(
            f"there is no attachment {ref}; `clonepool attachment list` shows what there is"
        )
    return result


def _placed(session: Session, row: dict[str, Any], *, now: float) -> Held:
    if row["volume_id"] is not None:
        return held(row)
    place = _query(session, _PLACE, (row["pool_id"], row["n"], now, row["n"]))
    return held(row, place=int(next(iter(place[0].values()))))


def list_page(
    session: Session, *, page: PageRequest, pool: str, server: str, now: float
) -> tuple[list[Held], str]:
    """Oldest first; filters are names."""
    where, values = ["a.n > ?", "a.name LIKE ? || '%' ESCAPE '\\'"], [page.row()]
    parameters: list[Any] = [*values, _escaped(page.name_prefix)]
    for column, value in (("p.name", pool), ("s.name", server)):
        if value:
            where.append(f"{column} = ?")
            parameters.append(value)
    sql = f"{_SELECT} WHERE {' AND '.join(where)} ORDER BY a.n LIMIT ?"
    found = _query(session, sql, (*parameters, page.size))
    token = str(found[-1]["n"]) if len(found) == page.size else ""
    return [_placed(session, row, now=now) for row in found], token


def _escaped(prefix: str) -> str:
    return prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def list_on_fabric(session: Session, *, fabric: str, node: str) -> list[Held]:
    """Every attachment that holds a volume of a node on one fabric."""
    sql = f"{_SELECT} WHERE p.fabric = ? AND v.node = ?"
    return [held(row) for row in _query(session, sql, (fabric, node))]


def list_of_server(session: Session, *, server_id: str) -> list[Held]:
    """Every attachment of one server that holds a volume."""
    sql = f"{_SELECT} WHERE a.server_id = ? AND a.volume_id IS NOT NULL"
    return [held(row) for row in _query(session, sql, (server_id,))]


def list_detaching(session: Session, *, node: str, before: float) -> list[Held]:
    """Releases of a node's volumes begun before ``before`` and not finished."""
    sql = f"{_SELECT} WHERE a.state = 'detaching' AND a.changed_at < ? AND v.node = ?"
    return [held(row) for row in _query(session, sql, (before, node))]


def list_attaching(session: Session, *, node: str, before: float) -> list[Held]:
    """Grants of a node's volumes begun before ``before`` whose end was not noted."""
    sql = f"{_SELECT} WHERE v.state = 'attaching' AND v.changed_at < ? AND v.node = ?"
    return [held(row) for row in _query(session, sql, (before, node))]


def names_of_pool(transaction: Transaction, *, pool_id: str) -> list[str]:
    """The names of its attachments, for messages."""
    sql = "SELECT name FROM attachment WHERE pool_id = ?"
    return [row[0] for row in transaction.sql(sql, (pool_id,))]


def names_of_server(transaction: Transaction, *, server_id: str) -> list[str]:
    """The names of its attachments, for messages."""
    sql = "SELECT name FROM attachment WHERE server_id = ?"
    return [row[0] for row in transaction.sql(sql, (server_id,))]


def has_expired_waiters(session: Session, *, now: float) -> bool:
    """Whether any waiter's caller stopped asking."""
    sql = "SELECT 1 FROM attachment WHERE state = 'waiting' AND lease_until < ? LIMIT 1"
    return bool(_query(session, sql, (now,)))
