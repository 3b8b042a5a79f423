"""Rows for tests of the tables themselves, written past the controllers."""

from __future__ import annotations

from typing import Any

from clonepool.domain.states import VolumeState
from clonepool.store.connections import StateDatabase
from clonepool.store.writer import Transaction, Writer

NOW = 1000.0
# one way from "planned" to each state, along allowed moves
PATHS: dict[VolumeState, tuple[VolumeState, ...]] = {
    VolumeState.PLANNED: (),
    VolumeState.CLONING: (VolumeState.CLONING,),
    VolumeState.READY: (VolumeState.CLONING, VolumeState.READY),
    VolumeState.DELETING: (VolumeState.DELETING,),
}
_USED = (VolumeState.ATTACHING, VolumeState.ALLOCATED, VolumeState.DETACHING)
for _number, _state in enumerate(_USED, 1):
    PATHS[_state] = (*PATHS[VolumeState.READY], *_USED[:_number])
PATHS[VolumeState.RELEASED] = (*PATHS[VolumeState.DETACHING], VolumeState.RELEASED)
PATHS[VolumeState.SCRUBBING] = (*PATHS[VolumeState.RELEASED], VolumeState.SCRUBBING)
PATHS[VolumeState.FAULTY] = (*PATHS[VolumeState.SCRUBBING], VolumeState.FAULTY)


def rows_of(database: StateDatabase, statement: str) -> list[tuple[Any, ...]]:
    """What a connection of its own reads."""
    with database.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


def insert(transaction: Transaction, table: str, **columns: Any) -> None:
    """One row."""
    names = ", ".join(columns)
    marks = ", ".join("?" for _ in columns)
    # the names are the tests' own
    transaction.sql(f"INSERT INTO {table}({names}) VALUES ({marks})", tuple(columns.values()))  # noqa: S608


def image(transaction: Transaction, name: str = "web", **changes: Any) -> str:
    """A live image with a ready version 1, the current one; returns the image's id."""
    image_id = changes.pop("id", f"image-{name}")
    columns = {"storage": "default", "labels": "{}", "token": "t", "token_digest": "d"}
    current = {"current_version_id": f"version-{name}", "created_at": NOW}
    insert(transaction, "image", id=image_id, name=name, **{**columns, **current, **changes})
    version(transaction, id=f"version-{name}", image_id=image_id)
    return image_id


def version(transaction: Transaction, **changes: Any) -> None:
    """A ready version."""
    columns = {
        "number": 1,
        "state": "ready",
        "storage": "default",
        "content": '{"preconfigure":[],"read_only":null,"writable":null}',
        "content_digest": "d",
        "ro_size_bytes": 0,
        "ro_digest": "",
        "rw_object": "img-rw",
        "rw_size_bytes": 100,
        "rw_digest": "",
        "error": "",
        "created_at": NOW,
    }
    insert(transaction, "image_version", **{**columns, **changes})


def pool(transaction: Transaction, name: str = "web", **changes: Any) -> str:
    """A live pool of the image of the same name; returns its id."""
    columns = {
        "id": f"pool-{name}",
        "name": name,
        "image_id": f"image-{name}",
        "image_name": name,
        "image_version": 0,
        "fabric": "iscsi",
        "min_ready": 1,
        "max_replicas": 100,
        "clone_mode": "auto",
        "when_empty": "wait",
        "wait_for_ready": 1,
        "max_unavailable": 1,
        "scrub_threshold": 10,
        "scrub_method": "reformat",
        "scrub_then": "recycle",
        "scrub_on_low_space": True,
        "clone_kind": "",
        "failures": 0,
        "stopped_reason": "",
        "token": "t",
        "token_digest": "d",
        "created_at": NOW,
    }
    columns |= changes
    insert(transaction, "pool", **columns)
    return str(columns["id"])


def server(transaction: Transaction, name: str = "s1", **changes: Any) -> str:
    """A server with an initiator; returns its id."""
    columns = {
        "id": f"server-{name}",
        "name": name,
        "initiator": f"iqn.2026-01.test:{name}",
        "labels": "{}",
        "inline": False,
        "token": "t",
        "token_digest": "d",
        "created_at": NOW,
    }
    columns |= changes
    insert(transaction, "server", **columns)
    return str(columns["id"])


def volume(transaction: Transaction, volume_id: str = "v1", **changes: Any) -> str:
    """A planned volume of pool ``web``; returns its id."""
    columns = {
        "id": volume_id,
        "generation": 1,
        "pool_id": "pool-web",
        "image_version_id": "version-web",
        "node": "node1",
        "storage": "default",
        "fabric": "iscsi",
        "state": "planned",
        "slot": False,
        "size_bytes": 100,
        "used_bytes": 0,
        "clone_kind": "",
        "last_attachment_id": "",
        "last_user_name": "acme",
        "last_user_kind": "customer",
        "last_server": "",
        "after_scrub": "",
        "error": "",
        "created_at": NOW,
        "changed_at": NOW,
    }
    insert(transaction, "volume", **{**columns, **changes})
    return volume_id


def move(transaction: Transaction, volume_id: str, state: VolumeState) -> None:
    """Move a volume, with the columns that the state needs."""
    attached = state in _USED
    transaction.sql(
        "UPDATE volume SET state = :state, changed_at = changed_at + 1, "
        "attachment_id = CASE WHEN :attached THEN 'attachment-' || id END, "
        "released_at = CASE WHEN :state = 'released' THEN changed_at ELSE released_at END, "
        "scrub_run_id = CASE WHEN :state = 'scrubbing' THEN 'run' ELSE scrub_run_id END, "
        "generation = generation + CASE WHEN :state = 'cloning' "
        "AND state IN ('detaching', 'scrubbing') THEN 1 ELSE 0 END "
        "WHERE id = :id",
        {"id": volume_id, "state": state.value, "attached": attached},
    )


def volume_in(
    transaction: Transaction, state: VolumeState, volume_id: str = "v1", **changes: Any
) -> str:
    """A volume that came to ``state`` by allowed moves; returns its id."""
    volume(transaction, volume_id, **changes)
    for step in PATHS[state]:
        move(transaction, volume_id, step)
    return volume_id


def ready_volumes(transaction: Transaction, count: int, **changes: Any) -> list[str]:
    """Ready volumes, the first the oldest."""
    made = []
    for number in range(count):
        name = f"v{number:04}"
        made.append(volume_in(transaction, VolumeState.READY, name, changed_at=number, **changes))
    return made


def record(transaction: Transaction, volume_id: str, *, generation: int = 1) -> None:
    """A scrub record."""
    insert(
        transaction,
        "scrub_record",
        volume_id=volume_id,
        generation=generation,
        pool_name="web",
        run_id="run",
        attachment_id="a",
        server_name="s",
        method="reformat",
        after_scrub="recycle",
        size_bytes=1,
        released_at=NOW,
        started_at=NOW,
        finished_at=NOW,
    )


def attachment(transaction: Transaction, name: str = "a1", **changes: Any) -> str:
    """A waiting attachment of server ``s1`` in pool ``web``; returns its id."""
    columns = {
        "id": f"attachment-{name}",
        "name": name,
        "pool_id": "pool-web",
        "server_id": "server-s1",
        "user_name": "acme",
        "user_kind": "customer",
        "state": "waiting",
        "lease_until": 0,
        "warm": False,
        "volume_generation": 0,
        "image_version": 0,
        "spec": "{}",
        "chap_mode": "none",
        "chap_username": "",
        "chap_secret": "",
        "force_detach": False,
        "token": "t",
        "token_digest": "d",
        "created_at": NOW,
        "changed_at": NOW,
    }
    columns |= changes
    insert(transaction, "attachment", **columns)
    return str(columns["id"])


def hold(transaction: Transaction, ticket: str = "t1", **changes: Any) -> str:
    """A hold of one replica of pool ``web`` that lasts; returns its ticket."""
    columns = {
        "ticket": ticket,
        "pool_id": "pool-web",
        "count": 1,
        "remaining": 1,
        "owner": "",
        "token": f"token-{ticket}",
        "token_digest": "d",
        "created_at": NOW - 10,
        "expires_at": NOW + 1000,
    }
    insert(transaction, "hold", **{**columns, **changes})
    return ticket


def basics(transaction: Transaction) -> None:
    """Image and pool ``web``, server ``s1``."""
    image(transaction)
    pool(transaction)
    server(transaction)


def write_basics(writer: Writer) -> None:
    """The same, committed."""
    writer.write(basics)
