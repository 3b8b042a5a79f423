"""Everything at once: threads of one engine, a stale worker, two engines on one state.

One thread runs at a time and stops at each crash point; a seed says who goes on. The invariants
are looked at whenever somebody stops.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from clonepool.crash_points import Point
from clonepool.domain.states import ScrubMethod
from clonepool.errors import FailedPrecondition
from clonepool.host_lock import HostLock
from tests.crash.crew import POOL, site
from tests.crash.profiles import seeds

# longer than a lease
LEASE_OVER_S = 31.0


@pytest.mark.parametrize("seed", seeds(24))
def test_all_threads_of_an_engine_at_once(seed: int) -> None:
    """Callers, workers, planner, watcher and dispatcher, in any order."""
    with site(seed, engines=1) as here:
        first = here.first
        here.scheduler.run(
            {
                "a": here.caller(server=1, times=3),
                "b": here.caller(server=2, times=3),
                "worker 1": here.worker(first, times=12),
                "worker 2": here.worker(first, times=12),
                "planner": here.planner(first, times=6),
                "time": here.time(first, seconds=7.0, times=3),
                "roll-out": here.roll_out,
            }
        )
        assert [] == first.refused


@pytest.mark.parametrize("seed", seeds(12))
def test_a_daemon_that_dies_while_all_threads_are_at_work(seed: int) -> None:
    """Who is told to be released is, and who is attached gets his export back."""
    with site(seed, engines=1) as here:
        here.scheduler.run(
            {
                "a": here.caller(server=1, times=3),
                "b": here.caller(server=2, times=3),
                "worker": here.worker(here.first, times=12),
                "planner": here.planner(here.first, times=6),
                "watcher": here.watcher(times=2),
            }
        )


@pytest.mark.parametrize("seed", seeds(24))
def test_a_stale_worker_does_no_harm(seed: int) -> None:
    """Its lease ran out while it was at work, another did the work, and it goes on all the same."""
    with site(seed, engines=2) as here:
        (second,) = here.others
        here.scheduler.run(
            {
                "a": here.caller(server=1, times=4),
                "stale": here.worker(here.first, times=8),
                "stale too": here.worker(here.first, times=8),
                "worker": here.worker(second, times=16),
                "planner": here.planner(here.first, times=6),
                # the dispatcher of the first one hangs: it renews nothing
                "time": here.time(second, seconds=LEASE_OVER_S, times=3),
            }
        )


@pytest.mark.parametrize("seed", seeds(24))
def test_two_engines_on_one_state_overfill_nothing_and_do_nothing_twice(seed: int) -> None:
    """What the host lock keeps from happening: the fences and guards hold without it."""
    with site(seed, engines=2) as here:
        (second,) = here.others
        here.scheduler.run(
            {
                "a": here.caller(server=1, times=3),
                "b": here.caller(server=2, times=3),
                "worker": here.worker(here.first, times=10),
                "other worker": here.worker(second, times=10),
                "planner": here.planner(here.first, times=6),
                "other planner": here.planner(second, times=6),
                "start": second.engine._worker.start,
                "roll-out": here.roll_out,
            }
        )
        ends = [(each.volume_id, each.generation) for each in here.world.rows().records]
        assert len(ends) == len(set(ends))


@pytest.mark.parametrize(
    "stale_at",
    [Point.WORK_CLAIMED, Point.CLONE_MADE, Point.SCRUB_UNEXPORTED, Point.SCRUB_ERASED,
     Point.DELETE_UNEXPORTED, Point.WORK_DONE],
)  # fmt: skip
def test_an_end_that_comes_after_the_lease_is_refused(stale_at: Point) -> None:
    """Another worker took the work over, and ended it; the stale one can't end it once more."""
    with site(list(ScrubMethod).index(ScrubMethod.ZERO), engines=2) as here:
        (second,), left = here.others, [True]

        def take_over(point: Point) -> None:
            here._note_what_may_be_left()
            if point is not stale_at or not left:
                return
            left.clear()
            here.world.machine.clock.advance(LEASE_OVER_S)
            # on a thread of its own, as everything of another engine is
            with ThreadPoolExecutor(1) as other:
                other.submit(second.beat).result()
                assert other.submit(second.work).result()

        use = here.world.new_use(POOL, server=1, user=0)
        here.world.ask(use)
        here.world.release(use, force=True)
        here.first.look()
        here.world.between = take_over
        here.world.change_image("image")
        for _ in range(20):
            here.first.look()
            here.first.work()
        assert not left
        assert ["FENCE"] == [error.reason for error in here.first.refused]
        assert [] == second.refused


def test_the_host_lock_keeps_a_second_engine_out() -> None:
    with site(0, engines=1) as here, pytest.raises(FailedPrecondition, match="another engine"):
        HostLock(here.world.machine.state_dir / "engine.lock").acquire(wait_s=0)


def test_the_same_seed_is_the_same_run() -> None:
    """Else a failure could not be looked into."""
    runs = []
    for _ in range(2):
        with site(1, engines=2) as here:
            here.scheduler.run(
                {
                    "a": here.caller(server=1, times=2),
                    "worker": here.worker(here.others[0], times=6),
                    "planner": here.planner(here.first, times=4),
                }
            )
            reached = dict(here.world.reached)
            runs.append((here.scheduler.steps, reached))
    assert runs[0] == runs[1]
