"""The plugin's types: Pulumi's token for each, with its declaration and its lifecycle."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import NotFound
from clonepool_resources import reads
from clonepool_resources.declaration import GET_ATTACHMENT, GET_IMAGE, GET_POOL, RESOURCES
from clonepool_resources.lifecycle import Caller, Lifecycle
from clonepool_resources.server_lifecycle import AttachmentLifecycle, ServerLifecycle
from clonepool_resources.storage_lifecycle import ImageLifecycle, PoolLifecycle
from clonepool_resources.types import Function, Resource, Value
from pulumi_clonepool_plugin.spelling import camel, token_of


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One type of resource."""

    token: str
    resource: Resource
    lifecycle: type[Lifecycle]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What is looked up: by its id, or else by its name."""

    id: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class LookUp:
    """One function: its declaration, and how the engine answers it."""

    function: Function
    ask: Callable[[Caller, Reference], dict[str, Value]]

    def answer(self, client: Caller, reference: str) -> dict[str, Value]:
        """What is there under a name, or an id. Raises NotFound.

        A preview knows the name of a resource that it would create, but not its id: a look-up by
        ``${pool.id}`` waits until the pool is there, where one by ``${pool.name}`` would fail.
        """
        if is_id(reference):
            try:
                return self.ask(client, Reference(id=reference))
            except NotFound:
                # a name may look like an id
                pass
        return self.ask(client, Reference(name=reference))


def _ref(reference: Reference) -> pb.GetRequest:
    return pb.GetRequest(id=reference.id) if reference.id else pb.GetRequest(name=reference.name)


def _pool(client: Caller, reference: Reference) -> dict[str, Value]:
    return reads.pool_value(client.call("GetPool", _ref(reference)))


def _image(client: Caller, reference: Reference) -> dict[str, Value]:
    return reads.image_value(client.call("GetImage", _ref(reference)))


def _attachment(client: Caller, reference: Reference) -> dict[str, Value]:
    request = pb.GetAttachmentRequest(id=reference.id)
    if not reference.id:
        request = pb.GetAttachmentRequest(name=reference.name)
    return reads.attachment_value(client.call("GetAttachment", request))


_LIFECYCLES: Final = (ImageLifecycle, PoolLifecycle, ServerLifecycle, AttachmentLifecycle)
KINDS: Final[Mapping[str, Kind]] = {
    token_of(lifecycle.resource.name): Kind(
        token=token_of(lifecycle.resource.name), resource=lifecycle.resource, lifecycle=lifecycle
    )
    for lifecycle in _LIFECYCLES
}
LOOK_UPS: Final[Mapping[str, LookUp]] = {
    token_of(camel(function.name)): LookUp(function=function, ask=ask)
    for function, ask in ((GET_POOL, _pool), (GET_ATTACHMENT, _attachment), (GET_IMAGE, _image))
}


def is_id(reference: str) -> bool:
    """Whether it is written as the engine writes ids."""
    try:
        return str(uuid.UUID(reference)) == reference
    except ValueError:
        return False


def kind_of(urn: str) -> Kind:
    """The kind of a resource by its URN. Raises NotFound for a type that is not ours."""
    # urn:pulumi:STACK::PROJECT::PARENT$TYPE::NAME
    token = urn.split("::")[2].rsplit("$", 1)[-1] if urn.count("::") >= 3 else urn  # noqa: PLR2004
    if token not in KINDS:
        known = ", ".join(resource.name for resource in RESOURCES)
        raise NotFound(f"{token} is no type of clonepool (it has {known}); mend the type")
    return KINDS[token]
