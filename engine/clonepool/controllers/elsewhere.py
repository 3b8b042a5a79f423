"""Attachments whose volume is on another node: what that one is asked to do, and what is known."""

from __future__ import annotations

from dataclasses import replace

from clonepool import errors
from clonepool.controllers.context import Context
from clonepool.domain.errands import Errand, ErrandKind
from clonepool.domain.model import Attachment, Connection, Ref
from clonepool.domain.states import AttachmentState
from clonepool.errors import ClonepoolError, Unavailable
from clonepool.store import attachments, connections_kept, errands
from clonepool.store.attachments import Held

NODE_ASKED = "NODE_ASKED"
# the other node looks for what it is asked a few times a second
_ASK_AGAIN_S = 0.2


class Elsewhere:
    """Asks the node that a volume is on; never waits for it, and never touches its fabric."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def check_takes_claims(self, name: str) -> None:
        """Refuse a new attachment while this node drains; who asks again for one may."""
        if self._context.nodes.takes_work:
            return
        with self._context.state.read() as session:
            found = attachments.find(session, ref=Ref(name=name), now=self._context.now())
        if found is None:
            node = self._context.state.node
            text = (
                f"node {node} is draining and takes no new attachments; ask another node, or run "
                f"`clonepool node undrain {node}`"
            )
            raise Unavailable(text, reason="NODE_DRAINING")

    def with_wait_reason(self, attachment: Attachment) -> Attachment:
        """What waits, with the nodes that have what it waits for and are away or draining."""
        out = self._context.nodes.out
        if not out or attachment.state is not AttachmentState.WAITING:
            return attachment
        with self._context.state.read() as session:
            ready = attachments.ready_by_node(session, pool_id=attachment.pool_id)
        texts = [f"{ready[name]} ready, but {why}" for name, why in out.items() if name in ready]
        return replace(attachment, wait_reason="; ".join(texts))

    def holds(self, held: Held) -> bool:
        """Whether an attachment's volume is on another node than this one."""
        return held.node not in ("", self._context.state.node)

    def connection(self, held: Held) -> Connection | None:
        """How its server reaches it, as far as that is known here."""
        return connections_kept.parse(held.connection) if held.connection else None

    def granted(self, held: Held) -> Connection | None:
        """The connection, once its node has granted it; asks for that. Raises what was refused."""
        found = self.connection(held)
        if found is None:
            self._ask(ErrandKind.GRANT, held, force=False)
        return found

    def known(self, held: Held) -> Connection | None:
        """The connection for who only reads; None where a node that is away did not leave it.

        Raises Unavailable while the node is about to write it down.
        """
        found = self.connection(held)
        if found is None and held.node not in self._context.nodes.out:
            raise self.asked(held, "was asked how its server reaches it")
        return found

    def waiting(self, held: Held) -> Attachment:
        """An attachment that has its volume but is not granted yet, as who polls is told."""
        return replace(
            held.attachment,
            state=AttachmentState.WAITING,
            volume_id="",
            volume_generation=0,
            wait_reason=str(self.asked(held, "was asked to grant it")),
        )

    def release(self, held: Held, *, force: bool) -> Unavailable:
        """Ask for a release; what to tell the caller until it is done. Raises what was refused."""
        self._ask(ErrandKind.RELEASE, held, force=force)
        return self.asked(held, "was asked to release it")

    def check_idle(self, held: Held) -> None:
        """Raise what the node says of a server that is logged in; Unavailable until it has."""
        if not self._ask(ErrandKind.LOOK, held, force=False):
            raise self.asked(held, "was asked whether its server is logged in")

    def asked(self, held: Held, what: str) -> Unavailable:
        """That the node was asked, and why it may take its time."""
        why = self._context.nodes.out.get(held.node, "")
        silent = f"; {why}, so that it waits for it" if why.startswith("node") else ""
        text = (
            f"the volume of attachment {held.attachment.spec.name} is on node {held.node}, which "
            f"{what}{silent}; ask again"
        )
        return Unavailable(text, reason=NODE_ASKED, retry_after_s=_ASK_AGAIN_S)

    def _ask(self, kind: ErrandKind, held: Held, *, force: bool) -> bool:
        """Whether it is done; raises what was refused."""
        errand = Errand(kind=kind, attachment_id=held.attachment.id, force=force)
        outcome = self._context.state.write(
            lambda transaction: errands.ask(
                transaction, errand, node=held.node, now=self._context.now()
            )
        )
        if outcome is None:
            return False
        if outcome.error_kind:
            raise _refusal(outcome.error_kind)(outcome.error, reason=outcome.reason)
        return True


def _refusal(kind: str) -> type[ClonepoolError]:
    found = getattr(errors, kind, errors.Internal)
    # whose makers take other arguments
    is_plain = isinstance(found, type) and issubclass(found, ClonepoolError)
    return found if is_plain and found is not errors.CommandError else errors.Internal
