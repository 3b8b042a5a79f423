"""`clonepool operation`: the engine's background work."""

from __future__ import annotations

from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import output, words
from clonepool.cli.documents import document, documents
from clonepool.cli.session import connect, pages


def list_operations(*, open: bool = False, json: bool = False) -> None:  # noqa: A002 - an option
    """List background work, newest first.

    Parameters
    ----------
    open
        Only what is queued or running.
    json
        Print a JSON list of Operation.

    """
    request = pb.ListOperationsRequest(open_only=open)
    with connect() as client:
        found = list(pages(client, "ListOperations", "operations", request))
    if json:
        output.print_json(documents(found))
        return
    columns = ("operation", "kind", "subject", "state", "attempt", "progress", "created", "error")
    output.print_table(columns, [_row(work) for work in found], empty="no operations")


def show_operation(operation_id: str, /, *, json: bool = False) -> None:
    """Show one piece of background work.

    Parameters
    ----------
    operation_id
        The operation's id.
    json
        Print one JSON document, Operation.

    """
    with connect() as client:
        work = client.call("GetOperation", pb.GetRequest(id=operation_id))
    if json:
        output.print_json(document(work))
        return
    output.print_fields(
        [
            ("operation", work.id),
            ("kind", work.kind),
            ("subject", work.subject),
            ("state", work.state),
            ("attempt", str(work.attempt)),
            ("progress", _progress(work)),
            ("node", work.node),
            ("created", words.ago(work.created_at)),
            ("finished", words.ago(work.finished_at)),
            ("error", work.error),
        ]
    )


def cancel_operation(operation_id: str, /) -> None:
    """Ask an import to stop; a scrub or a deletion must finish.

    Parameters
    ----------
    operation_id
        The operation's id.

    """
    with connect() as client:
        work = client.call("CancelOperation", pb.GetRequest(id=operation_id))
    print(f"operation {work.id} ({work.kind} of {work.subject}): {work.state}, asked to stop")


def _progress(work: Any) -> str:
    if not work.total_bytes:
        return words.size(work.progress_bytes)
    percent = 100 * work.progress_bytes // work.total_bytes
    return f"{percent}% of {words.size(work.total_bytes)}"


def _row(work: Any) -> tuple[str, ...]:
    return (
        work.id,
        work.kind,
        work.subject,
        work.state,
        str(work.attempt),
        _progress(work),
        words.ago(work.created_at),
        work.error,
    )
