"""Whatever happens, and whenever the engine dies: the invariants hold at every instant.

``CLONEPOOL_TEST_EXAMPLES`` says how many stories to tell; see ``profiles``.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from clonepool.domain.model import ScrubPolicy
from clonepool.domain.states import AfterScrub, ScrubMethod, VerifyMode, VolumeState
from tests.crash.drifting import DriftingWorld
from tests.crash.profiles import budget
from tests.crash.rest import check_rest
from tests.crash.users import IMAGE_BYTES, Known

SERVERS = 4
# the stories are told from 08:00 UTC on, and take minutes
CLOSED = ("02:00-03:00",)
POLICIES = st.builds(
    ScrubPolicy,
    threshold=st.integers(1, 3),
    method=st.sampled_from(list(ScrubMethod)),
    then=st.sampled_from(list(AfterScrub)),
    verify=st.sampled_from(list(VerifyMode)),
    undo_window_s=st.sampled_from([0, 0, 20]),
    max_age_s=st.sampled_from([0, 0, 40]),
    max_bytes=st.sampled_from([0, 0, IMAGE_BYTES]),
    windows=st.sampled_from([(), (), (), CLOSED]),
)


class AnyInstant(RuleBasedStateMachine):
    """Callers, servers and time do what they like; so does death."""

    def __init__(self) -> None:
        super().__init__()
        self.world = DriftingWorld()

    def teardown(self) -> None:
        try:
            self.world.settle()
            self.world.compare_to_the_end()
            self.world.mend_faulty()
            check_rest(self.world)
            self._give_all_back()
            check_rest(self.world)
        finally:
            self.world.close()

    def _give_all_back(self) -> None:
        for use in self.world.told.of(Known.ATTACHED, Known.RELEASING, Known.UNDOING):
            self.world.release(use, force=True)

    @initialize(
        policy=POLICIES,
        min_ready=st.integers(1, 2),
        more=st.integers(0, 2),
        deaths=st.lists(st.integers(0, 40), max_size=1),
        has_slots=st.sampled_from([False, False, False, True]),
    )
    def begin(
        self, policy: ScrubPolicy, min_ready: int, more: int, deaths: list[int], has_slots: bool
    ) -> None:
        """An image and a pool, perhaps not imported or filled without an accident."""
        self.world.has_slots = has_slots
        self.world.create_image("image")
        self.world.work()
        self.world.die_in = deaths
        self.create_pool(policy, min_ready, more)
        for _ in range(min_ready + 1):
            self.world.look()
            self.world.work()

    @rule(deaths=st.lists(st.integers(0, 30), min_size=1, max_size=2))
    def die_soon(self, deaths: list[int]) -> None:
        self.world.die_in = deaths

    @rule()
    def die_now(self) -> None:
        self.world.kill()

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @rule(times=st.integers(1, 3))
    def go_on(self, times: int) -> None:
        """The planner looks, and workers do what is asked for."""
        for _ in range(times):
            self.world.look()
            self.world.work()
            self.world.work()

    @rule()
    def work(self) -> None:
        self.world.work()

    @rule()
    def claim(self) -> None:
        self.world.claim()

    @rule()
    def look(self) -> None:
        self.world.look()

    @rule()
    def flush(self) -> None:
        self.world.flush()

    @rule(seconds=st.sampled_from([0.3, 3.0, 11.0, 31.0, -20.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule()
    def lose_exports(self) -> None:
        self.world.lose_exports()

    @precondition(lambda self: self.pools())
    @rule(data=st.data(), server=st.integers(0, SERVERS - 1), user=st.integers(0, 1))
    def attach(self, data: Any, server: int, user: int) -> None:
        pool = data.draw(st.sampled_from(self.pools()))
        self.world.ask(self.world.new_use(pool, server=server, user=user))

    @precondition(lambda self: self.asking())
    @rule(data=st.data())
    def ask_again(self, data: Any) -> None:
        self.world.ask(self.world.told.uses[data.draw(st.sampled_from(self.asking()))])

    @precondition(lambda self: self.asking())
    @rule(data=st.data())
    def ask_as_another(self, data: Any) -> None:
        self.world.ask_as_another(self.world.told.uses[data.draw(st.sampled_from(self.asking()))])

    @precondition(lambda self: self.holding())
    @rule(data=st.data(), force=st.booleans())
    def release(self, data: Any, force: bool) -> None:
        use = self.world.told.uses[data.draw(st.sampled_from(self.holding()))]
        self.world.release(use, force=force)

    @precondition(lambda self: self.released())
    @rule(data=st.data())
    def undo(self, data: Any) -> None:
        """Perhaps after its scrub, or a second time."""
        self.world.undo(self.world.told.uses[data.draw(st.sampled_from(self.released()))])

    @precondition(lambda self: self.released())
    @rule(data=st.data(), user=st.sampled_from([0, 0, 1]))
    def resume(self, data: Any, user: int) -> None:
        use = self.world.told.uses[data.draw(st.sampled_from(self.released()))]
        self.world.resume(use, user=user)

    @precondition(lambda self: self.pools())
    @rule(data=st.data(), count=st.integers(1, 2), seconds=st.sampled_from([5.0, 60.0]))
    def hold(self, data: Any, count: int, seconds: float) -> None:
        pool = data.draw(st.sampled_from(self.pools()))
        self.world.hold(pool, count=count, seconds=seconds)

    @precondition(lambda self: self.world.told.tickets)
    @rule(data=st.data())
    def release_hold(self, data: Any) -> None:
        self.world.release_hold(data.draw(st.sampled_from(sorted(self.world.told.tickets))))

    @precondition(lambda self: self.world.told.tickets)
    @rule(data=st.data(), server=st.integers(0, SERVERS - 1), user=st.integers(0, 1))
    def attach_by_ticket(self, data: Any, server: int, user: int) -> None:
        """Perhaps by one that is over, or of another pool."""
        token = data.draw(st.sampled_from(sorted(self.world.told.tickets)))
        pool = self.world.told.tickets[token].pool
        use = self.world.new_use(pool, server=server, user=user)
        use.ticket = token
        self.world.ask(use)

    @rule()
    def compare(self) -> None:
        self.world.compare()

    @precondition(lambda self: len(self.world.strays) < 2)
    @rule()
    def add_stray(self) -> None:
        self.world.add_stray()

    @rule(number=st.integers(0, 5))
    def lose_target(self, number: int) -> None:
        self.world.lose_target(number)

    @precondition(lambda self: self.world.volumes(VolumeState.READY))
    @rule()
    def lose_object(self) -> None:
        """The engine comes to know of it before anybody else does."""
        self.world.lose_object(self.world.volumes(VolumeState.READY)[0])
        self.world.compare_to_the_end()

    @rule(after=st.sampled_from(AfterScrub))
    def mend_faulty(self, after: AfterScrub) -> None:
        self.world.mend_faulty(after)

    @precondition(lambda self: self.pools())
    @rule(data=st.data())
    def scrub(self, data: Any) -> None:
        self.world.scrub(data.draw(st.sampled_from(self.pools())))

    @rule()
    def new_version(self) -> None:
        self.world.change_image("image")

    @precondition(lambda self: len(self.pools()) < 2)
    @rule(policy=POLICIES, min_ready=st.integers(0, 2), more=st.integers(0, 2))
    def create_pool(self, policy: ScrubPolicy, min_ready: int, more: int) -> None:
        self.world.create_pool(
            self.world.new_name("pool"),
            image="image",
            scrub=policy,
            min_ready=min_ready,
            max_replicas=max(1, min_ready + more),
        )

    @precondition(lambda self: self.pools())
    @rule(data=st.data())
    def delete_pool(self, data: Any) -> None:
        self.world.delete_pool(data.draw(st.sampled_from(self.pools())))

    @precondition(lambda self: not self.pools())
    @rule()
    def delete_image(self) -> None:
        self.world.delete_image("image")
        self.world.create_image("image")

    def pools(self) -> list[str]:
        """Those that were told to exist."""
        return sorted(self.world.told.pools)

    def asking(self) -> list[str]:
        """Those who may ask again."""
        return self._names(Known.ASKED, Known.WAITING, Known.ATTACHED)

    def holding(self) -> list[str]:
        """Those who may give back, or do so again."""
        return self._names(Known.ATTACHED, Known.RELEASING, Known.RELEASED, Known.UNDOING)

    def released(self) -> list[str]:
        """Those who may want theirs back."""
        return self._names(Known.RELEASED, Known.UNDOING)

    def _names(self, *known: Known) -> list[str]:
        return [use.name for use in self.world.told.of(*known)]


@pytest.mark.slow
def test_every_invariant_holds_at_every_instant() -> None:
    run_state_machine_as_test(
        AnyInstant,
        settings=settings(
            budget(),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )
