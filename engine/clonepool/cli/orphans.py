"""`clonepool orphan`: objects on a storage that no row accounts for."""

from __future__ import annotations

from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import output, words
from clonepool.cli.documents import documents
from clonepool.cli.session import connect, pages
from clonepool.errors import InvalidArgument
from clonepool.units import format_duration


def list_orphans(*, json: bool = False) -> None:
    """List objects of Clonepool's on its storages that no row accounts for.

    They are in quarantine: deleted when orphan_grace is over, unless they are held or get a row.

    Parameters
    ----------
    json
        Print a JSON list of Orphan.

    """
    with connect() as client:
        found = list(pages(client, "ListOrphans", "orphans", pb.ListOrphansRequest()))
    if json:
        output.print_json(documents(found))
        return
    columns = ("storage", "object", "uses", "first seen", "deleted in")
    output.print_table(columns, [_row(orphan) for orphan in found], empty="no orphans")


def delete_orphan(storage: str, /, *names: str) -> None:
    """Delete orphans now, without waiting for their time, also those that are held.

    Parameters
    ----------
    storage
        The storage that they lie on.
    names
        The objects' names, as the list shows them.

    """
    if not names:
        raise InvalidArgument.field("NAME", "name at least one object; see clonepool orphan list")
    with connect() as client:
        for name in names:
            client.call("DeleteOrphan", pb.DeleteOrphanRequest(storage=storage, name=name))
            print(f"{name} is not on storage {storage} any more")


def _row(orphan: Any) -> tuple[str, ...]:
    due = format_duration(round(orphan.due_in_s)) if orphan.HasField("due_in_s") else ""
    return (
        orphan.storage,
        orphan.name,
        words.size(orphan.used_bytes),
        words.ago(orphan.first_seen_at),
        due or f"held: {orphan.held}",
    )
