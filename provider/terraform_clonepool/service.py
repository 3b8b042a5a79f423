"""The protocol's RPCs: messages in and out, and every exception as a diagnostic."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from clonepool.errors import ClonepoolError
from terraform_clonepool import diagnostics, lookups, schema
from terraform_clonepool.attributes import PROVIDER, RESOURCES
from terraform_clonepool.proto import tfplugin6_pb2 as pb
from terraform_clonepool.resources import ManagedResource
from terraform_clonepool.session import Session
from terraform_clonepool.values import Values, typed_fields
from terraform_clonepool.wire import read_json, read_value, write_value

LOG: Final = logging.getLogger("clonepool")
_WORD: Final = re.compile(r"(?<!^)(?=[A-Z])")
Method = Callable[[Any], Any]


class Provider:
    """One provider block's calls; many threads use it at once."""

    def __init__(self, session: Session | None = None) -> None:
        self._session = session or Session()
        self._resources = {
            managed.type_name: ManagedResource(managed, self._session) for managed in RESOURCES
        }

    def methods(self) -> Iterator[tuple[str, Method, type[Any], type[Any]]]:
        """Each RPC's name, function, and the messages that it takes and gives."""
        for rpc in pb.DESCRIPTOR.services_by_name["Provider"].methods:
            taken, given = (getattr(pb, side.name) for side in (rpc.input_type, rpc.output_type))
            method = getattr(self, _WORD.sub("_", rpc.name).lower())
            yield rpc.name, _guarded(method, rpc.name, given), taken, given

    def get_metadata(self, _request: pb.Empty) -> pb.Metadata:
        """The names of everything that there is."""
        return schema.metadata()

    def get_provider_schema(self, _request: pb.Empty) -> pb.ProviderSchema:
        """The schemas of everything that there is."""
        return schema.provider_schema()

    def get_functions(self, _request: pb.Empty) -> pb.Functions:
        """None: what is asked of the engine is a data source."""
        return pb.Functions()

    def validate_provider_config(self, _request: pb.ConfigRequest) -> pb.ConfigAnswer:
        """Nothing beyond the types; what can't be used is told when it is configured."""
        return pb.ConfigAnswer()

    def configure_provider(self, request: pb.ConfigureRequest) -> pb.Answer:
        """Take the provider block; the engine is not called yet."""
        settings = typed_fields(read_value(request.config), PROVIDER)
        try:
            self._session.configure(settings)
        except ClonepoolError as error:
            said = diagnostics.errors(error, PROVIDER, doing="Configuring the provider")
            return pb.Answer(diagnostics=said)
        return pb.Answer()

    def stop_provider(self, _request: pb.Empty) -> pb.StopAnswer:
        """Ctrl-C: whoever waits gives up, and says what it leaves."""
        self._session.stop.set()
        return pb.StopAnswer()

    def validate_resource_config(self, request: pb.ValidateRequest) -> pb.Answer:
        """Everything that is wrong."""
        resource = self._resources[request.type_name]
        said = resource.validate(
            _there(resource.decode(read_value(request.config))),
            write_only_allowed=request.client_capabilities.write_only_attributes_allowed,
        )
        return pb.Answer(diagnostics=said)

    def upgrade_resource_state(self, request: pb.UpgradeRequest) -> pb.UpgradeAnswer:
        """A state out of a file, of this version or an older one."""
        resource = self._resources[request.type_name]
        upgraded = resource.upgrade(read_json(request.raw_state.json), version=request.version)
        return pb.UpgradeAnswer(upgraded_state=write_value(upgraded))

    def read_resource(self, request: pb.ReadRequest) -> pb.ReadAnswer:
        """It as it is now."""
        resource = self._resources[request.type_name]
        outcome = resource.read(_there(resource.decode(read_value(request.current_state))))
        return pb.ReadAnswer(
            new_state=write_value(outcome.values),
            diagnostics=outcome.said,
            private=request.private,
        )

    def plan_resource_change(self, request: pb.PlanRequest) -> pb.PlanAnswer:
        """What it will be."""
        resource = self._resources[request.type_name]
        config = resource.decode(read_value(request.config))
        if config is None or read_value(request.proposed_new_state) is None:
            return pb.PlanAnswer(
                planned_state=write_value(None), planned_private=request.prior_private
            )
        prior = resource.decode(read_value(request.prior_state))
        plan = resource.plan(config=config, prior=prior)
        return pb.PlanAnswer(
            planned_state=write_value(plan.values),
            requires_replace=resource.paths(plan.replaces),
            planned_private=request.prior_private,
            diagnostics=resource.remarks(plan.values, prior=prior),
        )

    def apply_resource_change(self, request: pb.ApplyRequest) -> pb.ApplyAnswer:
        """Make the plan true. With an error, what there is afterwards all the same."""
        resource = self._resources[request.type_name]
        prior, plan, config = (
            resource.decode(read_value(value))
            for value in (request.prior_state, request.planned_state, request.config)
        )
        self._session.applying.set()
        try:
            outcome = resource.apply(prior=prior, plan=plan, config=config)
        except Exception as error:  # noqa: BLE001 - whatever happens, the state is not lost
            said = [_defect(error, "Applying")]
            return pb.ApplyAnswer(
                new_state=write_value(prior), private=request.planned_private, diagnostics=said
            )
        return pb.ApplyAnswer(
            new_state=write_value(outcome.values),
            private=request.planned_private,
            diagnostics=outcome.said,
        )

    def import_resource_state(self, request: pb.ImportRequest) -> pb.ImportAnswer:
        """By id or by name."""
        outcome = self._resources[request.type_name].find(request.id)
        if outcome.values is None:
            return pb.ImportAnswer(diagnostics=outcome.said)
        found = pb.ImportedResource(type_name=request.type_name, state=write_value(outcome.values))
        return pb.ImportAnswer(imported_resources=[found])

    def validate_data_resource_config(self, request: pb.ValidateRequest) -> pb.Answer:
        """Exactly one of id and name."""
        lookup, config = _lookup(request)
        said = diagnostics.violations(lookups.find_violations(config), lookup.fields)
        return pb.Answer(diagnostics=said)

    def read_data_source(self, request: pb.ReadDataRequest) -> pb.ReadDataAnswer:
        """What is there now."""
        values, said = self._look_up(request)
        return pb.ReadDataAnswer(state=write_value(values), diagnostics=said)

    def validate_ephemeral_resource_config(self, request: pb.ValidateRequest) -> pb.Answer:
        """Exactly one of id and name."""
        return self.validate_data_resource_config(request)

    def open_ephemeral_resource(self, request: pb.ValidateRequest) -> pb.OpenAnswer:
        """The secret; nothing needs renewing or closing."""
        values, said = self._look_up(request)
        return pb.OpenAnswer(result=write_value(values) if values else None, diagnostics=said)

    def renew_ephemeral_resource(self, _request: pb.HandleRequest) -> pb.Answer:
        """Never asked for."""
        return pb.Answer()

    def close_ephemeral_resource(self, _request: pb.HandleRequest) -> pb.Answer:
        """Nothing is held."""
        return pb.Answer()

    def _look_up(
        self, request: pb.ReadDataRequest | pb.ValidateRequest
    ) -> tuple[Values | None, Sequence[pb.Diagnostic]]:
        lookup, config = _lookup(request)
        try:
            return lookups.read(lookup, config, self._session), ()
        except ClonepoolError as error:
            what = lookup.type_name.removeprefix("clonepool_").replace("_", " ")
            named = config["name"] or config["id"]
            said = diagnostics.errors(error, lookup.fields, doing=f"Looking up {what} {named}")
            return None, said


def _lookup(
    request: pb.ReadDataRequest | pb.ValidateRequest,
) -> tuple[Any, Values]:
    lookup = lookups.LOOKUPS[request.type_name]
    return lookup, typed_fields(read_value(request.config), lookup.fields)


def _there(values: Values | None) -> Values:
    if values is None:
        raise TypeError("Terraform sent no value where there is always one")
    return values


def _guarded(method: Method, name: str, answer: type[Any]) -> Method:
    """The method, its exceptions as diagnostics of its answer."""

    def run(request: Any) -> Any:
        try:
            return method(request)
        except ClonepoolError as error:
            return answer(diagnostics=diagnostics.errors(error, (), doing=name))
        except Exception as error:
            if "diagnostics" not in answer.DESCRIPTOR.fields_by_name:
                raise
            return answer(diagnostics=[_defect(error, name)])

    return run


def _defect(error: Exception, doing: str) -> pb.Diagnostic:
    LOG.error("%s", error, exc_info=error)
    return diagnostics.defect(error, doing=doing)
