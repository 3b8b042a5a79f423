"""What the nodes of an engine said in one round instead of an answer, as one error."""

from __future__ import annotations

from clonepool.api.endpoint import Endpoint
from clonepool.api.line import ENGINE_AWAY, NO_TLS, engine_away
from clonepool.errors import ClonepoolError, DeadlineExceeded, Unavailable


class Refusals:
    """Collects why each node that was asked did not answer, in their order."""

    def __init__(self) -> None:
        self.was_cut_off = False
        self._said: list[tuple[Endpoint, Unavailable]] = []

    def add(self, place: Endpoint, error: ClonepoolError, *, cut_off: bool) -> None:
        """Note that a node is of no use for now.

        Raises the error at once where it is about the request, or where the call's time is over.
        """
        if isinstance(error, DeadlineExceeded) and self._said:
            raise DeadlineExceeded(f"{error}; asked before it: {self._texts()}") from None
        if not isinstance(error, Unavailable):
            raise error from None
        self._said.append((place, error))
        self.was_cut_off |= cut_off

    def error(self) -> Unavailable:
        """One error that names every node that was asked."""
        if len(self._said) == 1:
            return self._said[0][1]
        if all(error.reason == ENGINE_AWAY for _, error in self._said):
            return engine_away(", ".join(str(place) for place, _ in self._said))
        of_nodes = [error for _, error in self._said if error.reason not in {ENGINE_AWAY, NO_TLS}]
        text = f"no node of the engine can answer now: {self._texts()}"
        if not of_nodes:
            return Unavailable(text, reason=ENGINE_AWAY)
        # the first that can answer again will do
        soonest = min(of_nodes, key=_pause_s)
        return Unavailable(
            text,
            reason=soonest.reason,
            metadata=soonest.metadata,
            retry_after_s=soonest.retry_after_s,
        )

    def _texts(self) -> str:
        return "; ".join(_named(str(place), error) for place, error in self._said)


def _named(place: str, error: ClonepoolError) -> str:
    if error.reason == ENGINE_AWAY:
        return f"{place}: no engine answers"
    return error.message if place in error.message else f"{place}: {error.message}"


def _pause_s(error: Unavailable) -> float:
    return error.retry_after_s or 0.0
