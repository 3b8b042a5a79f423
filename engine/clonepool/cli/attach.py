"""`clonepool attach` and `clonepool release`: allocate storage to a server and take it back."""

from __future__ import annotations

import contextlib
from typing import Any

from clonepool.api.client import EngineClient
from clonepool.api.endpoint import client_environment
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.cli import output, words
from clonepool.cli.attachments import attachment_state, print_attachment
from clonepool.cli.documents import document
from clonepool.cli.session import connect, find, looks_like_id, request_token, wait_until
from clonepool.errors import ClonepoolError, InvalidArgument, NotFound
from clonepool.units import parse_duration


def attach(  # noqa: PLR0913 - one parameter an option
    name: str,
    /,
    *,
    pool: str,
    server: str = "",
    initiator: str = "",
    select: list[str] | None = None,
    system_user: str = "",
    chap: str = "",
    force_detach: bool = False,
    hold: str = "",
    resume_released: bool = False,
    secret: bool = False,
    no_wait: bool = False,
    timeout: str = "5m",
    json: bool = False,
) -> None:
    """Allocate a server to a system user with a ready replica; waits for one's turn.

    Again with the same arguments it finds the same attachment. Give up by Ctrl-C: the place in
    the queue is given back.

    Parameters
    ----------
    name
        The attachment's name.
    pool
        The pool that the replica comes from.
    server
        A server of the inventory; with --initiator the name of one that lives as long as its
        attachments.
    initiator
        iSCSI initiator name of a server that is not in the inventory.
    select
        key=value: any free server with this label; may be repeated.
    system_user
        customer/NAME or application/NAME; needed for a shared image.
    chap
        generated (the default) or none.
    force_detach
        Let a later release end the server's sessions.
    hold
        A ticket of `clonepool hold create` to be served by (default: CLONEPOOL_HOLD). One that is
        no use is said, and it goes on without.
    resume_released
        Get the volume back that this attachment had, if it was released and is not scrubbed yet.
    secret
        Show the CHAP secret.
    no_wait
        Do not wait: take a place in the queue and return. The place is lost unless the same
        command comes again within the lease.
    timeout
        How long to wait (default 5m); the place in the queue is given back after it.
    json
        Print one JSON document, Attachment.

    """
    spec = pb.AttachmentSpec(
        name=name,
        pool=pool,
        force_detach=force_detach,
        resume_released=resume_released,
        chap=pb.ChapSpec(mode=chap),
    )
    spec.MergeFrom(_of_user(system_user))
    _name_server(spec, server=server, initiator=initiator, select=select)
    ticket = hold or client_environment().hold
    token = request_token("attach", name)
    request = pb.CreateAttachmentRequest(spec=spec, request_token=token, hold=ticket)
    timeout_s = 0.0 if no_wait else parse_duration(timeout, field="--timeout")
    with connect() as client:
        made = _begin(client, request)
        if made.state == "waiting" and not no_wait:
            made = _wait_for_turn(client, request, waiting_id=made.id, timeout_s=timeout_s)
    if not secret:
        made.chap_secret = ""
    _show(made, json=json)


def _because(answer: Any) -> str:
    return f" (it can't be filled: {answer.wait_reason})" if answer.wait_reason else ""


def _of_user(text: str) -> pb.AttachmentSpec:
    return pb.AttachmentSpec(system_user=words.parse_user(text))


def _show(made: pb.Attachment, *, json: bool) -> None:
    if json:
        output.print_json(document(made))
    else:
        print_attachment(made)


def release(name: str, /, *, force: bool = False) -> None:
    """Release a server's storage: revoke, unexport; its volume is scrubbed later.

    Parameters
    ----------
    name
        The attachment's name or id.
    force
        End the sessions of a server that is still logged in.

    """
    with connect() as client:
        found = find(client, "GetAttachment", name)
        client.call("DeleteAttachment", pb.DeleteAttachmentRequest(id=found.id, force=force))
    print(f"attachment {found.spec.name} released; volume {found.volume_id or 'none'}")


def undo_release(name: str, /, *, json: bool = False) -> None:
    """Undo a release while the volume is not scrubbed yet: the attachment is there again.

    It has its own volume, bytes and image version, and is granted anew.

    Parameters
    ----------
    name
        The attachment's name or id, or the volume's id.
    json
        Print one JSON document, Attachment.

    """
    with connect() as client:
        made = _undo(client, name)
    _show(made, json=json)


def _undo(client: EngineClient, name: str) -> Any:
    try:
        return client.call("UndoRelease", pb.UndoReleaseRequest(attachment=name))
    except NotFound:
        if not looks_like_id(name):
            raise
    return client.call("UndoRelease", pb.UndoReleaseRequest(volume_id=name))


def _name_server(
    spec: pb.AttachmentSpec, *, server: str, initiator: str, select: list[str] | None
) -> None:
    if select and (server or initiator):
        raise InvalidArgument.field("--select", "can't go together with --server or --initiator")
    if select:
        labels = words.parse_labels(select, option="--select")
        spec.server_selector.labels.update(labels)
    elif initiator:
        # a server that comes and goes with its attachment needs a name, too
        inline = pb.ServerSpec(name=server or spec.name, initiator=initiator)
        spec.inline_server.CopyFrom(inline)
    elif server:
        spec.server = server
    else:
        raise InvalidArgument.field("--server", "give --server, --initiator or --select")


def _begin(client: EngineClient, request: Any) -> Any:
    """The first answer; a ticket that is no use is said now, and never again."""
    made = client.call("CreateAttachment", request)
    if made.hold_note:
        output.note(f"warning: {made.hold_note}; it goes on without")
    return made


def _wait_for_turn(client: EngineClient, request: Any, *, waiting_id: str, timeout_s: float) -> Any:
    """Poll until attached; a caller that gives up gives its place back, too."""
    try:
        return wait_until(
            lambda: client.call("CreateAttachment", request),
            done=lambda answer: answer.state != "waiting",
            timeout_s=timeout_s,
            waiting_for=lambda answer: (
                f"attachment {answer.spec.name} is still {attachment_state(answer)} for pool "
                f"{answer.spec.pool}{_because(answer)}"
            ),
            way_out=(
                "its place is given back; raise the pool's max_replicas, scrub released volumes "
                f"(`clonepool scrub run {request.spec.pool}`), or set --timeout, then run it again"
            ),
        )
    except (KeyboardInterrupt, ClonepoolError):
        # without this the place would be kept until its lease ends, and so it does if this fails
        with contextlib.suppress(ClonepoolError):
            client.call("DeleteAttachment", pb.DeleteAttachmentRequest(id=waiting_id))
        raise
