"""The life of servers and of their attachments."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import Message

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import (
    Aborted,
    ClonepoolError,
    DeadlineExceeded,
    FailedPrecondition,
    Unavailable,
)
from clonepool.units import format_duration, parse_duration
from clonepool_resources import convert
from clonepool_resources.lifecycle import Lifecycle, NotSettled
from clonepool_resources.server_fields import ATTACHMENT, SERVER
from clonepool_resources.types import Inputs, Value

DEFAULT_ATTACHMENT_TIMEOUT: Final = "5m"
# how often a waiter shows itself within its lease: one lost answer must not cost it its place
_POLLS_PER_LEASE: Final = 3
_DETACHING: Final = "DETACHING"


class ServerLifecycle(Lifecycle):
    """A server is there at once."""

    resource = SERVER
    noun = "Server"

    def _create_request(self, inputs: Inputs, token: str) -> Message:
        return pb.CreateServerRequest(spec=convert.server_spec(inputs), request_token=token)

    def _update_request(self, resource_id: str, inputs: Inputs) -> Message:
        return pb.UpdateServerRequest(id=resource_id, spec=convert.server_spec(inputs))

    def _inputs_of(self, message: pb.Server) -> dict[str, Value]:
        return convert.server_inputs(message.spec)

    def _outputs_of(self, _message: pb.Server) -> dict[str, Value]:
        return {}


class AttachmentLifecycle(Lifecycle):
    """An attachment is there once the server has its replica; until then it waits in the queue."""

    resource = ATTACHMENT
    noun = "Attachment"

    def delete(self, resource_id: str, *, prior: Inputs) -> None:
        """Release it; sessions that take long to end are waited for up to ``timeouts.delete``.

        Raises FailedPrecondition while the server is logged in and force_detach is not set.
        """
        title = f"attachment {prior.get('name', resource_id)}"

        def release() -> ClonepoolError | None:
            try:
                super(AttachmentLifecycle, self).delete(resource_id, prior=prior)
            except (Aborted, Unavailable) as error:
                # without a hint to come back nobody is at work on it: the engine is away
                if error.retry_after_s is None:
                    raise
                return error
            return None

        left = self._waiting.watch(
            release(),
            look=release,
            is_open=lambda error: error is not None,
            progress=lambda error: f"{title}: releasing ({error})",
            left="the release goes on in the engine",
            timeout_s=_timeout_s(prior, "delete"),
        )
        if left is not None:
            raise left

    def _begin(self, inputs: Inputs, token: str) -> Any:
        """Wait for one of the same name that is still being released: its name is not free yet."""

        def begin() -> Any:
            try:
                return super(AttachmentLifecycle, self)._begin(inputs, token)
            except FailedPrecondition as error:
                if error.reason != _DETACHING:
                    raise
                return error

        begun = self._waiting.watch(
            begin(),
            look=begin,
            is_open=lambda answer: isinstance(answer, FailedPrecondition),
            progress=lambda _: f"{self._title(inputs)}: its predecessor is being released",
            left="nothing was begun",
            timeout_s=_timeout_s(inputs, "create"),
        )
        if isinstance(begun, FailedPrecondition):
            raise begun
        if begun.hold_note:
            self._waiting.warn(f"{self._title(inputs)}: {begun.hold_note}; it goes on without")
        return begun

    def _get(self, resource_id: str) -> Any:
        return self._client.call(
            "GetAttachment", pb.GetAttachmentRequest(id=resource_id, include_secret=True)
        )

    def _name_request(self, name: str) -> Message:
        return pb.GetAttachmentRequest(name=name)

    def _is_worthless(self, begun: pb.Attachment) -> bool:
        # a place in the queue; held by nobody it would keep others waiting until its lease ends
        return begun.state == "waiting"

    def _change(self, resource_id: str, inputs: Inputs) -> Any:
        return self._client.call(
            "UpdateAttachment",
            self._update_request(resource_id, inputs),
            timeout_s=_timeout_s(inputs, "update"),
        )

    def _create_request(self, inputs: Inputs, token: str) -> Message:
        return pb.CreateAttachmentRequest(
            spec=convert.attachment_spec(inputs), request_token=token, hold=self._hold
        )

    def _update_request(self, resource_id: str, inputs: Inputs) -> Message:
        return pb.UpdateAttachmentRequest(id=resource_id, spec=convert.attachment_spec(inputs))

    def _delete_request(self, resource_id: str, prior: Inputs) -> Message:
        return pb.DeleteAttachmentRequest(
            id=resource_id, force=bool(prior.get("force_detach", False))
        )

    def _inputs_of(self, message: pb.Attachment) -> dict[str, Value]:
        return convert.attachment_inputs(message.spec)

    def _outputs_of(self, message: pb.Attachment) -> dict[str, Value]:
        return convert.attachment_outputs(message)

    def _is_gone(self, message: pb.Attachment) -> bool:
        # someone released it: what is left of it only waits for its sessions to end
        return message.state == "detaching"

    def _settle_new(self, begun: pb.Attachment, inputs: Inputs, token: str) -> pb.Attachment:
        timeout_s = _timeout_s(inputs, "create")
        attachment = self._queue(begun, inputs, token, timeout_s=timeout_s)
        if attachment.state == "attached":
            self._say_resumed(attachment, inputs)
            return attachment
        error = DeadlineExceeded(
            f"{self._title(inputs)} has no storage after {format_duration(timeout_s)}, "
            f"{_place(attachment)} of pool {inputs['pool']}{_why(attachment)}; "
            "raise the pool's max_replicas, "
            f"scrub released volumes (`clonepool scrub run {inputs['pool']}`), or set "
            "timeouts.create, then run again"
        )
        raise NotSettled(error, state=self._state(attachment, prior=inputs), worthless=True)

    def _say_resumed(self, attachment: pb.Attachment, inputs: Inputs) -> None:
        if attachment.HasField("resumed_release") and attachment.HasField("allocated_at"):
            at, released = attachment.allocated_at, attachment.resumed_release
            ago = format_duration(max(0, at.seconds - released.seconds))
            self._waiting.report(f"{self._title(inputs)}: resumes the volume released {ago} ago")

    def _queue(
        self, begun: pb.Attachment, inputs: Inputs, token: str, *, timeout_s: float
    ) -> pb.Attachment:
        request = self._create_request(inputs, token)
        lease_s = begun.lease_s or 30.0
        return self._waiting.watch(
            begun,
            look=lambda: self._client.call("CreateAttachment", request),
            is_open=lambda attachment: attachment.state != "attached",
            progress=lambda attachment: (
                f"{self._title(inputs)}: {_place(attachment)}{_why(attachment)}"
            ),
            left="its place in the queue is given back"
            if self._is_worthless(begun)
            else "the attaching goes on in the engine",
            timeout_s=timeout_s,
            longest_pause_s=lease_s / _POLLS_PER_LEASE,
        )


def _timeout_s(inputs: Inputs, operation: str) -> float:
    timeouts = inputs.get("timeouts") or {}
    return parse_duration(timeouts.get(operation, DEFAULT_ATTACHMENT_TIMEOUT))


def _place(attachment: pb.Attachment) -> str:
    if attachment.state != "waiting":
        return attachment.state
    place = f", {_ordinal(attachment.place)} in the queue" if attachment.place else ""
    return f"waiting for a replica{place}"


def _why(attachment: pb.Attachment) -> str:
    """Why it waits, where that is for want of space."""
    return f"; its pool can't be filled: {attachment.wait_reason}" if attachment.wait_reason else ""


def _ordinal(place: int) -> str:
    teen = place % 100 in (11, 12, 13)
    return f"{place}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(place % 10, 'th')}"
