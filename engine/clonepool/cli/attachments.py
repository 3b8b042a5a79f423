"""`clonepool attachment`: who has which storage, and how it is reached."""

from __future__ import annotations

from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import output, words
from clonepool.cli.documents import document, documents
from clonepool.cli.session import connect, filtered, find


def list_attachments(*, pool: str = "", server: str = "", json: bool = False) -> None:
    """List attachments.

    Parameters
    ----------
    pool
        Only those of this pool.
    server
        Only those of this server.
    json
        Print a JSON list of Attachment, without secrets.

    """
    request = pb.ListRequest(pool=pool, server=server)
    with connect() as client:
        found = filtered(client, "ListAttachments", "attachments", request)
    if json:
        output.print_json(documents(found))
        return
    columns = ("attachment", "pool", "server", "system user", "state", "volume", "allocated")
    output.print_table(columns, [_row(item) for item in found], empty="no attachments")


def show_attachment(name: str, /, *, secret: bool = False, json: bool = False) -> None:
    """Show one attachment and how its server connects.

    Parameters
    ----------
    name
        The attachment's name or id.
    secret
        Show the CHAP secret too.
    json
        Print one JSON document, Attachment.

    """
    with connect() as client:
        found = find(client, "GetAttachment", name, include_secret=secret)
    if json:
        output.print_json(document(found))
    else:
        print_attachment(found)


def print_attachment(attachment: Any) -> None:
    """One attachment for people; the secret is shown where the message has it."""
    connection = attachment.connection
    output.print_fields(
        [
            ("attachment", attachment.spec.name),
            ("id", attachment.id),
            ("state", attachment_state(attachment)),
            ("waits because", attachment.wait_reason),
            ("pool", attachment.spec.pool),
            ("server", attachment.server_name),
            ("system user", words.user(attachment.system_user)),
            ("image version", str(attachment.image_version or "")),
            ("allocated", _allocated(attachment)),
            ("fabric", connection.fabric),
            ("target", connection.target),
            ("portals", " ".join(connection.portals)),
            *(_volume(volume) for volume in connection.volumes),
            ("chap user", attachment.chap_username),
            ("chap secret", attachment.chap_secret or _hidden(attachment)),
        ]
    )


def attachment_state(attachment: Any) -> str:
    """``attached``, or ``waiting (2nd in the queue)`` in figures."""
    if attachment.state == "waiting":
        return f"waiting, place {attachment.place} in the queue"
    return str(attachment.state)


def _allocated(attachment: Any) -> str:
    if not attachment.HasField("allocated_at"):
        return ""
    if attachment.HasField("resumed_release"):
        released = words.ago(attachment.resumed_release)
        return f"{words.ago(attachment.allocated_at)}, resumes the volume released {released}"
    how = "warm: from a ready replica" if attachment.warm else "cold: it waited for a clone"
    return f"{words.ago(attachment.allocated_at)}, {how}"


def _hidden(attachment: Any) -> str:
    if not attachment.chap_username:
        return ""
    return f"hidden; clonepool attachment show {attachment.spec.name} --secret"


def _volume(volume: Any) -> tuple[str, str]:
    where = volume.path if volume.HasField("path") else f"LUN {volume.lun}"
    name = "read-only volume" if volume.read_only else "writable volume"
    return name, f"{where}, {words.size(volume.size_bytes)}"


def _row(attachment: Any) -> tuple[str, ...]:
    return (
        attachment.spec.name,
        attachment.spec.pool,
        attachment.server_name,
        words.user(attachment.system_user),
        attachment_state(attachment),
        attachment.volume_id,
        words.ago(attachment.allocated_at),
    )
