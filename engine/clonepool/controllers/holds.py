"""Holds: ready replicas kept for who brings a ticket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from clonepool.controllers.context import Context
from clonepool.domain.content import digest
from clonepool.domain.holds import Hold, Limits, Wanted, too_long
from clonepool.domain.model import PageRequest
from clonepool.errors import InvalidArgument
from clonepool.store import holds
from clonepool.store.writer import Transaction


class Holds:
    """The use cases of holds, and the planner's step that clears away what is over."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create(
        self,
        *,
        wanted: Sequence[Wanted],
        duration_s: float,
        owner: str,
        token: str,
        partial: bool = False,
    ) -> Hold:
        """Hold what is asked for by one ticket; repeated, the same ticket as it is now.

        With ``partial`` each pool is held whole or left out (``refused``); without, all of it or
        nothing. Raises NotFound, ResourceExhausted with figures, AlreadyExists, InvalidArgument.
        """
        limits = self._limits()
        refusal = too_long(limits, duration_s=duration_s)
        if refusal:
            raise InvalidArgument.field("duration_s", refusal)
        # the order of the pools is no part of what is asked for
        stock = tuple(sorted(wanted, key=lambda each: each.pool))

        def change(transaction: Transaction) -> Hold:
            request = holds.Request(
                wanted=stock,
                duration_s=duration_s,
                owner=owner,
                token=token,
                digest=digest([[asdict(each) for each in stock], duration_s, owner, partial]),
                partial=partial,
                limits=limits,
                now=self._context.now(),
            )
            return holds.create(transaction, request)

        made = self._context.state.write(change)
        # what is held is no longer in stock: the pools refill beside it
        self._context.signals.plan.set()
        return made

    def get(self, *, ticket: str) -> Hold:
        """One ticket that is not over, used up or not. Raises NotFound."""
        with self._context.state.read() as session:
            return holds.get(session, ticket=ticket, now=self._context.now())

    def list(self, *, page: PageRequest, pool: str = "") -> tuple[Sequence[Hold], str]:
        """One page of tickets that are not over, oldest first, and the next page's token."""
        with self._context.state.read() as session:
            return holds.list_page(session, page=page, pool=pool, now=self._context.now())

    def release(self, *, ticket: str) -> None:
        """Give back what a ticket still holds; one that is over or unknown is no error."""
        self._context.state.write(
            lambda transaction: holds.release(transaction, ticket=ticket, now=self._context.now())
        )
        self._context.signals.plan.set()

    def tidy(self) -> None:
        """Planner's step: tell of what expired, and clear it away."""
        with self._context.state.read() as session:
            due = holds.has_work(session, now=self._context.now())
        if due:
            self._context.state.write(
                lambda transaction: holds.tidy(transaction, now=self._context.now())
            )

    def _limits(self) -> Limits:
        return Limits(**asdict(self._context.settings.holds))
