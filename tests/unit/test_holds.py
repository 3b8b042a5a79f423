"""What may be held of a pool."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clonepool.domain.holds import Limits, PoolStock, Wanted, check, most_held, too_long
from clonepool.errors import ResourceExhausted

LIMITS = Limits(max_share_percent=50, max_duration_s=3600, max_tickets=3)
STOCK = PoolStock(max_replicas=10, ready=8, held=0, waiting=0, tickets=0)


def reason(count: int, **changes: int) -> str:
    """Why so many are refused; "" where they are not."""
    try:
        check(Wanted(pool="web", count=count), replace(STOCK, **changes), LIMITS)
    except ResourceExhausted as error:
        return error.reason
    return ""


def test_half_of_a_pool_may_be_held_and_no_more() -> None:
    assert ["", "HOLD_QUOTA"] == [reason(5), reason(6)]
    assert ["", "HOLD_QUOTA"] == [reason(2, held=3), reason(3, held=3)]


def test_one_replica_may_be_held_of_the_smallest_pool() -> None:
    assert ["", "HOLD_QUOTA"] == [reason(1, max_replicas=1), reason(2, max_replicas=1)]


def test_only_what_is_ready_and_neither_held_nor_waited_for_can_be_held() -> None:
    found = [reason(2, ready=ready, held=1, waiting=1) for ready in (4, 3, 0)]
    assert ["", "HOLD_STOCK", "HOLD_STOCK"] == found


def test_a_pool_has_so_many_open_tickets_at_most() -> None:
    assert ["", "HOLD_TICKETS"] == [reason(1, tickets=2), reason(1, tickets=3)]


def test_a_refusal_has_the_figures_and_the_way_out() -> None:
    with pytest.raises(ResourceExhausted) as refused:
        check(Wanted(pool="web", count=4), replace(STOCK, ready=5, held=1, waiting=2), LIMITS)
    assert (
        "pool web has 2 ready replicas to hold (5 ready, 1 held, 2 waited for), 4 are asked for; "
        "ask for fewer, or again when the pool has refilled, or raise min_ready"
    ) == str(refused.value)
    assert {"ready": "5", "held": "1", "waiting": "2", "tickets": "0"} == refused.value.metadata


def test_a_hold_lasts_as_long_as_the_engine_allows() -> None:
    assert "" == too_long(LIMITS, duration_s=3600)
    assert "longer than a hold may last, 1h" in too_long(LIMITS, duration_s=3601)


@given(
    counts=st.lists(st.integers(1, 8), max_size=8),
    max_replicas=st.integers(1, 20),
    ready=st.integers(0, 20),
    waiting=st.integers(0, 5),
)
def test_however_many_ask_no_pool_is_drained(
    counts: list[int], max_replicas: int, ready: int, waiting: int
) -> None:
    stock = replace(STOCK, max_replicas=max_replicas, ready=ready, waiting=waiting)
    for count in counts:
        try:
            check(Wanted(pool="web", count=count), stock, LIMITS)
        except ResourceExhausted:
            continue
        stock = replace(stock, held=stock.held + count, tickets=stock.tickets + 1)
    assert stock.held <= most_held(LIMITS, max_replicas=max_replicas)
    assert stock.held == 0 or stock.held + waiting <= ready
    assert stock.tickets <= LIMITS.max_tickets
