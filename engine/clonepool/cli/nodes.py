"""`clonepool node`: the engines that share one database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import output, words
from clonepool.cli.documents import document, documents
from clonepool.cli.session import connect, wait_until
from clonepool.units import parse_duration


def list_nodes(*, json: bool = False) -> None:
    """List the nodes that share the engine's database.

    Parameters
    ----------
    json
        Print a JSON list of Node.

    """
    with connect() as client:
        found = client.call("ListNodes", pb.ListNodesRequest()).nodes
    if json:
        output.print_json(documents(found))
        return
    columns = ("node", "state", "heard of", "version", "volumes", "attached", "work", "storages")
    output.print_table(columns, [_row(node) for node in found], empty="no nodes")


def show_node(name: str, /, *, json: bool = False) -> None:
    """Show one node.

    Parameters
    ----------
    name
        The node's name.
    json
        Print one JSON document, Node.

    """
    with connect() as client:
        node = client.call("GetNode", pb.GetRequest(name=name))
    if json:
        output.print_json(document(node))
        return
    output.print_fields(
        [
            ("node", node.name),
            ("state", _state(node)),
            ("heard of", words.ago(node.heard_at)),
            ("started", words.ago(node.started_at)),
            ("version", node.version),
            ("listens on", node.listen),
            ("machine", node.machine),
            ("storages", _storages(node)),
            ("fabrics", _list(node.fabrics)),
            ("volumes", str(node.volumes)),
            ("attachments", str(node.attachments)),
            ("open operations", str(node.operations)),
        ]
    )


def drain_node(name: str, /, *, wait: str = "") -> None:
    """Have a node begin nothing new, before an upgrade or a repair; its engine answers on.

    Work under way is handed back, its replicas are not handed out any more. What servers have of
    it stays theirs, and can be released. It holds until `clonepool node undrain`, also over a
    restart.

    Parameters
    ----------
    name
        The node's name.
    wait
        Wait so long until nothing runs there any more, such as 5m.

    """
    timeout_s = parse_duration(wait, field="--wait") if wait else 0.0
    with connect() as client:
        request = pb.GetRequest(name=name)
        node = client.call("DrainNode", request)
        if timeout_s:
            wait_until(
                lambda: _running(client, name),
                done=lambda found: not found,
                timeout_s=timeout_s,
                waiting_for=lambda found: f"{words.count(found, 'operation')} run at node {name}",
                way_out="see clonepool operation list --open",
            )
    print(f"node {name} is draining; servers hold {words.count(node.attachments, 'volume')} of it")


def undrain_node(name: str, /) -> None:
    """Have a node take work again.

    Parameters
    ----------
    name
        The node's name.

    """
    with connect() as client:
        client.call("UndrainNode", pb.GetRequest(name=name))
    print(f"node {name} takes work again")


def forget_node(name: str, /) -> None:
    """Take a silent node off the list; what lies on it is there again when its name starts again.

    Parameters
    ----------
    name
        The node's name.

    """
    with connect() as client:
        client.call("ForgetNode", pb.DeleteRequest(id=name))
    print(f"node {name} is forgotten")


def _running(client: Any, name: str) -> int:
    request = pb.ListOperationsRequest(open_only=True, page_size=1000)
    found = client.call("ListOperations", request).operations
    return sum(work.node == name and work.state == "running" for work in found)


def _row(node: Any) -> tuple[str, ...]:
    return (
        node.name,
        _state(node),
        words.ago(node.heard_at),
        node.version,
        str(node.volumes),
        str(node.attachments),
        str(node.operations),
        _storages(node),
    )


def _state(node: Any) -> str:
    return f"{node.state}, draining" if node.draining else str(node.state)


def _storages(node: Any) -> str:
    return _list([f"{name} (shared)" if name in node.hostless else name for name in node.storages])


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
