"""A resource type: plan, apply, read, import and upgrade, over the shared lifecycle.

An error never loses what is there: a failed change keeps the state, a half-made object is kept
(Terraform calls it tainted) unless nothing is lost by removing it again.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from clonepool.errors import ClonepoolError, FailedPrecondition
from clonepool.units import parse_duration
from clonepool_resources.types import Field
from clonepool_resources.values import echo
from terraform_clonepool import diagnostics
from terraform_clonepool.attributes import ID, SERVER_NAME, TROUBLE, Managed
from terraform_clonepool.planning import Plan, plan_create, plan_inputs, plan_update
from terraform_clonepool.proto import tfplugin6_pb2 as pb
from terraform_clonepool.session import Session
from terraform_clonepool.validation import find_violations, find_write_only, with_write_only
from terraform_clonepool.values import Values, given, only, typed, typed_fields
from terraform_clonepool.wire import UNKNOWN

if TYPE_CHECKING:
    from clonepool_resources.lifecycle import Lifecycle, NotSettled, State

LOG: Final = logging.getLogger("clonepool")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEPT: Final = (
    "It is in the state, tainted: the next apply deletes it and makes it again. If it turns out "
    "well by itself, `terraform untaint ADDRESS` keeps it."
)
_ATTACHMENT: Final = "ServerStorageAttachment"
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(kw_only=True)
class Outcome:
    """What there is after a call, and what to say; None is nothing."""

    values: Values | None
    said: list[pb.Diagnostic] = field(default_factory=list)


class ManagedResource:
    """One resource type in one process. ``upgrades`` turn a version's state into the next one's."""

    def __init__(
        self, managed: Managed, session: Session, *, upgrades: Mapping[int, Upgrade] | None = None
    ) -> None:
        self._managed = managed
        self._fields = managed.shown.fields
        self._session = session
        self._upgrades = upgrades or {}

    def decode(self, raw: Any) -> Values | None:
        """A state, a plan or a configuration; None where there is none."""
        return None if raw is None else typed_fields(raw, self._fields)

    def validate(self, config: Values, *, write_only_allowed: bool) -> list[pb.Diagnostic]:
        """Everything that is wrong with a configuration, each at its attribute."""
        found = find_violations(self._managed.shown, config)
        if not write_only_allowed:
            found += find_write_only(self._fields, config)
        return list(diagnostics.violations(found, self._fields))

    def plan(self, *, config: Values, prior: Values | None) -> Plan:
        """What it will be; the engine is not asked for it."""
        if prior is None:
            return plan_create(self._managed.shown, config=config)
        return plan_update(self._managed.shown, config=config, prior=prior)

    def remarks(self, plan: Values, *, prior: Values | None) -> list[pb.Diagnostic]:
        """A warning where the stock is short for what is to be made, and nothing where it is not.

        Terraform has no quieter word than a warning, and shows it in full.
        """
        session = self._session
        is_making = prior is None and self._managed.declared.name == _ATTACHMENT
        if not is_making or session.applying.is_set() or not session.is_reachable:
            return []
        said = (session.stock.of_switch(), session.stock.of_create(self._managed.declared, plan))
        found = []
        for remark in said:
            if remark is not None and (remark.is_short or remark.is_about_engine):
                summary, _, more = remark.text.partition("; " if remark.is_short else ": ")
                attribute = "" if remark.is_about_engine else "pool"
                found.append(diagnostics.warning(summary, f"{more}.", attribute=attribute))
        return found

    def paths(self, names: Iterable[str]) -> list[pb.AttributePath]:
        """The messages for the fields of a plan."""
        return [
            diagnostics.attribute_path(diagnostics.attribute_steps(name, self._fields))
            for name in names
        ]

    def apply(self, *, prior: Values | None, plan: Values | None, config: Values | None) -> Outcome:
        """Create, update or delete, as there is no prior state, both, or no plan."""
        if plan is None:
            return self._delete(prior or {})
        if prior is None:
            return self._create(plan, config=config or {})
        return self._update(plan, config=config or {}, prior=prior)

    def _create(self, plan: Values, *, config: Values) -> Outcome:
        """Make it, under a token of its own for each call: what is there is never adopted."""
        from clonepool_resources.lifecycle import NotSettled  # noqa: PLC0415 - see _lifecycle

        inputs = self._inputs(plan, config)
        noted: list[str] = []
        try:
            lifecycle = self._lifecycle(plan, verb="create", warn=noted.append)
            state = lifecycle.create(inputs, token=str(uuid.uuid4()))
        except NotSettled as begun:
            return self._half_made(begun, plan, lifecycle)
        except ClonepoolError as error:
            return Outcome(values=None, said=self._said(error, inputs, doing="Creating"))
        said = [
            diagnostics.warning(f"{self._title(inputs)} goes on without its ticket", note)
            for note in noted
        ]
        return Outcome(values=self._applied(plan, state), said=said)

    def _update(self, plan: Values, *, config: Values, prior: Values) -> Outcome:
        """Change it in place."""
        inputs = self._inputs(plan, config)
        try:
            state = self._lifecycle(plan, verb="update").update(prior["id"], inputs=inputs)
        except ClonepoolError as error:
            return Outcome(values=prior, said=self._said(error, inputs, doing="Updating"))
        return Outcome(values=self._applied(plan, state))

    def _delete(self, prior: Values) -> Outcome:
        """Delete, or release, this incarnation; one that is gone is no error."""
        inputs = self._declared(prior)
        try:
            self._lifecycle(prior, verb="delete").delete(prior["id"], prior=inputs)
        except ClonepoolError as error:
            return Outcome(values=prior, said=self._said(error, inputs, doing="Deleting"))
        return Outcome(values=None)

    def read(self, current: Values) -> Outcome:
        """It as it is now; None values when this incarnation is gone."""
        if not self._session.is_reachable:
            return Outcome(values=current)
        inputs = self._declared(current)
        try:
            state = self._lifecycle(current, verb="read").read(current["id"], prior=inputs)
        except ClonepoolError as error:
            return Outcome(values=current, said=self._said(error, inputs, doing="Reading"))
        if state is None:
            return Outcome(values=None)
        return Outcome(values=self._seen(current, state), said=self._warnings(state))

    def find(self, id_or_name: str) -> Outcome:
        """What an import begins with: the id alone, since Terraform reads it next."""
        try:
            found = id_or_name
            if not _UUID.fullmatch(id_or_name):
                found = self._lifecycle({}, verb="read").find_id(id_or_name)
        except ClonepoolError as error:
            return Outcome(values=None, said=self._said(error, {}, doing="Importing"))
        return Outcome(values={**typed_fields({}, self._fields), ID.name: found})

    def upgrade(self, raw: dict[str, Any], *, version: int) -> Values:
        """A state of an older version as one of today's. Raises FailedPrecondition."""
        for older in range(version, self._managed.version):
            if older not in self._upgrades:
                raise FailedPrecondition(
                    f"a {self._managed.type_name} of schema version {older} can't be read by this "
                    "provider; apply once with the provider's version that made it, then again"
                )
            raw = self._upgrades[older](raw)
        return typed_fields(raw, self._fields)

    def _lifecycle(
        self, values: Values, *, verb: str, warn: Callable[[str], None] = LOG.warning
    ) -> Lifecycle:
        # imported on use: validating and planning go without the engine's messages
        from clonepool_resources.lifecycle import DEFAULT_TIMEOUT_S  # noqa: PLC0415
        from clonepool_resources.waiting import Waiting  # noqa: PLC0415

        module, _, name = self._managed.lifecycle.partition(":")
        kind: type[Lifecycle] = getattr(import_module(module), name)
        stop = self._session.stop
        limit = (values.get("timeouts") or {}).get(verb)
        return kind(
            client=self._session.client,
            waiting=Waiting(
                report=LOG.info,
                warn=warn,
                stopped=stop.is_set,
                sleep=stop.wait,
            ),
            timeout_s=parse_duration(limit) if limit else DEFAULT_TIMEOUT_S,
            hold=self._session.hold,
        )

    def _declared(self, values: Values) -> Values:
        """The inputs as the lifecycle takes them."""
        return only(given(values), self._managed.declared.inputs)

    def _inputs(self, plan: Values, config: Values) -> Values:
        return self._declared(with_write_only(self._managed.shown.inputs, plan, config))

    def _applied(self, plan: Values, state: State) -> Values:
        """What was planned, to the letter, and what only the apply could tell."""
        return {
            field.name: self._output(field, state) if planned is UNKNOWN else planned
            for field in self._fields
            for planned in (plan[field.name],)
        }

    def _seen(self, current: Values, state: State) -> Values:
        """What the engine has, in the state's words wherever both mean the same."""
        shown = self._managed.shown
        live = echo(state.inputs, given(current), shown.inputs)
        # an import has no words of its own yet: what is left out is the default
        inputs = plan_inputs(shown.inputs, config=typed_fields(live, shown.inputs), prior=None)
        outputs = {field.name: self._output(field, state) for field in shown.outputs}
        return {field.name: {**inputs, **outputs}[field.name] for field in self._fields}

    def _output(self, wanted: Field, state: State) -> Any:
        outputs = {
            **state.inputs,
            **state.outputs,
            ID.name: state.id,
            TROUBLE: state.trouble,
            SERVER_NAME.name: state.outputs.get("server"),
        }
        return typed(outputs.get(wanted.name), wanted.type)

    def _half_made(self, begun: NotSettled, plan: Values, lifecycle: Lifecycle) -> Outcome:
        if begun.worthless and lifecycle.undo(begun.state):
            said = self._said(begun.cause, begun.state.inputs, doing="Creating")
            return Outcome(values=None, said=said)
        title = self._title(begun.state.inputs)
        said = [diagnostics.failure(f"{title} is not finished", f"{begun.cause}\n\n{_KEPT}")]
        return Outcome(values=self._applied(plan, begun.state), said=said)

    def _said(
        self, error: ClonepoolError, inputs: Mapping[str, Any], *, doing: str
    ) -> list[pb.Diagnostic]:
        return diagnostics.errors(
            error,
            self._fields,
            doing=f"{doing} {self._title(inputs)}",
            type_name=self._managed.type_name,
        )

    def _warnings(self, state: State) -> list[pb.Diagnostic]:
        if not state.trouble:
            return []
        title = self._title(state.inputs)
        text = f"{state.trouble}\n\nThe next apply tries again."
        return [diagnostics.warning(f"{title} needs attention", text, attribute=TROUBLE)]

    def _title(self, inputs: Mapping[str, Any]) -> str:
        return f"{self._managed.declared.title} {inputs.get('name', '')}".strip()
