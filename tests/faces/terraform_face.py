"""The Terraform provider's process, asked as Terraform Core asks it, and held to its plans."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from terraform_clonepool.attributes import PROVIDER, RESOURCES, Managed
from terraform_clonepool.proto import tfplugin6_pb2 as pb
from terraform_clonepool.values import given, typed_fields
from terraform_clonepool.wire import UNKNOWN as SENTINEL
from terraform_clonepool.wire import read_value, write_value
from tests.faces.model import Declared, Face, Planned, Refused, with_unknowns
from tests.faces.stack import HalfMade, Kept, Provider
from tests.terraform.harness import Plugin, started

_TYPES = {managed.declared.name: managed for managed in RESOURCES}
_ERROR = pb.Diagnostic.ERROR


class TerraformProvider(Provider):
    """One provider process."""

    face = Face.TERRAFORM

    def __init__(self, plugin: Plugin, channel: grpc.Channel) -> None:
        self._plugin, self._channel = plugin, channel

    def configure(self, endpoint: str) -> None:
        """What Core does first; the provider block holds the endpoint alone."""
        config = write_value(typed_fields({"endpoint": endpoint}, PROVIDER))
        self._ask("ConfigureProvider", pb.ConfigureRequest(config=config), pb.Answer)

    def plan(self, declared: Declared, prior: Kept | None) -> Planned:
        managed, config = _TYPES[declared.kind], _config(declared)
        self._validate(managed, config)
        before = None if prior is None else prior.properties
        if prior is not None and prior.half_made:
            # tainted: it is made again whatever the provider would say
            return Planned(action="replace")
        answer = self._planned(managed, config, before)
        after = read_value(answer.planned_state)
        replaces = sorted(_dotted(path) for path in answer.requires_replace)
        action = "create" if prior is None else "none" if after == before else "update"
        outputs = {field.name for field in managed.shown.fields if field.computed}
        return Planned(
            action="replace" if replaces and action == "update" else action,
            replaces=replaces,
            unknown=frozenset(name for name in outputs if after[name] is SENTINEL),
            inputs=given({key: value for key, value in after.items() if key not in outputs}),
        )

    def create(self, declared: Declared) -> Kept:
        return self._apply(declared, None)

    def update(self, declared: Declared, prior: Kept) -> Kept:
        return self._apply(declared, prior)

    def read(self, kept: Kept) -> Kept | None:
        managed = _TYPES[kept.declared.kind]
        request = pb.ReadRequest(
            type_name=managed.type_name, current_state=write_value(kept.properties)
        )
        state = read_value(self._ask("ReadResource", request, pb.ReadAnswer).new_state)
        return None if state is None else _kept(kept.declared, state)

    def find(self, declared: Declared, reference: str) -> Kept:
        managed = _TYPES[declared.kind]
        request = pb.ImportRequest(type_name=managed.type_name, id=reference)
        (found,) = self._ask("ImportResourceState", request, pb.ImportAnswer).imported_resources
        read = self.read(_kept(declared, read_value(found.state)))
        if read is None:
            # Core's own words where nothing is behind an id
            raise Refused("Cannot import non-existent remote object")
        return read

    def delete(self, kept: Kept) -> None:
        managed = _TYPES[kept.declared.kind]
        request = pb.ApplyRequest(
            type_name=managed.type_name,
            prior_state=write_value(kept.properties),
            planned_state=write_value(None),
            config=write_value(None),
        )
        self._ask("ApplyResourceChange", request, pb.ApplyAnswer)

    def outputs(self, kept: Kept) -> Mapping[str, Any]:
        found: Mapping[str, Any] = given(kept.properties)
        # the server in whichever way it was given has a name of its own here
        if "server_name" in found:
            found = {**found, "server": found["server_name"]}
        return found

    def _validate(self, managed: Managed, config: Mapping[str, Any]) -> None:
        request = pb.ValidateRequest(
            type_name=managed.type_name,
            config=write_value(config),
            client_capabilities=pb.ClientCapabilities(write_only_attributes_allowed=True),
        )
        required = [f.name for f in managed.shown.inputs if f.required and config[f.name] is None]
        if required:
            # Core holds a configuration to the schema before it asks
            paths = dict.fromkeys(required, "is required")
            raise Refused(f"Missing required argument: {', '.join(required)}", paths=paths)
        self._ask("ValidateResourceConfig", request, pb.Answer)

    def _planned(
        self, managed: Managed, config: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> pb.PlanAnswer:
        request = pb.PlanRequest(
            type_name=managed.type_name,
            prior_state=write_value(before),
            proposed_new_state=write_value(config),
            config=write_value(config),
        )
        answer: pb.PlanAnswer = self._ask("PlanResourceChange", request, pb.PlanAnswer)
        return answer

    def _apply(self, declared: Declared, prior: Kept | None) -> Kept:
        managed, config = _TYPES[declared.kind], _config(declared)
        self._validate(managed, config)
        before = None if prior is None else prior.properties
        planned = self._planned(managed, config, before).planned_state
        request = pb.ApplyRequest(
            type_name=managed.type_name,
            prior_state=write_value(before),
            planned_state=planned,
            config=write_value(config),
        )
        answer = self._answer("ApplyResourceChange", request, pb.ApplyAnswer)
        state, refused = read_value(answer.new_state), _refusal(answer.diagnostics)
        if refused is None:
            assert _agrees(read_value(planned), state), (read_value(planned), state)
            return _kept(declared, state)
        if prior is None and state is not None:
            kept = _kept(declared, state)
            kept.half_made = True
            raise HalfMade(refused, kept=kept)
        raise refused

    def _ask(self, method: str, request: Any, kind: Any) -> Any:
        answer = self._answer(method, request, kind)
        refused = _refusal(answer.diagnostics)
        if refused is not None:
            raise refused
        return answer

    def _answer(self, method: str, request: Any, kind: Any) -> Any:
        return self._plugin.ask(self._channel, method, request, kind)


def _refusal(diagnostics: Sequence[pb.Diagnostic]) -> Refused | None:
    """The errors among what was said; warnings stop nobody."""
    errors = [each for each in diagnostics if each.severity == _ERROR]
    if not errors:
        return None
    said = "; ".join(f"{each.summary}: {each.detail}" for each in errors)
    assert "This is a defect" not in said, said
    paths = {
        each.summary.removeprefix("Invalid "): each.detail
        for each in errors
        if each.summary.startswith("Invalid ")
    }
    return Refused(said, paths=paths)


def _config(declared: Declared) -> dict[str, Any]:
    """The configuration as Core sends it: every attribute, null where it is absent."""
    inputs = dict(with_unknowns(declared.inputs, SENTINEL))
    if declared.create_timeout_s:
        timeouts = {**inputs.get("timeouts", {}), "create": f"{declared.create_timeout_s:g}s"}
        inputs["timeouts"] = timeouts
    return typed_fields(inputs, _TYPES[declared.kind].shown.fields)


def _kept(declared: Declared, state: Mapping[str, Any]) -> Kept:
    return Kept(declared=declared, id=str(state["id"]), properties=state)


def _dotted(path: pb.AttributePath) -> str:
    return ".".join(str(getattr(step, step.WhichOneof("selector") or "")) for step in path.steps)


def _agrees(planned: Any, state: Any) -> bool:
    """Core's rule: an apply gives what was planned, and fills in only what was unknown."""
    if planned is SENTINEL:
        return True
    if isinstance(planned, Mapping) and isinstance(state, Mapping):
        return planned.keys() == state.keys() and all(
            _agrees(value, state[key]) for key, value in planned.items()
        )
    if isinstance(planned, list) and isinstance(state, list):
        pairs = zip(planned, state, strict=False)
        return len(planned) == len(state) and all(_agrees(*pair) for pair in pairs)
    return bool(planned == state)


@contextmanager
def running(endpoint: str, *, home: Path) -> Iterator[TerraformProvider]:
    """Start the provider; its certificate is kept in ``home``."""
    with started(home, log=subprocess.DEVNULL) as plugin, plugin.channel() as channel:
        provider = TerraformProvider(plugin, channel)
        provider.configure(endpoint)
        yield provider
