"""Attachments: claim, grant, revoke, release."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from clonepool.controllers.context import Context
from clonepool.controllers.exports import Exports
from clonepool.controllers.granted import GrantedNotes
from clonepool.crash_points import Point, reach
from clonepool.domain.content import attachment_document, canonical, digest
from clonepool.domain.model import (
    Attachment,
    AttachmentSpec,
    ChapAccount,
    Connection,
    PageRequest,
    Ref,
)
from clonepool.domain.states import AttachmentState, ChapMode, Severity, VolumeState
from clonepool.errors import (
    Aborted,
    AlreadyExists,
    ClonepoolError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from clonepool.fabrics.base import Fabric
from clonepool.store import (
    allocation,
    attachment_changes,
    attachments,
    events,
    release,
    resuming,
)
from clonepool.store.attachments import Held
from clonepool.store.writer import Transaction
from clonepool.units import format_duration

log = logging.getLogger(__name__)
# 16 characters in base64: 12 to 16 are what every initiator accepts
_SECRET_BYTES = 12


class Attachments:
    """The use cases of attachments. Grant and revoke of one attachment never interleave."""

    lease_s: float = 30.0  # a waiter that does not poll for so long loses its place

    def __init__(self, context: Context, exports: Exports) -> None:
        self._context = context
        self._exports = exports
        self._tidied_at = 0.0
        self._notes = GrantedNotes(context)

    def create(self, *, spec: AttachmentSpec, token: str, hold: str = "") -> Attachment:
        """Allocate, or take a place in the queue; repeat to poll. The answer has the secret.

        ``hold`` is a ticket. One that is no use is no error: the answer's ``hold_note`` says why.
        """
        attachment_id = allocation.new_id()
        document = attachment_document(spec)
        request = allocation.ClaimRequest(
            spec=spec,
            token=token,
            digest=self._digest(spec, document),
            document=canonical(document),
            attachment_id=attachment_id,
            chap_secret=self._sealed_secret(spec, attachment_id),
            now=self._context.now(),
            lease_s=self.lease_s,
            reach=self._reach,
            hold=hold,
        )
        # held from before the claim: nobody can release what is still being granted
        with self._lock(attachment_id):
            held, note = self._context.state.write(
                lambda transaction: _claimed(transaction, request)
            )
            self._context.signals.plan.set()
            if held.attachment.id == attachment_id:
                return replace(self._granted_or_undone(held), hold_note=note)
        return self._create_again(held.attachment.id)

    def _granted_or_undone(self, held: Held) -> Attachment:
        """A refusal that no repetition can mend leaves nothing behind: the caller has no id yet."""
        try:
            return self._granted_or_waiting(held)
        except (AlreadyExists, FailedPrecondition, InvalidArgument):
            self._begin_release(held)
            self._finish_release(held)
            raise

    def _create_again(self, attachment_id: str) -> Attachment:
        with self._lock(attachment_id):
            held = self._get_held(Ref(id=attachment_id))
            return self._granted_or_waiting(held)

    def _granted_or_waiting(self, held: Held) -> Attachment:
        if held.attachment.state is not AttachmentState.ATTACHED:
            return held.attachment
        connection = self._grant(held)
        if held.volume_state == VolumeState.ATTACHING:
            self._notes.note(held.attachment.id)
        return self._full(held, connection)

    def _grant(self, held: Held) -> Connection:
        if held.attachment.resumed_release is None:
            return self._grant_now(held)
        with self._context.targets.of(held.target):
            return self._grant_now(held)

    def _grant_now(self, held: Held) -> Connection:
        fabric = self._context.drivers.fabric(held.fabric)
        spec = self._exports.of_held(held)
        access = self._exports.access(held)
        reach(Point.GRANTING)
        try:
            connection = fabric.grant(spec, access)
        except NotFound:
            # the fabric lost the export a moment ago and the watcher has not come round yet, or a
            # released volume comes back
            reach(Point.GRANTING)
            fabric.export(spec)
            reach(Point.EXPORTED_AGAIN)
            connection = fabric.grant(spec, access)
        reach(Point.GRANTED)
        return connection

    def _digest(self, spec: AttachmentSpec, document: Mapping[str, Any]) -> str:
        fingerprint = self._context.state.secrets.fingerprint(spec.chap.secret)
        return digest([document, fingerprint])

    def _sealed_secret(self, spec: AttachmentSpec, attachment_id: str) -> str:
        if spec.chap.mode is ChapMode.NONE:
            return ""
        secret = spec.chap.secret
        if spec.chap.mode is ChapMode.GENERATED:
            secret = secrets.token_urlsafe(_SECRET_BYTES)
        return self._context.state.secrets.seal(secret, context=f"attachment/{attachment_id}")

    def _reach(self, fabric: str) -> allocation.Reach:
        can = self._context.drivers.fabric(fabric).capabilities()
        return allocation.Reach(needs_initiator=can.needs_initiator, chap=can.chap)

    def get(self, *, ref: Ref) -> Attachment:
        """One attachment, secret included. Raises NotFound."""
        held = self._get_held(ref)
        return self._full(held, self._connection(held))

    def list(
        self, *, page: PageRequest, pool: str = "", server: str = ""
    ) -> tuple[Sequence[Attachment], str]:
        """One page (without secrets) and the next page's token; filters are names."""
        with self._context.state.read() as session:
            found, token = attachments.list_page(
                session, page=page, pool=pool, server=server, now=self._context.now()
            )
        return [self._described(held) for held in found], token

    def _described(self, held: Held) -> Attachment:
        try:
            connection = self._connection(held)
        except ClonepoolError:
            # a fabric that is away must not hide who holds what
            connection = None
        account = ChapAccount(username=held.chap_username, secret="")
        chap = None if held.chap_mode is ChapMode.NONE or not held.target else account
        return replace(held.attachment, connection=connection, chap=chap)

    def _connection(self, held: Held) -> Connection | None:
        if not held.target:
            return None
        fabric = self._context.drivers.fabric(held.fabric)
        return fabric.connection(self._exports.of_held(held))

    def _full(self, held: Held, connection: Connection | None) -> Attachment:
        chap = self._exports.chap(held) if held.target else None
        return replace(held.attachment, connection=connection, chap=chap)

    def _get_held(self, ref: Ref) -> Held:
        with self._context.state.read() as session:
            return attachments.get(session, ref=ref, now=self._context.now())

    def update(self, *, attachment_id: str, spec: AttachmentSpec) -> Attachment:
        """Change CHAP, force_detach or an inline server; the same volume is granted anew."""
        with self._lock(attachment_id):
            held = self._get_held(Ref(id=attachment_id))
            attachment_changes.check_fixed(held.attachment.spec, spec)
            readdresses = spec.inline_server != held.attachment.spec.inline_server
            if readdresses:
                self.check_idle(server_id=held.attachment.server_id, force=spec.force_detach)
            mode = allocation.effective_chap(
                spec, fabric=held.fabric, has_chap=self._reach(held.fabric).chap
            )
            changes_chap = self._changes_chap(held, spec)
            if changes_chap:
                self._refuse_busy(held, force=spec.force_detach)
            sealed = self._sealed_secret(spec, attachment_id) if changes_chap else held.chap_secret
            document = attachment_document(spec)
            self._context.state.write(
                lambda transaction: attachment_changes.change(
                    transaction,
                    held=held,
                    spec=spec,
                    document=canonical(document),
                    digest=self._digest(spec, document),
                    chap_mode=mode,
                    chap_secret=sealed,
                    now=self._context.now(),
                )
            )
            updated = self._granted_or_waiting(self._get_held(Ref(id=attachment_id)))
        if readdresses:
            self.grant_anew(server_id=held.attachment.server_id)
        return updated

    def _changes_chap(self, held: Held, spec: AttachmentSpec) -> bool:
        old = held.attachment.spec.chap
        if (old.mode, old.username) != (spec.chap.mode, spec.chap.username):
            return True
        if spec.chap.mode is not ChapMode.GIVEN:
            return False
        account = self._exports.chap(held)
        return account is None or account.secret != spec.chap.secret

    def check_idle(self, *, server_id: str, force: bool) -> None:
        """Refuse when a server is logged in to any of its attachments."""
        for held in self._of_server(server_id):
            self._refuse_busy(held, force=force)

    def grant_anew(self, *, server_id: str) -> None:
        """Grant each attachment of a server under its new initiator name."""
        for held in self._of_server(server_id):
            with self._lock(held.attachment.id):
                fresh = self._get_held(Ref(id=held.attachment.id))
                if fresh.attachment.state is AttachmentState.ATTACHED:
                    self._grant(fresh)

    def _of_server(self, server_id: str) -> Sequence[Held]:
        with self._context.state.read() as session:
            return attachments.list_of_server(session, server_id=server_id)

    def delete(self, *, attachment_id: str, force: bool) -> None:
        """Release: revoke, unexport, then the volume is released."""
        with self._lock(attachment_id):
            with self._context.state.read() as session:
                held = attachments.find(session, ref=Ref(id=attachment_id), now=self._context.now())
            if held is None:
                return
            if held.attachment.state is AttachmentState.WAITING:
                self._leave_queue(held)
                return
            if held.attachment.state is AttachmentState.ATTACHED:
                self._refuse_busy(held, force=force or held.attachment.spec.force_detach)
                self._begin_release(held)
            self._finish_release(held)
        self._context.signals.plan.set()
        if not held.writable_object:
            # a slot is made anew at once; for all else there is work only once it is planned
            self._context.signals.work.set()

    def undo_release(self, *, attachment: str = "", volume_id: str = "") -> Attachment:
        """Give a released volume back to the attachment that had it, as it was; repeatable.

        Raises NotFound, FailedPrecondition, AlreadyExists, ResourceExhausted: see UndoRelease.
        """

        def change(transaction: Transaction) -> tuple[str, bool]:
            now = self._context.now()
            attachment_id, undone = resuming.undo(
                transaction, attachment=attachment, volume_id=volume_id, now=now
            )
            if undone:
                held = attachments.in_transaction(transaction, attachment_id=attachment_id, now=now)
                _tell_resumed(transaction, held, reason="RELEASE_UNDONE", now=now)
            return attachment_id, undone

        attachment_id, undone = self._context.state.write(change)
        self._context.signals.changed()
        with self._lock(attachment_id):
            held = self._get_held(Ref(id=attachment_id))
            # one that its server uses already must not be given back for a refusal of today
            return self._granted_or_undone(held) if undone else self._granted_or_waiting(held)

    def _leave_queue(self, held: Held) -> None:
        # a poll may have served it in between: then the caller's repetition releases it
        self._context.state.write(lambda transaction: release.drop_waiting(transaction, held=held))
        with self._context.state.read() as session:
            left = attachments.find(
                session, ref=Ref(id=held.attachment.id), now=self._context.now()
            )
        if left is not None:
            text = f"attachment {held.attachment.spec.name} got its replica meanwhile; repeat"
            raise Aborted(text, reason="SERVED", retry_after_s=0)

    def _refuse_busy(self, held: Held, *, force: bool) -> None:
        if force or not held.target:
            return
        fabric = self._context.drivers.fabric(held.fabric)
        sessions = fabric.sessions(held.target)
        if not sessions:
            return
        text = (
            f"server {held.attachment.server_name} is using attachment "
            f"{held.attachment.spec.name} ({sessions[0].detail}); log it out first, or force "
            "(force_detach, `clonepool release --force`): a forced detach cuts it off"
        )
        raise FailedPrecondition(text, reason="SERVER_BUSY", retry_after_s=5)

    def _begin_release(self, held: Held) -> None:
        self._context.state.write(
            lambda transaction: release.begin(
                transaction, attachment_id=held.attachment.id, now=self._context.now()
            )
        )

    def _finish_release(self, held: Held) -> None:
        fabric: Fabric = self._context.drivers.fabric(held.fabric)
        reach(Point.RELEASE_BEGUN)
        fabric.revoke(held.target)
        reach(Point.REVOKED)
        fabric.unexport(held.target)
        reach(Point.UNEXPORTED)

        def change(transaction: Transaction) -> None:
            now = self._context.now()
            release.finish(transaction, held=held, now=now)
            text = (
                f"server {held.attachment.server_name} of {held.attachment.system_user} gave "
                f"back volume {held.attachment.volume_id}"
            )
            subject = f"attachment/{held.attachment.spec.name}"
            events.add(transaction, now=now, subject=subject, reason="RELEASED", message=text)

        self._context.state.write(change)

    def tidy(self) -> None:
        """Planner's step: finish what a crash or an error left, drop waiters that went away."""
        if abs(self._context.now() - self._tidied_at) < _TIDY_INTERVAL_S:
            return
        self._tidied_at = self._context.now()
        before = self._context.now() - _LEFT_BEHIND_S
        with self._context.state.read() as session:
            # those of another node are that one's
            node = self._context.state.node
            detaching = attachments.list_detaching(session, node=node, before=before)
            attaching = attachments.list_attaching(session, node=node, before=before)
            expired = attachments.has_expired_waiters(session, now=self._context.now())
        for held in detaching:
            self._tidy_one(held, lambda each: self.delete(attachment_id=each, force=True))
        for held in attaching:
            self._tidy_one(held, self._create_again)
        if expired:
            self._context.state.write(self._drop_expired)

    @staticmethod
    def _tidy_one(held: Held, step: Callable[[str], object]) -> None:
        try:
            step(held.attachment.id)
        except ClonepoolError as error:
            # it stays in its "-ing" state and is tried again; the others must not wait for it
            log.warning("attachment %s: %s", held.attachment.spec.name, error)

    def _drop_expired(self, transaction: Transaction) -> None:
        now = self._context.now()
        for name, pool in release.drop_expired_waiters(transaction, now=now):
            text = f"left the queue of pool {pool}: its caller stopped asking"
            subject = f"attachment/{name}"
            events.add(transaction, now=now, subject=subject, reason="WAIT_EXPIRED", message=text)

    def _lock(self, attachment_id: str) -> threading.RLock:
        return self._context.locks.of(attachment_id)


# a grant or release that takes longer was left by a crash or an error
_LEFT_BEHIND_S = 5.0
_TIDY_INTERVAL_S = 2.0


def _claimed(transaction: Transaction, request: allocation.ClaimRequest) -> tuple[Held, str]:
    """What there is, and why the request's ticket was no use to a new attachment."""
    claimed = allocation.claim(transaction, request)
    held = attachments.in_transaction(
        transaction, attachment_id=claimed.attachment_id, now=request.now
    )
    subject = f"attachment/{held.attachment.spec.name}"
    if held.attachment.allocated_at == request.now and held.attachment.resumed_release:
        _tell_resumed(transaction, held, reason="RESUMED", now=request.now)
    elif held.attachment.allocated_at == request.now:
        text = (
            f"server {held.attachment.server_name} of {held.attachment.system_user} got volume "
            f"{held.attachment.volume_id}{_by_ticket(request, claimed)}"
        )
        events.add(transaction, now=request.now, subject=subject, reason="ATTACHED", message=text)
    if claimed.note:
        text = f"{claimed.note}; it goes on as one without a ticket"
        events.add(
            transaction,
            now=request.now,
            subject=subject,
            reason="HOLD_UNUSED",
            message=text,
            severity=Severity.WARNING,
        )
    return held, claimed.note


def _by_ticket(request: allocation.ClaimRequest, claimed: allocation.Claimed) -> str:
    if claimed.left is None:
        return ""
    return f" by ticket {request.hold}, which has {claimed.left} more of pool {request.spec.pool}"


def _tell_resumed(transaction: Transaction, held: Held, *, reason: str, now: float) -> None:
    attachment = held.attachment
    ago = format_duration(max(0.0, now - (attachment.resumed_release or now)))
    text = (
        f"server {attachment.server_name} of {attachment.system_user} resumes the volume released "
        f"{ago} ago, {attachment.volume_id} generation {attachment.volume_generation}"
    )
    subject = f"attachment/{attachment.spec.name}"
    events.add(transaction, now=now, subject=subject, reason=reason, message=text)
