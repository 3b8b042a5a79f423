"""What may change in an attachment in place: CHAP, force_detach, an inline server's address."""

from __future__ import annotations

from clonepool.domain.model import AttachmentSpec
from clonepool.domain.states import ChapMode
from clonepool.errors import FailedPrecondition, InvalidArgument
from clonepool.store import allocation, chap_names, servers
from clonepool.store.attachments import Held
from clonepool.store.writer import Transaction


def check_fixed(old: AttachmentSpec, new: AttachmentSpec) -> None:
    """Refuse a change of anything else. Raises InvalidArgument naming the field."""
    for field in ("name", "pool", "system_user", "server", "server_selector"):
        _refuse_change(field, getattr(old, field), getattr(new, field))
    names = [each.inline_server.name if each.inline_server else "" for each in (old, new)]
    _refuse_change("inline_server.name", *names)


def _refuse_change(field: str, old: object, new: object) -> None:
    if old != new:
        raise InvalidArgument.field(field, "can't change in place; replace the attachment")


def change(
    transaction: Transaction,
    *,
    held: Held,
    spec: AttachmentSpec,
    document: str,
    digest: str,
    chap_mode: ChapMode,
    chap_secret: str,
    now: float,
) -> None:
    """Write the new declaration; the grant follows. ``chap_mode`` is the one that holds."""
    attachment = held.attachment
    if spec.inline_server is not None:
        servers.update(transaction, server_id=attachment.server_id, spec=spec.inline_server)
    chap_names.check_free(
        transaction,
        fabric=held.fabric,
        mode=chap_mode,
        username=spec.chap.username,
        attachment_id=attachment.id,
    )
    username = allocation.chap_username(spec, attachment.volume_id, attachment.volume_generation)
    cursor = transaction.sql(
        "UPDATE attachment SET spec = ?, chap_mode = ?, chap_username = ?, chap_secret = ?, "
        "force_detach = ?, token_digest = ?, changed_at = ?, connection = NULL "
        "WHERE id = ? AND state != 'detaching'",
        (
            document,
            chap_mode.value,
            username if attachment.volume_id else spec.chap.username,
            chap_secret if chap_mode is not ChapMode.NONE else "",
            spec.force_detach,
            digest,
            now,
            attachment.id,
        ),
    )
    if cursor.rowcount != 1:
        text = f"attachment {attachment.spec.name} is being released and can't change"
        raise FailedPrecondition(text, reason="DETACHING")
