"""`clonepool server`: the inventory of servers."""

from __future__ import annotations

from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import output, words
from clonepool.cli.documents import document, documents
from clonepool.cli.session import connect, find, pages, request_token


def list_servers(*, json: bool = False) -> None:
    """List servers and whose they are.

    Parameters
    ----------
    json
        Print a JSON list of Server.

    """
    with connect() as client:
        found = list(pages(client, "ListServers", "servers", pb.ListRequest()))
    if json:
        output.print_json(documents(found))
        return
    columns = ("server", "initiator", "system user", "attachments", "labels", "created")
    rows = [
        (
            server.spec.name,
            server.spec.initiator,
            words.user(server.system_user),
            str(server.attachments),
            words.labels_text(server.spec.labels),
            words.ago(server.created_at),
        )
        for server in found
    ]
    output.print_table(columns, rows, empty="no servers")


def show_server(name: str, /, *, json: bool = False) -> None:
    """Show one server.

    Parameters
    ----------
    name
        The server's name or id.
    json
        Print one JSON document, Server.

    """
    with connect() as client:
        server = find(client, "GetServer", name)
    if json:
        output.print_json(document(server))
    else:
        _print_server(server)


def create_server(name: str, /, *, initiator: str = "", label: list[str] | None = None) -> None:
    """Put a server into the inventory. Again with the same arguments it finds the same one.

    Parameters
    ----------
    name
        The server's name.
    initiator
        Its iSCSI initiator name, such as iqn.2026-01.com.example:web1.
    label
        key=value, for selectors; may be repeated.

    """
    spec = pb.ServerSpec(name=name, initiator=initiator, labels=words.parse_labels(label))
    with connect() as client:
        token = request_token("server", name)
        request = pb.CreateServerRequest(spec=spec, request_token=token)
        _print_server(client.call("CreateServer", request))


def delete_server(name: str, /) -> None:
    """Forget a server without attachments.

    Parameters
    ----------
    name
        The server's name or id.

    """
    with connect() as client:
        server = find(client, "GetServer", name)
        client.call("DeleteServer", pb.DeleteRequest(id=server.id))
    print(f"server {server.spec.name} deleted")


def _print_server(server: Any) -> None:
    output.print_fields(
        [
            ("server", server.spec.name),
            ("id", server.id),
            ("initiator", server.spec.initiator or "none: a server of the local fabric"),
            ("system user", words.user(server.system_user) or "none: free"),
            ("attachments", str(server.attachments)),
            ("inline", "yes: it goes with its last attachment" if server.inline else ""),
            ("labels", words.labels_text(server.spec.labels)),
            ("created", words.ago(server.created_at)),
        ]
    )
