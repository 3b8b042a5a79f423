"""The life of a resource over the engine's API: create, read, update, delete.

All four are idempotent. Inputs are checked ones (``check``); what comes back is written as the
program wrote it wherever both mean the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from google.protobuf.message import Message

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import AlreadyExists, ClonepoolError, NotFound
from clonepool_resources.diff import diff
from clonepool_resources.types import Inputs, Resource, Value
from clonepool_resources.values import echo
from clonepool_resources.waiting import Waiting

DEFAULT_TIMEOUT_S = 30 * 60.0


class Caller(Protocol):
    """What of the engine's client is needed: one call by its name, raising error kinds."""

    def call(self, method: str, request: Message, *, timeout_s: float | None = None) -> Any:
        """The answer to one RPC."""


@dataclass(frozen=True, kw_only=True)
class State:
    """A resource as an ecosystem keeps it.

    ``trouble`` says why the next apply should update it even where no input changed: a new image
    version that failed to import, a pool that stopped filling. "" is the rule.
    """

    id: str
    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]
    trouble: str = ""


class NotSettled(Exception):
    """A create began something that is not usable (yet); ``cause`` is what to tell the user.

    An ecosystem that can keep a half-made resource keeps ``state``. One that can't deletes it
    where ``worthless`` says that nothing is lost by it, and leaves it otherwise: the same create
    takes it up again.
    """

    def __init__(self, cause: ClonepoolError, *, state: State, worthless: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.state = state
        self.worthless = worthless


class Lifecycle(ABC):
    """One kind of resource; its subclasses know its messages and what "done" means for it.

    ``hold`` is a ticket, "" for none; it matters to attachments only.
    """

    resource: ClassVar[Resource]
    noun: ClassVar[str]  # as in the RPCs' names

    def __init__(
        self,
        *,
        client: Caller,
        waiting: Waiting,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        hold: str = "",
    ) -> None:
        self._client = client
        self._hold = hold
        self._waiting = waiting
        self._timeout_s = timeout_s

    def create(self, inputs: Inputs, *, token: str) -> State:
        """Create it and wait until it is usable.

        The same token finds what an interrupted create left behind, and updates that where the
        program has changed since. Raises NotSettled, or an error kind when nothing was begun.
        """
        begun = self._begin(inputs, token)
        try:
            settled = self._settle_new(begun, inputs, token)
        except ClonepoolError as error:
            # the engine went away, or the caller stops: what was begun must not be forgotten
            state = self._state(begun, prior=inputs)
            raise NotSettled(error, state=state, worthless=self._is_worthless(begun)) from None
        return self._state(settled, prior=inputs)

    def read(self, resource_id: str, *, prior: Inputs) -> State | None:
        """It as it is now; None when this incarnation is gone."""
        try:
            message = self._get(resource_id)
        except NotFound:
            return None
        return None if self._is_gone(message) else self._state(message, prior=prior)

    def find_id(self, name: str) -> str:
        """The id of the live one of this name. Raises NotFound."""
        return str(self._client.call(f"Get{self.noun}", self._name_request(name)).id)

    def update(self, resource_id: str, *, inputs: Inputs) -> State:
        """Change it in place and wait until the change is there."""
        message = self._change(resource_id, inputs)
        return self._state(self._settle_changed(message, inputs), prior=inputs)

    def delete(self, resource_id: str, *, prior: Inputs) -> None:
        """Delete this incarnation; one that is gone is no error."""
        try:
            self._client.call(f"Delete{self.noun}", self._delete_request(resource_id, prior))
        except NotFound:
            return

    def undo(self, state: State) -> bool:
        """Delete what a create began and could not finish; says whether it is gone."""
        try:
            self.delete(state.id, prior={**state.inputs, "force_detach": True})
        except ClonepoolError:
            return False
        return True

    def _begin(self, inputs: Inputs, token: str) -> Any:
        try:
            return self._client.call(f"Create{self.noun}", self._create_request(inputs, token))
        except AlreadyExists as error:
            return self._take_up(error, inputs)

    def _take_up(self, error: AlreadyExists, inputs: Inputs) -> Any:
        """Bring what an earlier run of the same program left to what it says now."""
        found_id = error.metadata.get("id", "")
        if error.metadata.get("same_token") != "true" or not found_id:
            raise error
        live = self._inputs_of(self._get(found_id))
        changed = diff(self.resource, old=live, new=inputs, is_unknown=lambda _: False)
        if changed.replaces:
            fields = ", ".join(changed.replaces)
            raise AlreadyExists(
                f"{self._title(inputs)} is there from an interrupted run with another {fields}; "
                f"set {fields} back and run again, then change it"
            ) from None
        return self._change(found_id, inputs)

    def _state(self, message: Any, *, prior: Inputs) -> State:
        return State(
            id=message.id,
            inputs=echo(self._inputs_of(message), prior, self.resource.inputs),
            outputs=self._outputs_of(message),
            trouble=self._trouble(message),
        )

    def _title(self, inputs: Inputs) -> str:
        return f"{self.resource.title} {inputs['name']}"

    def _get(self, resource_id: str) -> Any:
        return self._client.call(f"Get{self.noun}", pb.GetRequest(id=resource_id))

    def _change(self, resource_id: str, inputs: Inputs) -> Any:
        return self._client.call(f"Update{self.noun}", self._update_request(resource_id, inputs))

    def _delete_request(self, resource_id: str, _prior: Inputs) -> Message:
        return pb.DeleteRequest(id=resource_id)

    def _settle_new(self, begun: Any, _inputs: Inputs, _token: str) -> Any:
        return begun

    def _settle_changed(self, changed: Any, _inputs: Inputs) -> Any:
        return changed

    def _name_request(self, name: str) -> Message:
        return pb.GetRequest(name=name)

    def _is_gone(self, _message: Any) -> bool:
        return False

    def _is_worthless(self, _begun: Any) -> bool:
        """Whether nothing is lost when what was begun is deleted again."""
        return False

    def _trouble(self, _message: Any) -> str:
        return ""

    @abstractmethod
    def _create_request(self, inputs: Inputs, token: str) -> Message: ...

    @abstractmethod
    def _update_request(self, resource_id: str, inputs: Inputs) -> Message: ...

    @abstractmethod
    def _inputs_of(self, message: Any) -> dict[str, Value]: ...

    @abstractmethod
    def _outputs_of(self, message: Any) -> dict[str, Value]: ...
