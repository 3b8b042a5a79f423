"""What a forecast says where some of the stock is held."""

from __future__ import annotations

from typing import Any

from clonepool.domain.forecast import Forecast, Outcome, Plan, PoolView, TicketView
from clonepool.domain.forecast_run import forecast
from clonepool.domain.states import WhenEmpty
from tests.unit.test_forecast import attach, outcomes, pool, snapshot

WARM, WAITS, FAILS = Outcome.WARM, Outcome.WAITS, Outcome.FAILS


def held(*tickets: tuple[str, int], spec: dict[str, Any] | None = None, **changes: Any) -> PoolView:
    """Four ready replicas, and who holds how many of them, the oldest ticket first."""
    views = tuple(TicketView(ticket=name, remaining=left) for name, left in tickets)
    return pool(spec, **{"ready": {1: 4}, "tickets": views, **changes})


def ask(view: PoolView, *names: str, hold: str = "") -> Forecast:
    return forecast(Plan(changes=attach(*names), hold=hold), snapshot(view))


def test_what_is_held_for_others_is_not_there_for_a_plan() -> None:
    made = ask(held(("theirs", 3)), "a", "b")
    assert [WARM, WAITS] == outcomes(made)
    assert [False, False] == [each.held for each in made.attachments]


def test_a_ticket_brings_its_own_stock_and_then_what_is_anybodys() -> None:
    made = ask(held(("mine", 2), ("theirs", 1)), "a", "b", "c", "d", hold="mine")
    assert [WARM, WARM, WARM, WAITS] == outcomes(made)
    assert [True, True, False, False] == [each.held for each in made.attachments]


def test_a_ticket_stands_in_no_queue() -> None:
    made = ask(held(("mine", 1), waiting=3), "a", "b", hold="mine")
    assert [WARM, WAITS] == outcomes(made)


def test_only_older_tickets_go_before_one_where_stock_was_lost() -> None:
    lost = held(("older", 1), ("mine", 1), ("newer", 1), ready={1: 1})
    assert [WAITS] == outcomes(ask(lost, "a", hold="mine"))
    assert [WARM] == outcomes(ask(lost, "a", hold="older"))


def test_an_unknown_ticket_is_like_none() -> None:
    view = held(("theirs", 3))
    assert outcomes(ask(view, "a", "b")) == outcomes(ask(view, "a", "b", hold="unknown"))


def test_a_pool_refills_beside_what_stays_held() -> None:
    made = ask(held(("theirs", 2), spec={"max_replicas": 9}), "a").pools[0]
    assert (2, 2) == (made.before.held, made.after.held)
    assert 4 == made.after.ready


def test_what_a_plan_takes_by_its_ticket_is_no_longer_held() -> None:
    made = ask(held(("mine", 2), spec={"max_replicas": 9}), "a", hold="mine").pools[0]
    assert (2, 1) == (made.before.held, made.after.held)


def test_who_is_not_served_hears_what_is_held() -> None:
    full = held(("theirs", 4), spec={"max_replicas": 4, "min_ready": 0})
    made = ask(full, "a")
    assert [FAILS] == outcomes(made)
    assert "4 held for tickets" in made.failures[0].text
    refused = held(("theirs", 4), spec={"when_empty": WhenEmpty.FAIL})
    assert "4 held for tickets" in ask(refused, "a").failures[0].text
