"""The dynamic classes' providers behind ``python -m pulumi.dynamic``, asked as Pulumi asks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.runtime.proto import provider_pb2

from clonepool_resources.declaration import resource
from pulumi_clonepool import providers
from tests.faces.model import Declared, Face, Planned, Refused, with_unknowns
from tests.faces.stack import Kept, Provider
from tests.provider.dynamic_server import UNKNOWN as SENTINEL
from tests.provider.dynamic_server import URN, DynamicServer, serve

_TOKEN = "__request_token"
_NONE = provider_pb2.DiffResponse.DIFF_NONE


class DynamicProvider(Provider):
    """One server process, which holds the provider of each kind. ``stack`` is in its tokens."""

    face = Face.DYNAMIC

    def __init__(self, server: DynamicServer, *, stack: str) -> None:
        self._server = server
        self._stack = stack

    def for_user(self, stack: str) -> Provider:
        return DynamicProvider(self._server, stack=stack)

    def plan(self, declared: Declared, prior: Kept | None) -> Planned:
        server, fields = self._at(declared), resource(declared.kind).outputs
        inputs = self._checked(server, declared, prior)
        shown = {name: value for name, value in inputs.items() if not name.startswith("__")}
        if prior is None:
            # Pulumi asks nobody: what no input gives is unknown in the preview of a creation
            made = frozenset(field.name for field in fields if field.name not in shown)
            return Planned(action="create", unknown=made, inputs=shown)
        found = server.diff(prior.properties, inputs)
        if found.changes == _NONE:
            return Planned(action="none", inputs=shown)
        action = "replace" if found.replaces else "update"
        return Planned(action=action, replaces=sorted(found.replaces), inputs=shown)

    def create(self, declared: Declared) -> Kept:
        server = self._at(declared)
        inputs = self._checked(server, declared, None)
        with _refusals():
            found, properties = server.create(inputs)
        return Kept(declared=declared, id=found, properties=properties, inputs=inputs)

    def update(self, declared: Declared, prior: Kept) -> Kept:
        server = self._at(declared)
        inputs = self._checked(server, declared, prior)
        with _refusals():
            properties = server.update(prior.id, prior.properties, inputs)
        return Kept(declared=declared, id=prior.id, properties=properties, inputs=inputs)

    def read(self, kept: Kept) -> Kept | None:
        with _refusals():
            found, properties, inputs = self._at(kept.declared).read(kept.id, kept.properties)
        if not found:
            return None
        return Kept(declared=kept.declared, id=found, properties=properties, inputs=inputs)

    def find(self, declared: Declared, reference: str) -> Kept:
        # an import knows an id and nothing else, so not which provider's code to run
        request = provider_pb2.ReadRequest(id=reference, urn=URN)
        try:
            self._server.stub.Read(request)
        except grpc.RpcError as error:
            raise Refused(error.details() or "") from None
        raise AssertionError("Pulumi can import dynamic resources now: tell docs/faces.md")

    def delete(self, kept: Kept) -> None:
        with _refusals():
            self._at(kept.declared).delete(kept.id, kept.properties)

    def outputs(self, kept: Kept) -> Mapping[str, Any]:
        found = kept.properties.items()
        return {name: value for name, value in found if name != "chap_secret"}

    def _at(self, declared: Declared) -> DynamicServer:
        provider = getattr(providers, f"{declared.kind}Provider")()
        return DynamicServer(self._server.stub, self._server.display, serialize_provider(provider))

    def _checked(
        self, server: DynamicServer, declared: Declared, prior: Kept | None
    ) -> dict[str, Any]:
        token = f"trial/{self._stack}/clonepool:{declared.kind}/{declared.label}"
        news = {**with_unknowns(declared.inputs, SENTINEL), _TOKEN: token}
        inputs, failures = server.check(news, prior.inputs if prior else None)
        if failures:
            raise Refused("; ".join(failures.values()), paths=failures)
        return inputs


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        said = error.details() or ""
        assert "Traceback" not in said, said
        assert "\n" not in said, said
        raise Refused(said) from None


@contextmanager
def running(endpoint: str, *, stack: str, **variables: str) -> Iterator[DynamicProvider]:
    """Start the server for one user's stack."""
    blob = serialize_provider(providers.ServerProvider())
    environment = {"CLONEPOOL_ENDPOINT": endpoint, **variables}
    with serve(blob, environment=environment) as server:
        yield DynamicProvider(server, stack=stack)
