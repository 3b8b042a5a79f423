"""The inventory of servers."""

from __future__ import annotations

from collections.abc import Sequence

from clonepool.controllers.attachments import Attachments
from clonepool.controllers.context import Context
from clonepool.controllers.elsewhere import NODE_ASKED
from clonepool.domain.content import server_digest
from clonepool.domain.model import PageRequest, Ref, Server, ServerSpec
from clonepool.errors import Unavailable
from clonepool.store import servers
from clonepool.store.writer import Transaction


class Servers:
    """The use cases of servers."""

    def __init__(self, context: Context, attachments: Attachments) -> None:
        self._context = context
        self._attachments = attachments

    def create(self, *, spec: ServerSpec, token: str) -> Server:
        """Declare a server."""

        def change(transaction: Transaction) -> str:
            return servers.create(
                transaction,
                spec=spec,
                token=token,
                digest=server_digest(spec),
                now=self._context.now(),
            )

        return self.get(ref=Ref(id=self._context.state.write(change)))

    def get(self, *, ref: Ref) -> Server:
        """One server. Raises NotFound."""
        with self._context.state.read() as session:
            return servers.get(session, ref=ref)

    def list(self, *, page: PageRequest) -> tuple[Sequence[Server], str]:
        """One page and the next page's token."""
        with self._context.state.read() as session:
            return servers.list_page(session, page=page)

    def update(self, *, server_id: str, spec: ServerSpec, force: bool) -> Server:
        """Change initiator and labels; what the server holds is granted to its present name."""
        before = self.get(ref=Ref(id=server_id))
        if before.spec.initiator != spec.initiator:
            self._attachments.check_idle(server_id=server_id, force=force)
        self._context.state.write(
            lambda transaction: servers.update(transaction, server_id=server_id, spec=spec)
        )
        try:
            # unchanged too: an earlier try may have been cut off between the row and the grant
            self._attachments.grant_anew(server_id=server_id)
        except Unavailable as error:
            # labels don't need the fabric; what was asked of another node is not done yet
            if error.reason == NODE_ASKED or before.spec.initiator != spec.initiator:
                raise
        return self.get(ref=Ref(id=server_id))

    def delete(self, *, server_id: str) -> None:
        """Forget a server that has no attachments."""
        self._context.state.write(
            lambda transaction: servers.delete(transaction, server_id=server_id)
        )
