"""Pulumi's ResourceProvider protocol, served: each call is taken apart here and answered below."""
# ruff: noqa: N802, ARG002 - the names and the signatures are the protocol's

from __future__ import annotations

import json
from typing import Final

from google.protobuf import empty_pb2, struct_pb2

import clonepool
from clonepool.errors import FieldViolation, NotFound
from clonepool_resources.near_keys import near_misses
from clonepool_resources.types import Inputs, Value
from pulumi_clonepool_plugin import configuration
from pulumi_clonepool_plugin.checking import check_inputs
from pulumi_clonepool_plugin.failures import KeysMissing, Unhealthy, answered, one_line
from pulumi_clonepool_plugin.kinds import LOOK_UPS, Kind, LookUp, kind_of
from pulumi_clonepool_plugin.operations import HalfMade, Made, Operation
from pulumi_clonepool_plugin.planning import (
    describe_difference,
    outputs_to_create,
    outputs_to_update,
)
from pulumi_clonepool_plugin.properties import as_secret, from_message, is_unknown, to_message
from pulumi_clonepool_plugin.protocol import plugin_pb2, provider_pb2, provider_pb2_grpc
from pulumi_clonepool_plugin.session import Session
from pulumi_clonepool_plugin.spelling import to_declared, to_pulumi
from pulumi_clonepool_plugin.translation import (
    read_checked,
    read_inputs,
    read_properties,
    write,
)

_CHANGES: Final = provider_pb2.DiffResponse


class ClonepoolProvider(provider_pb2_grpc.ResourceProviderServicer):
    """One provider. Neither Check nor Diff asks the engine, a preview only what it says of stock.

    Secrets come in the clear (``acceptSecrets`` is false): Pulumi's engine marks in each answer
    what was secret in its question, and the plugin what is secret by declaration.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @answered
    def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest
    ) -> provider_pb2.ProviderHandshakeResponse:
        """Agree on what either side can do; progress goes to the engine that asks."""
        self._session.attach(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(
            accept_secrets=False,
            accept_resources=False,
            accept_outputs=False,
            supports_autonaming_configuration=True,
        )

    @answered
    def Attach(self, request: plugin_pb2.PluginAttach) -> empty_pb2.Empty:
        """Serve this engine, with a plugin that was started by hand."""
        self._session.attach(request.address)
        return empty_pb2.Empty()

    @answered
    def GetPluginInfo(self, request: empty_pb2.Empty) -> plugin_pb2.PluginInfo:
        """The plugin's version."""
        return plugin_pb2.PluginInfo(version=clonepool.__version__)

    @answered
    def GetSchema(self, request: provider_pb2.GetSchemaRequest) -> provider_pb2.GetSchemaResponse:
        """The package's schema, which SDKs and YAML programs are made from."""
        from pulumi_clonepool_plugin.schema import package_schema  # noqa: PLC0415 - rarely asked

        return provider_pb2.GetSchemaResponse(schema=json.dumps(package_schema()))

    @answered
    def CheckConfig(self, request: provider_pb2.CheckRequest) -> provider_pb2.CheckResponse:
        """Say what is wrong with the provider's own settings."""
        values = from_message(request.news)
        for line in near_misses(values):
            self._session.display.say(line, is_warning=True)
        failures = [_failure(violation) for violation in configuration.problems(values)]
        if not failures:
            self._session.bring(configuration.ticket_of(values))
        for key in configuration.SECRET_KEYS:
            if values.get(key) is not None:
                values[key] = as_secret(values[key])
        return provider_pb2.CheckResponse(inputs=to_message(values), failures=failures)

    @answered
    def DiffConfig(self, request: provider_pb2.DiffRequest) -> provider_pb2.DiffResponse:
        """Name the settings that changed; no change of them replaces what the provider made."""
        keys = configuration.changed(from_message(_before(request)), from_message(request.news))
        updated = provider_pb2.PropertyDiff(kind=provider_pb2.PropertyDiff.UPDATE)
        return _CHANGES(
            changes=_CHANGES.DIFF_SOME if keys else _CHANGES.DIFF_NONE,
            diffs=keys,
            detailedDiff=dict.fromkeys(keys, updated),
            hasDetailedDiff=True,
        )

    @answered
    def Configure(self, request: provider_pb2.ConfigureRequest) -> provider_pb2.ConfigureResponse:
        """Take the settings; nothing is connected yet."""
        settings = configuration.Settings.of(from_message(request.args))
        missing = settings.missing()
        if missing:
            key = provider_pb2.ConfigureErrorMissingKeys.MissingKey
            keys = [key(name=name, description=text) for name, text in missing.items()]
            raise KeysMissing(provider_pb2.ConfigureErrorMissingKeys(missingKeys=keys))
        self._session.configure(settings)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=False,
            supportsPreview=True,
            acceptResources=False,
            acceptOutputs=False,
            supports_autonaming_configuration=True,
        )

    @answered
    def Check(self, request: provider_pb2.CheckRequest) -> provider_pb2.CheckResponse:
        """Fill in the name and the defaults, and say what is wrong with each property."""
        kind = kind_of(request.urn)
        inputs, failures = check_inputs(kind, request)
        return provider_pb2.CheckResponse(
            inputs=write(inputs, kind.resource.inputs),
            failures=[_failure(violation) for violation in failures],
        )

    @answered
    def Diff(self, request: provider_pb2.DiffRequest) -> provider_pb2.DiffResponse:
        """What changed, by value, and what of it forces a replacement."""
        kind = kind_of(request.urn)
        old, new = read_inputs(kind, _before(request)), read_inputs(kind, request.news)
        return describe_difference(kind.resource, old=old, new=new)

    @answered
    def Create(self, request: provider_pb2.CreateRequest) -> provider_pb2.CreateResponse:
        """Make it and wait until it is usable, or say what a preview can know."""
        kind = kind_of(request.urn)
        inputs, fields = read_checked(kind, request.properties), kind.resource.fields
        if request.preview:
            planned = outputs_to_create(kind.resource, inputs)
            self._session.remark(self._session.stock.of_switch(), urn=request.urn)
            self._session.remark(
                self._session.stock.of_create(kind.resource, inputs), urn=request.urn
            )
            return provider_pb2.CreateResponse(properties=write(planned, fields))
        try:
            made = self._operation(kind, request.urn, request.timeout).create(inputs)
        except HalfMade as half:
            raise _unhealthy(kind, half.made, reason=one_line(half.cause)) from None
        return provider_pb2.CreateResponse(id=made.id, properties=write(made.properties, fields))

    @answered
    def Read(self, request: provider_pb2.ReadRequest) -> provider_pb2.ReadResponse:
        """A refresh where a state comes along, else an import by id or by name."""
        kind = kind_of(request.urn)
        operation = self._operation(kind, request.urn, request.timeout)
        known = request.inputs if request.inputs.fields else request.properties
        inputs = read_inputs(kind, known)
        made = (
            operation.read(request.id, inputs=inputs) if inputs else operation.import_(request.id)
        )
        if made is None:
            # no id: it is gone
            return provider_pb2.ReadResponse()
        if made.trouble:
            raise _unhealthy(kind, made, reason=made.trouble)
        return provider_pb2.ReadResponse(
            id=made.id,
            properties=write(made.properties, kind.resource.fields),
            inputs=write(made.inputs, kind.resource.inputs),
        )

    @answered
    def Update(self, request: provider_pb2.UpdateRequest) -> provider_pb2.UpdateResponse:
        """Change it in place, or say which outputs a change may move."""
        kind = kind_of(request.urn)
        inputs, fields = read_checked(kind, request.news), kind.resource.fields
        if request.preview:
            planned = outputs_to_update(
                kind.resource,
                old=read_inputs(kind, _before(request)),
                old_outputs=read_properties(kind, request.olds),
                new=inputs,
            )
            self._remark_change(kind, planned, urn=request.urn)
            return provider_pb2.UpdateResponse(properties=write(planned, fields))
        operation = self._operation(kind, request.urn, request.timeout)
        made = operation.update(request.id, inputs=inputs)
        return provider_pb2.UpdateResponse(properties=write(made.properties, fields))

    @answered
    def Delete(self, request: provider_pb2.DeleteRequest) -> empty_pb2.Empty:
        """Delete, or release, this incarnation; one that is gone is no error."""
        kind = kind_of(request.urn)
        inputs = read_inputs(kind, request.properties)
        self._operation(kind, request.urn, request.timeout).delete(request.id, inputs=inputs)
        return empty_pb2.Empty()

    @answered
    def Invoke(self, request: provider_pb2.InvokeRequest) -> provider_pb2.InvokeResponse:
        """One of the functions; its answer is what is there now."""
        look_up = LOOK_UPS.get(request.tok)
        if look_up is None:
            raise NotFound(f"{request.tok} is no function of clonepool: {', '.join(LOOK_UPS)}")
        args = to_declared(from_message(request.args), look_up.function.inputs)
        name = args.values.get("name")
        if not isinstance(name, str):
            wrong = provider_pb2.CheckFailure(property="name", reason="must be a name")
            return provider_pb2.InvokeResponse(failures=[wrong])
        found = self._look_up(look_up, name, preview=request.preview)
        answer = provider_pb2.InvokeResponse()
        # `return` is no word that an argument can have
        getattr(answer, "return").CopyFrom(to_message(to_pulumi(found, look_up.function.outputs)))
        return answer

    @answered
    def Cancel(self, request: empty_pb2.Empty) -> empty_pb2.Empty:
        """Let every wait end at once; a create deletes what it began."""
        self._session.stop.set()
        return empty_pb2.Empty()

    def _look_up(self, look_up: LookUp, reference: str, *, preview: bool) -> dict[str, Value]:
        try:
            return look_up.answer(self._session.client, reference)
        except NotFound as error:
            if not preview:
                raise
            raise NotFound(
                f"{error}; where this program makes it, look it up by its id: a preview that "
                "creates it then waits"
            ) from None

    def _remark_change(self, kind: Kind, planned: Inputs, *, urn: str) -> None:
        """Say what hangs on it; an image whose content stays has nothing to do with stock."""
        if planned.get("version") is None or is_unknown(planned["version"]):
            self._session.remark(self._session.stock.of_switch(), urn=urn)
            self._session.remark(self._session.stock.of_change(kind.resource, planned), urn=urn)

    def _operation(self, kind: Kind, urn: str, timeout_s: float) -> Operation:
        return Operation(kind=kind, session=self._session, urn=urn, timeout_s=timeout_s)


def _before(request: provider_pb2.DiffRequest | provider_pb2.UpdateRequest) -> struct_pb2.Struct:
    """The old inputs; an engine that does not send them sends a state that holds them."""
    return request.old_inputs if request.HasField("old_inputs") else request.olds


def _failure(violation: FieldViolation) -> provider_pb2.CheckFailure:
    return provider_pb2.CheckFailure(property=violation.field, reason=violation.description)


def _unhealthy(kind: Kind, made: Made, *, reason: str) -> Unhealthy:
    return Unhealthy(
        provider_pb2.ErrorResourceInitFailed(
            id=made.id,
            properties=write(made.properties, kind.resource.fields),
            inputs=write(made.inputs, kind.resource.inputs),
            reasons=[reason],
        )
    )
