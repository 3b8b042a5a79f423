"""The RPC of forecasts: a plan checked and made the domain's, the answer made a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.domain.forecast import (
    Attach,
    AttachmentForecast,
    Change,
    Forecast,
    Plan,
    PoolForecast,
    PutImage,
    PutPool,
    PutServer,
    Remove,
    Thing,
)
from clonepool.service import specs, validate
from clonepool.service.dispatch import Handler
from clonepool.service.findings import Findings

if TYPE_CHECKING:
    from clonepool.controllers.forecasts import Forecasts

_CHANGES_LIMIT: Final = 10_000
_REMOVALS: Final[Mapping[str, Thing]] = {
    "release": Thing.ATTACHMENT,
    "delete_pool": Thing.POOL,
    "delete_image": Thing.IMAGE,
    "delete_server": Thing.SERVER,
}


class ForecastHandlers:
    """Forecasts over the wire."""

    def __init__(self, *, forecasts: Forecasts) -> None:
        self._forecasts = forecasts

    def methods(self) -> Mapping[str, Handler]:
        """The RPCs by name."""
        return {"Forecast": self.make}

    def make(self, request: pb.ForecastRequest) -> pb.ForecastResponse:
        """What a plan does."""
        _check(request)
        plan = Plan(
            changes=tuple(_change(message) for message in request.changes),
            stop_at_failure=request.stop_at_failure,
            hold=request.hold,
        )
        return _answer(self._forecasts.make(plan=plan))


def _check(request: pb.ForecastRequest) -> None:
    findings = Findings()
    findings.require(
        len(request.changes) <= _CHANGES_LIMIT, "changes", f"at most {_CHANGES_LIMIT} changes"
    )
    validate.ticket(request.hold, findings)
    for index, message in enumerate(request.changes[:_CHANGES_LIMIT]):
        findings.require(
            message.WhichOneof("change"), f"changes[{index}]", "says nothing that is to change"
        )
        validate.planned_words(message, findings, field=f"changes[{index}]")
    findings.refuse()


def _change(message: pb.PlannedChange) -> Change:
    given: str = message.WhichOneof("change") or ""
    if given in _REMOVALS:
        name = getattr(message, given)
        return Remove(thing=_REMOVALS[given], name=name, label=message.label, first=message.first)
    order: dict[str, Any] = {"key": message.key, "after": frozenset(message.after)}
    if given == "attach":
        return Attach(
            **order,
            spec=specs.attachment(message.attach),
            label=message.label,
            unknown=frozenset(message.unknown),
        )
    if given == "put_image":
        return _put_image(message, order)
    if given == "put_pool":
        spec = specs.pool(message.put_pool)
        return PutPool(spec=spec, label=message.label, create=message.create, **order)
    server = specs.server(message.put_server)
    return PutServer(spec=server, label=message.label, create=message.create, **order)


def _put_image(message: pb.PlannedChange, order: Mapping[str, Any]) -> PutImage:
    image = message.put_image
    told = image.HasField("content_changes")
    return PutImage(
        **order,
        spec=specs.image(image.spec),
        label=message.label,
        create=message.create,
        content_changes=image.content_changes if told else None,
    )


def _answer(made: Forecast) -> pb.ForecastResponse:
    return pb.ForecastResponse(
        attachments=[_attachment(each) for each in made.attachments],
        pools=[_pool(each) for each in made.pools],
        images=[pb.ImageForecast(**asdict(each)) for each in made.images],
        failures=[pb.ForecastFailure(**asdict(each)) for each in made.failures],
        deletes_skipped=made.deletes_skipped,
    )


def _attachment(made: AttachmentForecast) -> pb.AttachmentForecast:
    return pb.AttachmentForecast(**{**asdict(made), "outcome": made.outcome.value})


def _pool(made: PoolForecast) -> pb.PoolForecast:
    counts = {when: pb.StockCounts(**asdict(getattr(made, when))) for when in ("before", "after")}
    return pb.PoolForecast(**{**asdict(made), **counts})
