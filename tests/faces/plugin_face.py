"""The plugin's process, asked as Pulumi's engine asks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from pulumi.runtime.proto import provider_pb2

from clonepool_resources.declaration import resource
from clonepool_resources.types import Field
from pulumi_clonepool_plugin.spelling import camel, to_declared, to_pulumi
from tests.faces.model import Declared, Face, Planned, Refused, mapped, snake, with_unknowns
from tests.faces.stack import HalfMade, Kept, Provider
from tests.plugin.harness import SECRET, SIGNATURE, Failure, Plugin, failure_of, running_plugin
from tests.plugin.harness import UNKNOWN as SENTINEL
from tests.plugin.harness import values as values_of

_NONE = provider_pb2.DiffResponse.DIFF_NONE


class PluginProvider(Provider):
    """One plugin process."""

    face = Face.PLUGIN

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin

    def plan(self, declared: Declared, prior: Kept | None) -> Planned:
        inputs = self._checked(declared, prior)
        shown = _snaked(inputs, resource(declared.kind).inputs)
        if prior is None:
            planned = self._plugin.create(declared.kind, inputs, preview=True)
            return Planned(
                action="create", unknown=_unknown(planned, declared, shown), inputs=shown
            )
        found = self._plugin.diff(declared.kind, dict(prior.inputs), inputs)
        if found.changes == _NONE:
            # a resource that is not as it should be is updated without a difference
            action = "update" if prior.half_made else "none"
            return Planned(action=action, inputs=shown)
        if found.replaces:
            replaces = sorted(snake(path) for path in found.replaces)
            return Planned(action="replace", replaces=replaces, inputs=shown)
        planned = self._plugin.update(
            declared.kind, prior.id, prior.properties, inputs, preview=True
        )
        return Planned(action="update", unknown=_unknown(planned, declared, shown), inputs=shown)

    def create(self, declared: Declared) -> Kept:
        inputs = self._checked(declared, None)
        more = {"timeout": declared.create_timeout_s} if declared.create_timeout_s else {}
        with self._refusals(declared):
            made = self._plugin.create(declared.kind, inputs, **more)
        return _kept(declared, made.id, made.properties, inputs)

    def update(self, declared: Declared, prior: Kept) -> Kept:
        inputs = self._checked(declared, prior)
        with self._refusals(declared):
            made = self._plugin.update(declared.kind, prior.id, prior.properties, inputs)
        return _kept(declared, prior.id, made.properties, inputs)

    def read(self, kept: Kept) -> Kept | None:
        try:
            with self._refusals(kept.declared):
                found = self._plugin.read(kept.declared.kind, kept.id, kept.inputs)
        except HalfMade as half:
            # Pulumi keeps it, warns, and tries an update the next time
            return half.kept
        if not found.id:
            return None
        return _kept(kept.declared, found.id, found.properties, values_of(found.inputs))

    def find(self, declared: Declared, reference: str) -> Kept:
        with self._refusals(declared):
            found = self._plugin.read(declared.kind, reference)
        if not found.id:
            # Pulumi's own words for an answer without an id
            raise Refused(f"resource '{reference}' does not exist")
        return _kept(declared, found.id, found.properties, values_of(found.inputs))

    def delete(self, kept: Kept) -> None:
        with self._refusals(kept.declared):
            self._plugin.delete(kept.declared.kind, kept.id, kept.properties)

    def outputs(self, kept: Kept) -> Mapping[str, Any]:
        fields = resource(kept.declared.kind).fields
        return _snaked(kept.properties, [each for each in fields if not each.secret])

    def _checked(self, declared: Declared, prior: Kept | None) -> dict[str, Any]:
        fields = resource(declared.kind).inputs
        strange = set(declared.inputs) - {each.name for each in fields}
        news = to_pulumi(declared.inputs, fields)
        news |= {camel(name): declared.inputs[name] for name in strange}
        answer = self._plugin.check(declared.kind, with_unknowns(news, SENTINEL))
        if answer.failures:
            paths = {snake(each.property): each.reason for each in answer.failures}
            raise Refused("; ".join(paths.values()), paths=paths)
        return values_of(answer.inputs)

    @contextmanager
    def _refusals(self, declared: Declared) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            failure = failure_of(error)
            assert failure.code not in {"UNKNOWN", "INTERNAL", "DATA_LOSS"}, failure.text
            assert "\n" not in failure.text, failure.text
            raise _refused(declared, failure) from None


def _refused(declared: Declared, failure: Failure) -> Refused:
    refused = Refused(failure.text)
    for half in failure.details:
        kept = _kept(declared, half.id, half.properties, values_of(half.inputs))
        kept.half_made = True
        return HalfMade(refused, kept=kept)
    return refused


def _kept(declared: Declared, found: str, properties: Any, inputs: Mapping[str, Any]) -> Kept:
    return Kept(
        declared=declared, id=found, properties=_opened(values_of(properties)), inputs=inputs
    )


def _opened(values: Any) -> Any:
    """Properties without the marks of secrets: the plugin takes no secrets in."""

    def opened(value: Any) -> Any:
        marked = isinstance(value, Mapping) and value.get(SIGNATURE) == SECRET
        return value["value"] if marked else value

    return mapped(values, opened)


def _snaked(values: Mapping[str, Any], fields: Any) -> dict[str, Any]:
    return to_declared(values, fields).values


def _unknown(answer: Any, declared: Declared, inputs: Mapping[str, Any]) -> frozenset[str]:
    fields: tuple[Field, ...] = resource(declared.kind).outputs
    found = _snaked(_opened(values_of(answer.properties)), fields)
    return frozenset(
        name for name, value in found.items() if value == SENTINEL and name not in inputs
    )


@contextmanager
def running(endpoint: str, *, folder: Path) -> Iterator[PluginProvider]:
    """Start the plugin; ``folder`` has its launcher."""
    with running_plugin(folder) as plugin:
        plugin.configure(endpoint=endpoint)
        yield PluginProvider(plugin)
