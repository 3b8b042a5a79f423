"""The dynamic providers: Pulumi's hooks over the resources' lifecycles.

Pulumi keeps a reference to these classes (module and class name, 60-odd characters) in users'
states: never rename or move them. They hold nothing but what ``configure`` finds, and four threads
share one instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final

from pulumi import output
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    ResourceProvider,
    UpdateResult,
)

from clonepool.errors import ClonepoolError, FieldViolation
from clonepool_resources.check import check
from clonepool_resources.diff import diff
from clonepool_resources.lifecycle import Lifecycle, NotSettled, State
from clonepool_resources.server_lifecycle import AttachmentLifecycle, ServerLifecycle
from clonepool_resources.storage_lifecycle import ImageLifecycle, PoolLifecycle
from clonepool_resources.types import Resource
from clonepool_resources.waiting import Waiting
from pulumi_clonepool.errors import ProviderError, show_errors_in_one_line
from pulumi_clonepool.progress import report, warn
from pulumi_clonepool.settings import Settings, engine_client

REQUEST_TOKEN: Final = "__request_token"  # noqa: S105 - a property's name
"""The hidden input that carries the create's token; Pulumi displays no property with ``__``."""

TROUBLE: Final = "__trouble"
"""The hidden output that asks for an update where no input changed."""

Properties = dict[str, Any]


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Let our own errors out as one line; a defect keeps its traceback."""
    try:
        yield
    except ClonepoolError as error:
        raise ProviderError(error.one_line()) from None


def is_unknown(value: object) -> bool:
    """Whether a value is only known after the apply."""
    return isinstance(value, output.Unknown)


class ClonepoolProvider(ResourceProvider):
    """The hooks that all four resources share."""

    lifecycle_class: ClassVar[type[Lifecycle]]
    # no secret is pickled; as a secret it would hide every diff of its resource
    serialize_as_secret_always = False

    def configure(self, req: ConfigureRequest) -> None:
        """Take the stack's settings; nothing is connected yet."""
        show_errors_in_one_line()
        with _one_line_errors():
            self._settings = Settings.of(req.config.get)

    def check(self, _olds: Properties, news: Properties) -> CheckResult:
        """Fill in defaults and name what is wrong, each with its path; needs no engine."""
        checked = check(self._resource, _declared(news), is_unknown=is_unknown)
        inputs = {**checked.inputs, REQUEST_TOKEN: _token(_olds) or _token(news)}
        return CheckResult(inputs, _failures(checked.failures))

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> DiffResult:
        """Name what forces a replacement; the rest is left to Pulumi's own detailed diff."""
        changed = diff(
            self._resource, old=_declared(_olds), new=_declared(_news), is_unknown=is_unknown
        )
        if not changed:
            return DiffResult(changes=bool(_olds.get(TROUBLE)))
        return DiffResult(changes=None, replaces=list(changed.replaces), delete_before_replace=True)

    def create(self, props: Properties) -> CreateResult:
        """Make it and wait until it is usable; a repeated create finds what it began before."""
        inputs, token = self._checked(props), _token(props)
        with _one_line_errors():
            lifecycle = self._lifecycle()
            try:
                state = lifecycle.create(inputs, token=token)
            except NotSettled as begun:
                # a dynamic resource is created or not: what can't be used must not stay behind
                if begun.worthless:
                    lifecycle.undo(begun.state)
                raise begun.cause from None
        return CreateResult(state.id, _applied(state, inputs, token=token))

    def read(self, id_: str, props: Properties) -> ReadResult:
        """See it as it is now; an empty id says that it is gone."""
        with _one_line_errors():
            state = self._lifecycle().read(id_, prior=_declared(props))
        if state is None:
            return ReadResult("", {})
        token = _token(props)
        inputs = {**state.inputs, REQUEST_TOKEN: token}
        return ReadResult(state.id, _applied(state, state.inputs, token=token), inputs=inputs)

    def update(self, _id: str, _olds: Properties, _news: Properties) -> UpdateResult:
        """Change it in place."""
        inputs = self._checked(_news)
        with _one_line_errors():
            state = self._lifecycle().update(_id, inputs=inputs)
        return UpdateResult(_applied(state, inputs, token=_token(_news)))

    def delete(self, _id: str, _props: Properties) -> None:
        """Delete, or release, this incarnation; one that is gone is no error."""
        with _one_line_errors():
            self._lifecycle().delete(_id, prior=_declared(_props))

    @property
    def _resource(self) -> Resource:
        return self.lifecycle_class.resource

    def _lifecycle(self) -> Lifecycle:
        return self.lifecycle_class(
            client=engine_client(self._settings),
            waiting=Waiting(report=report, warn=warn),
            timeout_s=self._settings.timeout_s,
            hold=self._settings.hold,
        )

    def _checked(self, props: Properties) -> Properties:
        """Inputs as the lifecycle takes them: Pulumi hands every number in as a double."""
        return check(self._resource, _declared(props), is_unknown=is_unknown).inputs


class MasterImageProvider(ClonepoolProvider):
    """Makes master images."""

    lifecycle_class = ImageLifecycle


class ReplicaPoolProvider(ClonepoolProvider):
    """Makes replica pools."""

    lifecycle_class = PoolLifecycle


class ServerProvider(ClonepoolProvider):
    """Makes servers."""

    lifecycle_class = ServerLifecycle


class ServerStorageAttachmentProvider(ClonepoolProvider):
    """Makes attachments."""

    lifecycle_class = AttachmentLifecycle


def _declared(props: Properties) -> Properties:
    """The properties without the hidden ones, Pulumi's and ours."""
    return {name: value for name, value in props.items() if not name.startswith("__")}


def _token(props: Properties) -> str:
    return str(props.get(REQUEST_TOKEN) or "")


def _applied(state: State, inputs: Any, *, token: str) -> Properties:
    """Everything that is kept: the inputs as written, since the next diff compares with them."""
    kept = {**inputs, **state.outputs, REQUEST_TOKEN: token}
    return {**kept, TROUBLE: state.trouble} if state.trouble else kept


def _failures(violations: Iterable[FieldViolation]) -> list[CheckFailure]:
    return [CheckFailure(violation.field, violation.description) for violation in violations]
