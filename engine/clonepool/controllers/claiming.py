"""The claim of an attachment, and what the events say of it."""

from __future__ import annotations

from clonepool.domain.states import Severity
from clonepool.store import allocation, attachments, events
from clonepool.store.attachments import Held
from clonepool.store.writer import Transaction
from clonepool.units import format_duration


def claimed(transaction: Transaction, request: allocation.ClaimRequest) -> tuple[Held, str]:
    """What there is, and why the request's ticket was no use to a new attachment."""
    found = allocation.claim(transaction, request)
    held = attachments.in_transaction(
        transaction, attachment_id=found.attachment_id, now=request.now
    )
    subject = f"attachment/{held.attachment.spec.name}"
    if held.attachment.allocated_at == request.now and held.attachment.resumed_release:
        tell_resumed(transaction, held, reason="RESUMED", now=request.now)
    elif held.attachment.allocated_at == request.now:
        text = (
            f"server {held.attachment.server_name} of {held.attachment.system_user} got volume "
            f"{held.attachment.volume_id}{_by_ticket(request, found)}"
        )
        events.add(transaction, now=request.now, subject=subject, reason="ATTACHED", message=text)
    if found.note:
        text = f"{found.note}; it goes on as one without a ticket"
        events.add(
            transaction,
            now=request.now,
            subject=subject,
            reason="HOLD_UNUSED",
            message=text,
            severity=Severity.WARNING,
        )
    return held, found.note


def _by_ticket(request: allocation.ClaimRequest, found: allocation.Claimed) -> str:
    if found.left is None:
        return ""
    return f" by ticket {request.hold}, which has {found.left} more of pool {request.spec.pool}"


def tell_resumed(transaction: Transaction, held: Held, *, reason: str, now: float) -> None:
    """An event that a volume came back, and how long it was away."""
    attachment = held.attachment
    ago = format_duration(max(0.0, now - (attachment.resumed_release or now)))
    text = (
        f"server {attachment.server_name} of {attachment.system_user} resumes the volume released "
        f"{ago} ago, {attachment.volume_id} generation {attachment.volume_generation}"
    )
    subject = f"attachment/{attachment.spec.name}"
    events.add(transaction, now=now, subject=subject, reason=reason, message=text)
