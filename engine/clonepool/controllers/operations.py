"""Background work: look at it, cancel it."""

from __future__ import annotations

from collections.abc import Sequence

from clonepool.domain.model import Operation, PageRequest, Ref


class Operations:
    """Background work: look at it, cancel it."""

    def get(self, *, ref: Ref) -> Operation:
        """One operation by id. Raises NotFound."""
        raise NotImplementedError

    def list(
        self, *, page: PageRequest, open_only: bool = False
    ) -> tuple[Sequence[Operation], str]:
        """Newest first."""
        raise NotImplementedError

    def cancel(self, *, ref: Ref) -> Operation:
        """Ask an import to stop. Raises FailedPrecondition for kinds that must finish."""
        raise NotImplementedError
