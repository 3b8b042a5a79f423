"""A day of a fleet: what happens next, one thing after the other, in virtual time.

The decisions are the engine's own: who gets what, what is cloned, scrubbed, destroyed, and when.
Only how long things take is modelled: each commit and each verb queues for the database or the
storage that does it (``resources``).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from typing import Final

from benchmarks.fleet.demand import Arrival
from benchmarks.fleet.resources import Costs, Resource
from benchmarks.fleet.site import Site, pool_name
from benchmarks.fleet.tally import Tally
from clonepool.domain.model import AttachmentSpec, Ref, ServerSpec, SystemUser
from clonepool.domain.states import CAPACITY_STATES, AttachmentState, SystemUserKind, VolumeState
from clonepool.domain.work import Operation
from clonepool.errors import ClonepoolError

# who waits asks again so often, and less often when it takes long; a place in the queue is lost
# after 30 s without
_POLL_S: Final = 5.0
_LAZY_POLL_S: Final = 25.0
_LONG_S: Final = 60.0
# leases last 30 s
_BEAT_S: Final = 10.0
_REST: Final = 10  # the planner rests nine times as long as it looks
_NOTE_S: Final = 300.0
_USER: Final = SystemUser(name="acme", kind=SystemUserKind.CUSTOMER)
_SCRUBS: Final = ("scrub_volume", "delete_volume")


class Day:
    """One day; ``run`` it once."""

    def __init__(self, site: Site, costs: Costs, *, workers: int, look_every_s: float) -> None:
        self.tally = Tally()
        self.database = Resource(name="the database's commits")
        self.planner = Resource(name="the planner's looks")
        self.storages = {
            name: Resource(name=f"clones and deletions of {name}") for name in site.machine.storages
        }
        self._site, self._costs = site, costs
        self._engine = site.life.engine
        self._free = self._workers = workers
        self._look_s = costs.look_s * len(site.storage_of)
        self._look_every_s = max(look_every_s, _REST * self._look_s)
        self._midnight = site.machine.clock()
        self._now = 0.0
        self._is_woken = False
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._ties = itertools.count()

    @property
    def resources(self) -> list[Resource]:
        """Everything that work has to queue for."""
        return [self.database, self.planner, *self.storages.values()]

    def fill(self) -> None:
        """Let the pools be filled before the day begins: that takes no time."""
        while True:
            self._site.life.look()
            if not self._site.life.work():
                return
            while self._site.life.work():
                pass
            self._site.life.flush()

    def run(self, arrivals: Iterable[Arrival], *, until_s: float) -> Tally:
        """Let the day pass, and what it left be finished within it."""
        servers = iter(arrivals)
        self._then(servers)
        self._at(0.0, self._look)
        self._at(0.0, self._beat)
        self._at(0.0, self._note)
        while self._agenda and self._agenda[0][0] < until_s:
            at_s, _tie, action = heapq.heappop(self._agenda)
            self._pass(at_s)
            action()
        return self.tally

    def _at(self, at_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (max(at_s, self._now), next(self._ties), action))

    def _pass(self, at_s: float) -> None:
        clock = self._site.machine.clock
        clock.advance(max(0.0, self._midnight + at_s - clock()))
        self._now = at_s

    def _then(self, servers: Iterable[Arrival]) -> None:
        """The next server is put on the agenda when the one before has come."""
        server = next(iter(servers), None)
        if server is None:
            return

        def come() -> None:
            self._then(servers)
            self._come(server, since=self._now)

        self._at(server.at_s, come)

    def _come(self, server: Arrival, *, since: float) -> None:
        """A server asks, or asks again; ``since`` is when it first did."""
        first = since == self._now
        hour = self.tally.hour(since)
        cost_s = self._costs.attach_s if first else self._costs.poll_s
        answered_at = self.database.use(at=self._now, seconds=cost_s)
        hour.servers += first
        try:
            answer = self._engine.attachments.create(
                spec=_spec(server), token=f"token-{server.number}"
            )
        except ClonepoolError:
            hour.refused += 1
            return
        self._wake()
        if answer.state is AttachmentState.ATTACHED:
            hour.waits_s.append(answered_at - since)
            self._at(answered_at + server.stay_s, lambda: self._go(answer.id))
            return
        hour.misses += first
        self._look_soon()
        pause_s = _POLL_S if self._now - since < _LONG_S else _LAZY_POLL_S
        self._at(self._now + pause_s, lambda: self._come(server, since=since))

    def _go(self, attachment_id: str) -> None:
        self.database.use(at=self._now, seconds=self._costs.release_s)
        self._engine.attachments.delete(attachment_id=attachment_id, force=False)
        self._wake()

    def _look(self) -> None:
        done_at = self._look_once()
        self._at(max(done_at, self._now + self._look_every_s), self._look)

    def _look_once(self) -> float:
        done_at = self.planner.use(at=self._now, seconds=self._look_s)
        self._site.life.look()
        self._wake()
        return done_at

    def _look_soon(self) -> None:
        """Who waits wakes the planner, which looks as soon as it has rested."""
        if self._is_woken:
            return
        self._is_woken = True

        def look() -> None:
            self._is_woken = False
            self._look_once()

        self._at(self.planner.free_at + (_REST - 1) * self._look_s, look)

    def _beat(self) -> None:
        if self._free < self._workers:
            self._site.life.beat()
        self._wake()
        self._at(self._now + _BEAT_S, self._beat)

    def _wake(self) -> None:
        """Let free workers claim what is due."""
        while self._free and self._site.life.is_due():
            operation = self._site.life.claim()
            if operation is None:
                return
            self._free -= 1
            self._begin(operation)

    def _begin(self, operation: Operation) -> None:
        """It is done when database and storage have come to it."""
        claimed_at = self.database.use(at=self._now, seconds=self._costs.work_s)
        seconds = self._costs.delete_s if operation.kind in _SCRUBS else self._costs.clone_s
        done_at = self._storage(operation).use(at=claimed_at, seconds=seconds)
        self._at(max(done_at, claimed_at + self._costs.latency_s), lambda: self._end(operation))

    def _storage(self, operation: Operation) -> Resource:
        return self.storages[self._storage_of(operation.key)]

    def _storage_of(self, volume_id: str) -> str:
        with self._engine._state.read() as session:
            row = session.connection().exec_driver_sql(
                "SELECT storage FROM volume WHERE id = ?", (volume_id,)
            )
            return str(row.scalar_one())

    def _end(self, operation: Operation) -> None:
        following = self._site.life.run(operation)
        if following is None:
            self._free += 1
            self._wake()
            return
        self._begin(following)

    def _note(self) -> None:
        """Look at the backlogs, every five minutes."""
        hour = self.tally.hour(self._now)
        clones = scrubs = released = 0
        for number in range(len(self._site.storage_of)):
            pool = self._engine.pools.get(ref=Ref(name=pool_name(number)))
            counts = pool.counts
            clones += counts.of(VolumeState.PLANNED, VolumeState.CLONING)
            scrubs += counts.of(VolumeState.SCRUBBING, VolumeState.DELETING)
            released += counts.of(VolumeState.RELEASED)
            is_full = counts.of(*CAPACITY_STATES) >= pool.spec.max_replicas
            if counts.waiting and is_full:
                self.tally.starved(self._now)
        hour.clones, hour.scrubs = max(hour.clones, clones), max(hour.scrubs, scrubs)
        hour.released = max(hour.released, released)
        self._at(self._now + _NOTE_S, self._note)


def _spec(server: Arrival) -> AttachmentSpec:
    """What a server asks for."""
    name = f"server-{server.number}"
    return AttachmentSpec(
        name=name,
        pool=pool_name(server.pool),
        system_user=_USER,
        inline_server=ServerSpec(name=name, initiator=f"iqn.2026-01.example:{name}"),
    )
