"""Attachments: claim, grant, revoke, release."""

from __future__ import annotations

from collections.abc import Sequence

from clonepool.domain.model import Attachment, AttachmentSpec, PageRequest, Ref


class Attachments:
    """Attachments: claim, grant, revoke, release."""

    lease_s: float = 30.0  # a waiter that does not poll for so long loses its place

    def create(self, *, spec: AttachmentSpec, token: str) -> Attachment:
        """Allocate, or take a place in the queue; repeat to poll. The answer has the secret."""
        raise NotImplementedError

    def get(self, *, ref: Ref) -> Attachment:
        """One attachment, secret included. Raises NotFound."""
        raise NotImplementedError

    def list(
        self, *, page: PageRequest, pool: str = "", server: str = ""
    ) -> tuple[Sequence[Attachment], str]:
        """One page (without secrets) and the next page's token; filters are names."""
        raise NotImplementedError

    def update(self, *, attachment_id: str, spec: AttachmentSpec) -> Attachment:
        """Change CHAP or force_detach; the same volume is granted anew."""
        raise NotImplementedError

    def delete(self, *, attachment_id: str, force: bool) -> None:
        """Release: revoke, unexport, then the volume is released."""
        raise NotImplementedError
