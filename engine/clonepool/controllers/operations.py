"""Background work: look at it, cancel it."""

from __future__ import annotations

from collections.abc import Sequence

from clonepool.controllers.context import Context
from clonepool.domain.model import PageRequest, Ref
from clonepool.domain.states import OperationState
from clonepool.domain.work import Operation
from clonepool.errors import FailedPrecondition
from clonepool.store import operations

_CANCELLABLE = "import_image"


class Operations:
    """Reads of operations, and the one wish."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def get(self, *, ref: Ref) -> Operation:
        """One operation by id. Raises NotFound."""
        with self._context.state.read() as session:
            return operations.get(session, operation_id=ref.id)

    def list(
        self, *, page: PageRequest, open_only: bool = False
    ) -> tuple[Sequence[Operation], str]:
        """Newest first."""
        with self._context.state.read() as session:
            return operations.list_page(session, page=page, open_only=open_only)

    def cancel(self, *, ref: Ref) -> Operation:
        """Ask an import to stop. Raises FailedPrecondition for kinds that must finish."""
        operation = self.get(ref=ref)
        ended = operation.state not in {OperationState.QUEUED, OperationState.RUNNING}
        if ended:
            return operation
        if operation.kind != _CANCELLABLE:
            text = f"operation {operation.id} ({operation.kind}) must finish; it can't be cancelled"
            raise FailedPrecondition(text, reason="NOT_CANCELLABLE")
        self._context.state.write(
            lambda transaction: operations.ask_to_cancel(transaction, operation_id=operation.id)
        )
        return self.get(ref=ref)
