"""RPCs of attachments: the hot path, so nothing here looks anything up twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.model import Attachment
from clonepool.service import convert, specs, validate
from clonepool.service.dispatch import Handler

if TYPE_CHECKING:
    from clonepool.controllers.attachments import Attachments


class AttachmentHandlers:
    """Attachments over the wire; CHAP secrets only where the API says so."""

    def __init__(self, *, attachments: Attachments) -> None:
        self._attachments = attachments

    def methods(self) -> Mapping[str, Handler]:
        """The RPCs by name."""
        return {
            "CreateAttachment": self.create,
            "GetAttachment": self.get,
            "ListAttachments": self.list,
            "UpdateAttachment": self.update,
            "DeleteAttachment": self.delete,
            "UndoRelease": self.undo_release,
        }

    def create(self, request: pb.CreateAttachmentRequest) -> pb.Attachment:
        """Allocate, or poll for one's turn."""
        validate.create_attachment(request)
        spec = specs.attachment(request.spec)
        made = self._attachments.create(spec=spec, token=request.request_token, hold=request.hold)
        return self._message(made, include_secret=True)

    def get(self, request: pb.GetAttachmentRequest) -> pb.Attachment:
        """One attachment."""
        validate.reference(request)
        found = self._attachments.get(ref=specs.ref(request))
        return self._message(found, include_secret=request.include_secret)

    def list(self, request: pb.ListRequest) -> pb.ListAttachmentsResponse:
        """One page of attachments, without secrets."""
        validate.page(size=request.page_size)
        page = specs.page(
            size=request.page_size, token=request.page_token, name_prefix=request.name_prefix
        )
        found, next_token = self._attachments.list(
            page=page, pool=request.pool, server=request.server
        )
        messages = [self._message(item, include_secret=False) for item in found]
        return pb.ListAttachmentsResponse(attachments=messages, next_page_token=next_token)

    def update(self, request: pb.UpdateAttachmentRequest) -> pb.Attachment:
        """Change CHAP or force_detach."""
        validate.update_attachment(request)
        spec = specs.attachment(request.spec)
        changed = self._attachments.update(attachment_id=request.id, spec=spec)
        return self._message(changed, include_secret=True)

    def delete(self, request: pb.DeleteAttachmentRequest) -> pb.DeleteResponse:
        """Release."""
        validate.object_id(request.id)
        self._attachments.delete(attachment_id=request.id, force=request.force)
        return pb.DeleteResponse()

    def undo_release(self, request: pb.UndoReleaseRequest) -> pb.Attachment:
        """Give a released volume back to the attachment that had it."""
        validate.undo_release(request)
        undone = self._attachments.undo_release(
            attachment=request.attachment, volume_id=request.volume_id
        )
        return self._message(undone, include_secret=False)

    def _message(self, attachment: Attachment, *, include_secret: bool) -> pb.Attachment:
        return convert.attachment(
            attachment, lease_s=self._attachments.lease_s, include_secret=include_secret
        )
