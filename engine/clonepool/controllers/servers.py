"""The inventory of servers."""

from __future__ import annotations

from collections.abc import Sequence

from clonepool.domain.model import PageRequest, Ref, Server, ServerSpec


class Servers:
    """The inventory of servers."""

    def create(self, *, spec: ServerSpec, token: str) -> Server:
        """Declare a server."""
        raise NotImplementedError

    def get(self, *, ref: Ref) -> Server:
        """One server. Raises NotFound."""
        raise NotImplementedError

    def list(self, *, page: PageRequest) -> tuple[Sequence[Server], str]:
        """One page and the next page's token."""
        raise NotImplementedError

    def update(self, *, server_id: str, spec: ServerSpec, force: bool) -> Server:
        """Change initiator and labels; a changed initiator is granted anew."""
        raise NotImplementedError

    def delete(self, *, server_id: str) -> None:
        """Forget a server that has no attachments."""
        raise NotImplementedError
