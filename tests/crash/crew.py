"""One site driven by several threads and engines, of which one runs at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clonepool.crash_points import Point
from clonepool.domain.model import ScrubPolicy
from clonepool.domain.states import AfterScrub, ScrubMethod
from clonepool.testing.stepped import SteppedEngine
from tests.crash.drifting import DriftingWorld
from tests.crash.rest import check_rest
from tests.crash.scheduler import Scheduler, SteppedLock
from tests.crash.users import Known

POOL = "pool"


class Site:
    """A world whose engine, and perhaps a second one, is driven by several threads."""

    def __init__(
        self,
        seed: int,
        *,
        engines: int,
        method: ScrubMethod,
        threshold: int = 1,
        min_ready: int = 2,
        url: str = "",
    ) -> None:
        self.world = DriftingWorld(url=url)
        self.scheduler = Scheduler(seed)
        self.world.create_image("image")
        self.world.work()
        policy = ScrubPolicy(threshold=threshold, method=method, then=AfterScrub.RECYCLE)
        room = {"min_ready": min_ready, "max_replicas": min_ready + 1}
        self.world.create_pool(POOL, image="image", scrub=policy, **room)
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
def site(
    seed: int, *, engines: int, threshold: int = 1, min_ready: int = 2, url: str = ""
) -> Iterator[Site]:
    """A site whose scrubs are by the method that the seed says; looked at when all is done."""
    method = list(ScrubMethod)[seed % len(ScrubMethod)]
    made = Site(
        seed, engines=engines, method=method, threshold=threshold, min_ready=min_ready, url=url
    )
    try:
        yield made
        made.end()
    finally:
        made.world.close()
