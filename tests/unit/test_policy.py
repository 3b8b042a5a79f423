"""What should be done next, as pure decisions on counts."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from clonepool.domain.model import PoolCounts, PoolSpec, ScrubPolicy
from clonepool.domain.policy import (
    Backlog,
    Stock,
    backoff_s,
    plan_fill,
    recycle_quota,
    scrub_trigger,
)
from clonepool.domain.states import AfterScrub, VolumeState

EMPTY = Stock(ready=0, stale=0, making=0, recycling=0, occupied=0, waiting=0)


def pool(**changes: object) -> PoolSpec:
    return replace(
        PoolSpec(name="web", master_image="web", min_ready=3, max_replicas=10), **changes
    )


def stock(**counts: int) -> Stock:
    """A stock whose occupied volumes are at least those that the counts name."""
    found = replace(EMPTY, **counts)
    held = found.ready + found.stale + found.making
    return found if "occupied" in counts else replace(found, occupied=held)


def test_an_empty_pool_is_filled_up_to_min_ready() -> None:
    assert 3 == plan_fill(pool(), EMPTY).make


def test_what_is_being_made_already_is_not_made_again() -> None:
    assert 1 == plan_fill(pool(), stock(ready=1, making=1)).make


def test_filling_stops_at_max_replicas() -> None:
    assert 2 == plan_fill(pool(), stock(occupied=8)).make


def test_a_full_pool_makes_nothing_even_for_who_waits() -> None:
    assert 0 == plan_fill(pool(), stock(occupied=10, waiting=4)).make


def test_each_waiter_gets_a_replica_beside_min_ready() -> None:
    assert 5 == plan_fill(pool(), stock(waiting=2)).make


def test_a_filled_pool_is_left_alone() -> None:
    plan = plan_fill(pool(), stock(ready=3, occupied=6))
    assert (0, 0, 0) == (plan.make, plan.retire_stale, plan.retire_surplus)


def test_a_rollout_gives_up_as_many_as_max_unavailable() -> None:
    plan = plan_fill(pool(max_unavailable=2), stock(stale=3))
    assert (0, 2) == (plan.make, plan.retire_stale)


def test_a_rollout_goes_on_only_when_the_replacement_is_ready() -> None:
    """While one is missing, the next stale replica stays: a version that can't be cloned stops."""
    assert 0 == plan_fill(pool(), stock(stale=2)).retire_stale
    assert 0 == plan_fill(pool(), stock(stale=2, making=1)).retire_stale
    assert 1 == plan_fill(pool(), stock(stale=2, ready=1)).retire_stale


def test_a_rollout_at_max_replicas_makes_room_first() -> None:
    plan = plan_fill(pool(), stock(stale=3, occupied=10))
    assert (0, 1) == (plan.make, plan.retire_stale)


def test_who_waits_needs_the_current_version_so_stale_replicas_make_room_at_once() -> None:
    plan = plan_fill(pool(), stock(stale=3, occupied=10, waiting=3))
    assert (0, 3) == (plan.make, plan.retire_stale)


def test_with_room_a_waiter_costs_no_stale_replica() -> None:
    plan = plan_fill(pool(), stock(stale=3, waiting=1))
    assert (1, 0) == (plan.make, plan.retire_stale)


def test_ready_replicas_beyond_min_ready_are_given_up() -> None:
    assert 2 == plan_fill(pool(), stock(ready=5)).retire_surplus


def test_replicas_for_who_waits_are_no_surplus() -> None:
    assert 0 == plan_fill(pool(), stock(ready=5, waiting=2)).retire_surplus


def test_a_pool_refills_beside_what_is_held() -> None:
    assert 2 == plan_fill(pool(), stock(ready=3, held=2)).make


def test_a_held_replica_is_no_surplus() -> None:
    assert 0 == plan_fill(pool(min_ready=0), stock(ready=2, held=2)).retire_surplus
    assert 1 == plan_fill(pool(min_ready=0), stock(ready=3, held=2)).retire_surplus


def test_who_waits_gets_a_replica_beside_the_held_ones() -> None:
    assert 1 == plan_fill(pool(min_ready=0), stock(ready=2, held=2, waiting=1)).make


def test_stale_replicas_make_room_at_once_for_what_is_held() -> None:
    plan = plan_fill(pool(max_replicas=3), stock(stale=3, held=2))
    assert (0, 2) == (plan.make, plan.retire_stale)


def test_a_scrub_reuses_for_what_is_held() -> None:
    assert 4 == recycle_quota(pool(), stock(ready=1, held=2), released=5)


def test_of_too_many_the_stale_ones_go_first() -> None:
    """min_ready was lowered during a rollout: current replicas stay, old ones are surplus."""
    plan = plan_fill(pool(min_ready=3), stock(ready=3, stale=3))
    assert (3, 0) == (plan.retire_stale, plan.retire_surplus)


def test_volumes_that_a_scrub_brings_back_are_not_made_a_second_time() -> None:
    counts = PoolCounts(by_state={VolumeState.SCRUBBING: 3}, recycling=3)
    assert 0 == plan_fill(pool(), Stock.of(counts)).make
    assert 2 == plan_fill(pool(), Stock.of(replace(counts, recycling=1))).make


def test_who_waits_does_not_wait_for_a_scrub_where_there_is_room() -> None:
    """Overwriting can take hours; a fresh clone takes milliseconds."""
    counts = PoolCounts(by_state={VolumeState.SCRUBBING: 5}, recycling=5, waiting=2)
    assert 2 == plan_fill(pool(), Stock.of(counts)).make


specs = st.builds(
    lambda low, more, unavailable: pool(
        min_ready=low, max_replicas=low + more, max_unavailable=unavailable
    ),
    st.integers(0, 8),
    st.integers(0, 8),
    st.integers(1, 4),
)
small = st.integers(0, 8)
stocks = st.builds(
    lambda ready, stale, making, recycling, allocated, waiting, held: Stock(
        ready=ready,
        stale=stale,
        making=making,
        recycling=recycling,
        occupied=ready + stale + making + recycling + allocated,
        waiting=waiting,
        held=held,
    ),
    *[small] * 7,
)


@given(spec=specs, found=stocks)
def test_filling_never_exceeds_max_replicas(spec: PoolSpec, found: Stock) -> None:
    plan = plan_fill(spec, found)
    assert plan.make == 0 or found.occupied + plan.make <= spec.max_replicas


@given(spec=specs, found=stocks)
def test_no_current_replica_is_given_up_while_the_pool_is_short_of_them(
    spec: PoolSpec, found: Stock
) -> None:
    plan = plan_fill(spec, found)
    needed = spec.min_ready + found.waiting + found.held
    assert found.ready - plan.retire_surplus >= min(found.ready, needed)


@given(spec=specs, found=stocks)
def test_a_plan_is_never_negative_and_gives_up_no_more_than_there_is(
    spec: PoolSpec, found: Stock
) -> None:
    plan = plan_fill(spec, found)
    assert plan.make >= 0
    assert 0 <= plan.retire_stale <= found.stale
    assert 0 <= plan.retire_surplus <= found.ready


@given(spec=specs, found=stocks)
def test_a_rollout_never_takes_more_than_max_unavailable_at_a_time(
    spec: PoolSpec, found: Stock
) -> None:
    """Where nobody waits, nothing is held and nothing is surplus."""
    found = replace(found, waiting=0, held=0)
    if found.ready + found.stale > spec.min_ready:
        return
    plan = plan_fill(spec, found)
    assert plan.retire_stale == 0 or (
        plan.retire_stale + plan.make + found.making <= spec.max_unavailable
    )


def simulated(spec: PoolSpec, found: Stock) -> Stock:
    """One round: the plan carried out, everything made gets ready, who waits is served."""
    plan = plan_fill(spec, found)
    arrived = found.making + found.recycling
    ready = found.ready - plan.retire_surplus + arrived
    served = max(0, min(ready - found.held, found.waiting))
    return Stock(
        ready=ready - served,
        stale=found.stale - plan.retire_stale,
        making=plan.make,
        recycling=0,
        occupied=found.occupied + plan.make - plan.retire_stale - plan.retire_surplus,
        waiting=found.waiting - served,
        held=found.held,
    )


@given(spec=specs, found=stocks)
def test_filling_comes_to_rest_with_min_ready_or_a_full_pool(spec: PoolSpec, found: Stock) -> None:
    for _ in range(60):
        found = simulated(spec, found)
    assert found == simulated(spec, found)
    assert found.stale == 0
    assert found.making == 0
    full = found.occupied >= spec.max_replicas
    stocked = spec.min_ready + found.held
    assert full or (found.ready == stocked and found.waiting == 0)
    # who still waits in a full pool waits behind what is held
    assert found.ready <= stocked


def test_a_scrub_is_due_at_the_threshold_and_not_before() -> None:
    policy = ScrubPolicy(threshold=3)
    assert "" == scrub_trigger(policy, Backlog(volumes=2))
    assert "threshold" == scrub_trigger(policy, Backlog(volumes=3))


def test_a_scrub_refills_the_pool_up_to_min_ready() -> None:
    assert 2 == recycle_quota(pool(), stock(ready=1), released=5)


def test_a_scrub_reuses_for_who_waits_too() -> None:
    assert 4 == recycle_quota(pool(), stock(ready=1, waiting=2), released=5)


def test_a_scrub_reuses_no_more_than_it_has() -> None:
    assert 1 == recycle_quota(pool(), EMPTY, released=1)


def test_a_scrub_reuses_no_more_than_max_replicas_allows() -> None:
    assert 1 == recycle_quota(pool(), stock(occupied=9), released=5)


def test_a_pool_over_its_maximum_reuses_nothing() -> None:
    assert 0 == recycle_quota(pool(), stock(occupied=12), released=5)


def test_what_another_run_brings_back_is_not_brought_back_twice() -> None:
    found = Stock(ready=0, stale=0, making=0, recycling=2, occupied=2, waiting=0)
    assert 1 == recycle_quota(pool(), found, released=5)


def test_destroy_reuses_nothing() -> None:
    spec = pool(scrub=ScrubPolicy(then=AfterScrub.DESTROY))
    assert 0 == recycle_quota(spec, EMPTY, released=5)


@given(spec=specs, found=stocks, released=small)
def test_a_scrub_never_fills_beyond_max_replicas(
    spec: PoolSpec, found: Stock, released: int
) -> None:
    quota = recycle_quota(spec, found, released=released)
    assert 0 <= quota <= released
    assert quota == 0 or found.occupied + quota <= spec.max_replicas


def test_stock_counts_current_and_stale_apart() -> None:
    counts = PoolCounts(
        by_state={
            VolumeState.READY: 5,
            VolumeState.PLANNED: 2,
            VolumeState.CLONING: 1,
            VolumeState.ALLOCATED: 4,
            VolumeState.RELEASED: 7,
            VolumeState.SCRUBBING: 1,
            VolumeState.DELETING: 3,
            VolumeState.FAULTY: 2,
        },
        stale=2,
        making_stale=1,
        waiting=6,
        held=2,
    )
    expected = Stock(ready=3, stale=2, making=2, recycling=0, occupied=13, waiting=6, held=2)
    assert expected == Stock.of(counts)


def test_waiting_grows_from_a_second_to_a_minute() -> None:
    waits = [backoff_s(attempt=attempt) for attempt in range(1, 12)]
    assert [1.0, 2.0, 4.0] == waits[:3]
    assert waits == sorted(waits)
    assert 60.0 == waits[-1]


def test_a_huge_attempt_waits_a_minute() -> None:
    assert 60.0 == backoff_s(attempt=10**9)
