"""Forecasts for tests of the service and the CLI: one answer, whatever the plan is."""

from __future__ import annotations

from dataclasses import replace

from clonepool.domain.forecast import (
    AttachmentForecast,
    Failure,
    Forecast,
    Outcome,
    Plan,
    PoolForecast,
    StockCounts,
)

ANSWER = Forecast(
    attachments=(
        AttachmentForecast(label="one", name="one", pool="web", outcome=Outcome.WARM),
        AttachmentForecast(
            label="two",
            name="two",
            pool="web",
            outcome=Outcome.WAITS,
            place=1,
            wait_s=0.4,
            estimate="place 1 at 0.4 s a clone, the mean of the last 20 clones",
        ),
        AttachmentForecast(
            label="three", name="three", pool="web", outcome=Outcome.FAILS, reason="SERVER_TAKEN"
        ),
    ),
    pools=(
        PoolForecast(
            name="web",
            before=StockCounts(ready=1, allocated=4, released=1),
            after=StockCounts(ready=1, allocated=4),
            created=False,
            deleted=False,
            threshold=3,
            reaches_threshold=True,
            scrubbed=4,
            scrubbed_at_least=3,
            scrubbed_bytes=4 * 2**30,
            recycled=1,
            destroyed=3,
            stale_replaced=0,
            servers_on_old_version=2,
            image_version=2,
        ),
    ),
    images=(),
    failures=(
        Failure(
            subject="attachment/three",
            label="three",
            reason="SERVER_TAKEN",
            text="server web3 serves customer acme; release those first, then run again",
        ),
    ),
    deletes_skipped=False,
)


def with_held(answer: Forecast, *held: AttachmentForecast) -> Forecast:
    """The answer with its warm attachments in other words."""
    others = [each for each in answer.attachments if each.outcome is not Outcome.WARM]
    return replace(answer, attachments=(*held, *others))


class FakeForecasts:
    """Keeps the plans that it was asked about; a test may set another answer."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.answer = ANSWER

    def make(self, *, plan: Plan) -> Forecast:
        self.plans.append(plan)
        return self.answer
