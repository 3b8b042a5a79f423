"""Everything at once: threads of one engine, a stale worker, two engines on one state.

One thread runs at a time and stops at each crash point; a seed says who goes on. The invariants
are looked at whenever somebody stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from clonepool.crash_points import Point
from clonepool.domain.model import ScrubPolicy
from clonepool.domain.states import AfterScrub, ScrubMethod
from clonepool.errors import FailedPrecondition
from clonepool.host_lock import HostLock
from clonepool.testing.stepped import SteppedEngine
from tests.crash.profiles import seeds
from tests.crash.rest import check_rest
from tests.crash.scheduler import Scheduler, SteppedLock
from tests.crash.users import Known
from tests.crash.world import World

POOL = "pool"
# longer than a lease
LEASE_OVER_S = 31.0


class Site:
    """A world whose engine, and perhaps a second one, is driven by several threads."""

    def __init__(self, seed: int, *, engines: int, method: ScrubMethod) -> None:
        self.world = World()
        self.scheduler = Scheduler(seed)
        self.world.create_image("image")
        self.world.work()
        policy = ScrubPolicy(threshold=1, method=method, then=AfterScrub.RECYCLE)
        self.world.create_pool(POOL, image="image", scrub=policy, min_ready=2, max_replicas=3)
        self.world.settle()
        self.first = self.world.life
        self.others = [SteppedEngine(self.world.machine, locked=False) for _ in range(engines - 1)]
        for life in (self.first, *self.others):
            life.share_turns(self.scheduler.pause, lambda: SteppedLock(self.scheduler))
        self.world.is_concurrent = True
        self.world.exports_may_be_left = engines > 1
        self.world.between = self._between

    def _between(self, point: Point) -> None:
        if self.others:
            self._note_what_may_be_left()
        self.scheduler.at(point)

    def _note_what_may_be_left(self) -> None:
        """A stale worker may make once more what was made, used and deleted since."""
        rows = self.world.rows()
        for volume in rows.volumes:
            if volume.state == "cloning":
                self.world.may_be_left.add(volume.object_name)
        for name, version in rows.portions().items():
            if version.state == "importing":
                self.world.may_be_left.add(name)

    def worker(self, life: SteppedEngine, *, times: int) -> Callable[[], None]:
        """A worker thread: claims, works, claims."""

        def act() -> None:
            operation = None
            for _ in range(times):
                operation = operation or life.claim()
                self.scheduler.pause()
                operation = life.run(operation) if operation else None

        return act

    def planner(self, life: SteppedEngine, *, times: int) -> Callable[[], None]:
        """A planner thread; only the first engine has the attachments to tidy."""

        def act() -> None:
            for _ in range(times):
                for step in life.engine._planner._steps[life is not self.first :]:
                    step()
                    self.scheduler.pause()

        return act

    def caller(self, *, server: int, times: int) -> Callable[[], None]:
        """Attaches and releases, over and over, with some impatience."""

        def act() -> None:
            for turn in range(times):
                use = self.world.new_use(POOL, server=server, user=0)
                for _ in range(10):
                    self.world.ask(use)
                    self.scheduler.pause()
                    if use.known is Known.ATTACHED and turn % 2:
                        # two callers at once: the first one's answer may have been lost
                        self.world.ask(use)
                    if use.known is Known.ATTACHED:
                        break
                self.world.release(use, force=turn % 2 == 0)

        return act

    def watcher(self, *, times: int) -> Callable[[], None]:
        """The fabric's daemon dies now and then, and its exports are made again."""

        def act() -> None:
            for _ in range(times):
                self.world.lose_exports()
                self.scheduler.pause()
                self.first.watch()
                self.world.exports_lost = False
                self.scheduler.pause()

        return act

    def time(self, *lives: SteppedEngine, seconds: float, times: int) -> Callable[[], None]:
        """Time passes, and these engines' dispatchers beat: what nobody renewed is put back."""

        def act() -> None:
            for _ in range(times):
                self.world.machine.clock.advance(seconds)
                for life in lives:
                    self.scheduler.pause()
                    life.beat()

        return act

    def roll_out(self) -> None:
        """A new version of the image."""
        self.world.change_image("image")

    def end(self) -> None:
        """Every other engine is gone; the first one comes to rest, and all is well."""
        self.world.between = lambda _point: None
        self.world.is_concurrent = False
        ends = [text for life in (self.first, *self.others) for text in life.stale_ends]
        assert not ends, ends
        for life in self.others:
            life.abandon()
        self.world.restart()
        # a start removes what a stale worker exported; what it cloned is left for the sweep
        self.world.exports_may_be_left = False
        check_rest(self.world)


@contextmanager
def site(seed: int, *, engines: int) -> Iterator[Site]:
    method = list(ScrubMethod)[seed % len(ScrubMethod)]
    made = Site(seed, engines=engines, method=method)
    try:
        yield made
        made.end()
    finally:
        made.world.close()


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
