"""Create, read, update and delete of one resource: from Pulumi's messages to its life and back."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from clonepool.errors import AlreadyExists, Cancelled, ClonepoolError, NotFound
from clonepool_resources.check import check
from clonepool_resources.lifecycle import Lifecycle, NotSettled, State
from clonepool_resources.types import Inputs, Value
from pulumi_clonepool_plugin.kinds import Kind, is_id
from pulumi_clonepool_plugin.properties import is_unknown
from pulumi_clonepool_plugin.session import Session

_TIMEOUTS: Final = "timeouts"


@dataclass(frozen=True, kw_only=True)
class Made:
    """A resource as Pulumi keeps it: all its properties, and those of them that are inputs."""

    id: str
    properties: Mapping[str, Value]
    inputs: Mapping[str, Value]
    trouble: str = ""


class HalfMade(Exception):
    """A create began something that is not usable yet, and that must not be forgotten."""

    def __init__(self, cause: ClonepoolError, *, made: Made) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.made = made


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One call about one resource. ``timeout_s`` is its customTimeouts', 0 where it has none."""

    kind: Kind
    session: Session
    urn: str
    timeout_s: float = 0.0

    def create(self, inputs: Inputs) -> Made:
        """Make it and wait until it is usable. Raises HalfMade, or an error when nothing is left.

        Each call is a request of its own: what is there under the name already is never taken.
        """
        lifecycle = self._lifecycle()
        try:
            state = lifecycle.create(self._timed(inputs, "create"), token=str(uuid.uuid4()))
        except AlreadyExists as error:
            raise self._taken(error, inputs) from None
        except NotSettled as begun:
            self._keep_or_undo(lifecycle, begun, inputs)
        return _made(state, inputs)

    def read(self, resource_id: str, *, inputs: Inputs) -> Made | None:
        """It as it is now, in the program's words; None when this incarnation is gone."""
        state = self._lifecycle().read(resource_id, prior=inputs)
        return None if state is None else _made(state, state.inputs)

    def import_(self, reference: str) -> Made | None:
        """It by its id or by its name, with all that a program would have said of it."""
        lifecycle = self._lifecycle()
        try:
            resource_id = reference if is_id(reference) else lifecycle.find_id(reference)
        except NotFound:
            return None
        state = lifecycle.read(resource_id, prior={})
        if state is None:
            return None
        full = check(self.kind.resource, state.inputs, is_unknown=is_unknown).inputs
        return _made(state, full)

    def update(self, resource_id: str, *, inputs: Inputs) -> Made:
        """Change it in place."""
        timed = self._timed(inputs, "update")
        return _made(self._lifecycle().update(resource_id, inputs=timed), inputs)

    def delete(self, resource_id: str, *, inputs: Inputs) -> None:
        """Delete, or release, this incarnation; one that is gone is no error."""
        self._lifecycle().delete(resource_id, prior=self._timed(inputs, "delete"))

    def _lifecycle(self) -> Lifecycle:
        return self.session.lifecycle(self.kind, urn=self.urn, timeout_s=self.timeout_s)

    def _timed(self, inputs: Inputs, operation: str) -> Inputs:
        """The inputs with customTimeouts in the place of ``timeouts``, where both could be said."""
        declared = any(field.name == _TIMEOUTS for field in self.kind.resource.inputs)
        if not self.timeout_s or not declared:
            return inputs
        given = inputs.get(_TIMEOUTS) or {}
        return {**inputs, _TIMEOUTS: {**given, operation: f"{self.timeout_s:.3f}s"}}

    def _keep_or_undo(self, lifecycle: Lifecycle, begun: NotSettled, inputs: Inputs) -> NoReturn:
        """Leave nothing behind that nobody can use; raises in any case."""
        cancelled = isinstance(begun.cause, Cancelled)
        if (begun.worthless or cancelled) and lifecycle.undo(begun.state):
            if cancelled:
                raise Cancelled(f"{self._title(inputs)}: cancelled; nothing of it is left")
            raise begun.cause
        raise HalfMade(begun.cause, made=_made(begun.state, inputs))

    def _taken(self, error: AlreadyExists, inputs: Inputs) -> ClonepoolError:
        """The name is someone's: how to take it over, and how to replace what has it."""
        found_id = error.metadata.get("id", "")
        if not found_id:
            return error
        logical_name = self.urn.rsplit("::", 1)[-1]
        return AlreadyExists(
            f"{self._title(inputs)} exists (id {found_id}) and was made by someone else, or by a "
            "run that was killed; take another name, or take it over with `pulumi import "
            f"{self.kind.token} {logical_name} {found_id}`, or, where this replaces it, set the "
            "option deleteBeforeReplace",
            metadata=error.metadata,
        )

    def _title(self, inputs: Inputs) -> str:
        return f"{self.kind.resource.title} {inputs['name']}"


def _made(state: State, inputs: Inputs) -> Made:
    properties = {**inputs, **state.outputs}
    return Made(id=state.id, properties=properties, inputs=inputs, trouble=state.trouble)
