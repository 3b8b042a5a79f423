"""What comes back and what is held, everything at once: undo, resume, tickets, and a comparison.

As in ``test_concurrency``: one thread runs at a time, a seed says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.crash.crew import POOL, Site, site
from tests.crash.profiles import seeds
from tests.crash.users import Known, Use

# longer than a lease
LEASE_OVER_S = 31.0


def returner(here: Site, *, server: int, user: int, times: int) -> Callable[[], None]:
    """Attaches, releases, and wants back what it had: by an undo, or by coming again."""

    def act() -> None:
        use = here.world.new_use(POOL, server=server, user=user)
        for turn in range(times):
            _ask(here, use)
            here.world.release(use, force=turn % 2 == 0)
            here.scheduler.pause()
            if turn % 2:
                here.world.undo(use)
            else:
                here.world.resume(use, user=user)
        _ask(here, use)
        here.world.release(use, force=True)

    return act


def _ask(here: Site, use: Use) -> None:
    """Until it is attached, or its caller loses patience; one that came back asks again, too."""
    for _ in range(10):
        if use.known in {Known.ASKED, Known.WAITING}:
            here.world.ask(use)
        here.scheduler.pause()
        if use.known is Known.ATTACHED:
            return


def operator(here: Site, *, times: int) -> Callable[[], None]:
    """Undoes by the volume what others released, while they may be coming again by themselves."""

    def act() -> None:
        for turn in range(times):
            here.scheduler.pause()
            found = [use for use in here.world.told.uses.values() if use.told is not None]
            released = [use for use in found if use.known in {Known.RELEASED, Known.UNDOING}]
            if released:
                use = released[turn % len(released)]
                told = use.told
                assert told is not None
                here.scheduler.pause()
                here.world.undo_by_volume(use, told)

    return act


def holder(here: Site, *, server: int, times: int) -> Callable[[], None]:
    """Holds, takes by the ticket what is held, and gives back both."""

    def act() -> None:
        for turn in range(times):
            token = here.world.hold(POOL, count=1, seconds=3600.0)
            here.scheduler.pause()
            if token not in here.world.told.tickets:
                continue
            for _ in range(3):
                # others may come back meanwhile
                here.scheduler.pause()
            if turn % 3 != 1:
                use = here.world.new_use(POOL, server=server, user=1)
                use.ticket = token
                here.world.ask(use)
                assert use.known is Known.ATTACHED, "what it was told to hold is not there"
                here.world.release(use, force=True)
            here.scheduler.pause()
            here.world.release_hold(token)

    return act


def scrubber(here: Site, *, times: int) -> Callable[[], None]:
    """An operator who does not wait for the threshold."""

    def act() -> None:
        for _ in range(times):
            for _ in range(12):
                here.scheduler.pause()
            here.world.scrub(POOL)

    return act


def comparer(here: Site, *, times: int) -> Callable[[], None]:
    """Storage and fabric are compared with the rows, and nothing is wrong with them."""

    def act() -> None:
        for _ in range(times):
            here.first.compare()
            here.scheduler.pause()

    return act


@pytest.fixture
def returns(seed: int) -> Iterator[Site]:
    """Scrubs wait for a few, so that something is there to come back."""
    with site(seed, engines=1, threshold=3) as here:
        yield here


@pytest.mark.parametrize("seed", seeds(24))
def test_what_comes_back_goes_to_its_own_user_once(returns: Site) -> None:
    """The same volume is undone, resumed, scrubbed and given back, all at once."""
    here = returns
    here.scheduler.run(
        {
            "a": returner(here, server=1, user=0, times=4),
            "b": returner(here, server=2, user=1, times=4),
            "operator": operator(here, times=8),
            "other operator": operator(here, times=8),
            "scrubber": scrubber(here, times=2),
            "worker": here.worker(here.first, times=12),
            "planner": here.planner(here.first, times=6),
        }
    )
    assert [] == here.first.refused


@pytest.mark.parametrize("seed", seeds(24))
def test_what_comes_back_keeps_its_export_whoever_looks_at_the_fabric(returns: Site) -> None:
    """The daemon dies, the comparison removes strays: not what came back meanwhile."""
    here = returns
    here.scheduler.run(
        {
            "a": returner(here, server=1, user=0, times=4),
            "operator": operator(here, times=8),
            "watcher": here.watcher(times=2),
            "comparer": comparer(here, times=4),
            "worker": here.worker(here.first, times=8),
            "planner": here.planner(here.first, times=4),
        }
    )


@pytest.mark.parametrize("min_ready", [1, 2])
@pytest.mark.parametrize("seed", seeds(16))
def test_what_is_held_is_there_for_its_ticket_whoever_comes_back(seed: int, min_ready: int) -> None:
    """Room for a volume that comes back, a surplus, and waiters take nothing that is held."""
    with site(seed, engines=1, threshold=3, min_ready=min_ready) as here:
        here.scheduler.run(
            {
                "a": returner(here, server=1, user=0, times=4),
                "holder": holder(here, server=3, times=4),
                "other holder": holder(here, server=4, times=4),
                "operator": operator(here, times=12),
                "other operator": operator(here, times=12),
                "worker": here.worker(here.first, times=14),
                "planner": here.planner(here.first, times=8),
            }
        )
        assert [] == here.first.refused


@pytest.mark.parametrize("seed", seeds(16))
def test_two_engines_at_work_on_what_comes_back(seed: int) -> None:
    """A stale worker's lease ran out under a scrub of what is undone or held meanwhile."""
    with site(seed, engines=2, threshold=2) as here:
        (second,) = here.others
        here.scheduler.run(
            {
                "a": returner(here, server=1, user=0, times=3),
                "holder": holder(here, server=3, times=3),
                "operator": operator(here, times=6),
                "stale": here.worker(here.first, times=8),
                "worker": here.worker(second, times=12),
                "planner": here.planner(here.first, times=6),
                "other planner": here.planner(second, times=4),
                "time": here.time(second, seconds=LEASE_OVER_S, times=2),
            }
        )
