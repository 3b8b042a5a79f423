"""What fits now, per storage and pool: the same figures by which clones are planned or refused."""

from __future__ import annotations

import contextlib

from clonepool.controllers import space
from clonepool.controllers.context import Context
from clonepool.domain.capacity import UNLIMITED, Capacity, clones_are_full
from clonepool.domain.facts import CapacityFacts, PoolCapacity, StorageCapacity
from clonepool.domain.model import PageRequest, Ref, ReplicaPool
from clonepool.domain.states import CAPACITY_STATES
from clonepool.errors import ClonepoolError, InvalidArgument, Unavailable
from clonepool.store import pools

# figures that an operator looks at are of now
_MEASURED_S = 5.0


class Capacities:
    """The one use case."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def get(self, *, storage: str = "", pool: str = "") -> CapacityFacts:
        """Figures of every storage and pool, or of one ("" for all). Changes nothing.

        Volumes are measured for it, at most every few seconds. Raises NotFound (no such pool),
        InvalidArgument (no such storage).
        """
        self._check_storage(storage)
        seen: dict[str, Capacity] = {}
        found = [
            each
            for each in (self._pool(item, seen) for item in self._pools(pool))
            if storage in ("", each.storage)
        ]
        wanted = {each.storage for each in found} if pool else set(self._names(storage))
        return CapacityFacts(
            storages=tuple(self._storage(name, seen) for name in sorted(wanted - {""})),
            pools=tuple(found),
        )

    def _check_storage(self, storage: str) -> None:
        names = self._context.settings.storages
        if storage and storage not in names:
            text = f"the engine has no storage {storage}; it has {', '.join(sorted(names))}"
            raise InvalidArgument.field("storage", text)

    def _names(self, storage: str) -> list[str]:
        return [name for name in self._context.settings.storages if storage in ("", name)]

    def _pools(self, name: str) -> list[ReplicaPool]:
        now = self._context.now()
        with self._context.state.read() as session:
            if name:
                return [pools.get(session, ref=Ref(name=name), now=now)]
            page, found = PageRequest(), []
            while True:
                more, token = pools.list_page(session, page=page, now=now)
                found += more
                if not token:
                    return found
                page = PageRequest(token=token)

    def _pool(self, pool: ReplicaPool, seen: dict[str, Capacity]) -> PoolCapacity:
        with self._context.state.read() as session:
            wanted = pools.wanted_version(session, pool_id=pool.id)
        room = max(0, pool.spec.max_replicas - pool.counts.of(*CAPACITY_STATES))
        facts = PoolCapacity(name=pool.spec.name, room=room, short_of_space=pool.short_of_space)
        if wanted is None:
            return facts
        if wanted.writable is None:
            return facts.on(wanted.storage, kind="slot", clone_bytes=0, fits=UNLIMITED)
        clone_bytes = wanted.writable.size_bytes
        try:
            capacity = self._capacity(wanted.storage, seen)
            can = self._context.drivers.backend(wanted.storage).capabilities()
        except ClonepoolError:
            # the storage's own line says why
            return facts.on(wanted.storage, kind="", clone_bytes=clone_bytes, fits=0)
        full = clones_are_full(pool.spec.clone_mode, thin_clones=can.thin_clones)
        fits = capacity.clones_that_fit(clone_bytes=clone_bytes, full=full)
        kind = "full" if full else "thin"
        return facts.on(wanted.storage, kind=kind, clone_bytes=clone_bytes, fits=fits)

    def _storage(self, name: str, seen: dict[str, Capacity]) -> StorageCapacity:
        driver = self._context.settings.storages[name].driver
        try:
            capacity = self._capacity(name, seen)
        except ClonepoolError as error:
            return StorageCapacity(name=name, driver=driver, error=str(error))
        return StorageCapacity(name=name, driver=driver, capacity=capacity)

    def _capacity(self, name: str, seen: dict[str, Capacity]) -> Capacity:
        """One look at a storage an answer: its figures and those of its pools are of one moment."""
        if name not in seen:
            with contextlib.suppress(Unavailable):
                space.measure(self._context, name, older_than_s=_MEASURED_S)
            seen[name] = space.capacity_of(self._context, name)
        return seen[name]
