"""Replica pools: declare, change, delete; filling runs behind."""

from __future__ import annotations

from collections.abc import Sequence

from clonepool.controllers import space
from clonepool.controllers.context import Context
from clonepool.domain.content import digest, pool_document
from clonepool.domain.location import LocationKind
from clonepool.domain.model import (
    ImageVersion,
    PageRequest,
    PoolSpec,
    Ref,
    ReplicaPool,
    ScrubPolicy,
)
from clonepool.domain.nodes import StorageAbilities
from clonepool.domain.policy import Scrubbing, scrub_problem
from clonepool.errors import FailedPrecondition, ResourceExhausted, Unavailable
from clonepool.store import events, images, operations, pools
from clonepool.store.writer import Transaction


class Pools:
    """The use cases of pools."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create(self, *, spec: PoolSpec, token: str) -> ReplicaPool:
        """Declare a pool; refused before anything is cloned when it can't be kept."""
        if not self._exists(spec.name):
            self._check(spec, already_there=0)

        def change(transaction: Transaction) -> str:
            return pools.create(
                transaction,
                spec=spec,
                token=token,
                digest=digest(pool_document(spec)),
                now=self._context.now(),
            )

        pool_id = self._context.state.write(change)
        self._context.signals.changed()
        return self.get(ref=Ref(id=pool_id))

    def _exists(self, name: str) -> bool:
        with self._context.state.read() as session:
            return pools.find_live(session, ref=Ref(name=name)) is not None

    def _check(self, spec: PoolSpec, *, already_there: int) -> None:
        with self._context.state.read() as session:
            image = images.get(session, ref=Ref(name=spec.master_image))
        carried = self._context.drivers.fabric(spec.fabric).capabilities().carries
        storage, node = image.spec.storage, image.latest.node
        is_here = self._context.is_here(node=node, storage=storage)
        can = (
            self._context.drivers.abilities(storage)
            if is_here
            else self._said_abilities(spec, storage=storage, node=node)
        )
        _check_carried(spec, can.location_kind, carried=carried, storage=storage)
        _check_scrub(spec.scrub, can.scrubbing, storage=storage)
        space.check_clone_mode(can, storage=storage, mode=spec.clone_mode)
        if not is_here:
            # whether it fits its own node sees, when it fills it
            return
        version = image.current
        if version is not None:
            self._check_fits(spec, version, already_there=already_there)

    def _said_abilities(self, spec: PoolSpec, *, storage: str, node: str) -> StorageAbilities:
        """What the image's storage can do, as its node said, or one of those that reach it."""
        found = self._context.nodes.find(node) or self._context.nodes.one_with(storage)
        if found is None or storage not in found.facts.abilities:
            where = f"node {node}" if node else f"a node with storage {storage}"
            text = (
                f"master image {spec.master_image} is on {where}, of which it is not known what "
                f"its storage can do; start that node, or start it again, then make pool "
                f"{spec.name}"
            )
            raise Unavailable(text, reason="OTHER_NODE")
        return found.facts.abilities[storage]

    def _check_fits(self, spec: PoolSpec, version: ImageVersion, *, already_there: int) -> None:
        if version.writable is None:
            return
        needed = spec.min_ready - already_there
        room = space.room_for(
            self._context,
            storage=version.storage,
            mode=spec.clone_mode,
            clone_bytes=version.writable.size_bytes,
            wanted=needed,
        )
        if needed <= room.clones:
            return
        text = (
            f"pool {spec.name} with min_ready {spec.min_ready} does not fit: {room.text}: "
            f"{needed} more are asked for, {room.clones} fit; {room.way_out} or lower min_ready"
        )
        raise ResourceExhausted(text, reason="NO_SPACE")

    def get(self, *, ref: Ref) -> ReplicaPool:
        """One pool. Raises NotFound."""
        with self._context.state.read() as session:
            return pools.get(session, ref=ref, now=self._context.now())

    def list(self, *, page: PageRequest) -> tuple[Sequence[ReplicaPool], str]:
        """One page and the next page's token."""
        with self._context.state.read() as session:
            return pools.list_page(session, page=page, now=self._context.now())

    def update(self, *, pool_id: str, spec: PoolSpec) -> ReplicaPool:
        """Change a pool in place."""
        before = self.get(ref=Ref(id=pool_id))
        self._check(spec, already_there=before.spec.min_ready)
        self._context.state.write(
            lambda transaction: pools.update(
                transaction, pool_id=pool_id, spec=spec, digest=digest(pool_document(spec))
            )
        )
        self._context.signals.changed()
        return self.get(ref=Ref(id=pool_id))

    def delete(self, *, pool_id: str) -> None:
        """Free the name; its volumes are scrubbed and destroyed behind."""

        def change(transaction: Transaction) -> None:
            now = self._context.now()
            name = pools.delete(transaction, pool_id=pool_id, now=now)
            if name is not None:
                # clones that a stop had put off are given up
                operations.defer_of_pool(transaction, pool_id=pool_id, run_after=now)
                events.add(
                    transaction,
                    now=now,
                    subject=f"pool/{name}",
                    reason="POOL_DELETED",
                    message="deleted; its volumes are scrubbed and destroyed behind",
                )

        self._context.state.write(change)
        self._context.signals.changed()

    def reset(self, *, ref: Ref) -> ReplicaPool:
        """Start again a pool that repeated failures stopped."""
        pool = self.get(ref=ref)

        def change(transaction: Transaction) -> None:
            now = self._context.now()
            if pools.reset(transaction, pool_id=pool.id):
                operations.defer_of_pool(transaction, pool_id=pool.id, run_after=now)
                subject = f"pool/{pool.spec.name}"
                text = "filling starts again"
                events.add(transaction, now=now, subject=subject, reason="POOL_RESET", message=text)

        self._context.state.write(change)
        self._context.signals.changed()
        return self.get(ref=Ref(id=pool.id))


def _check_carried(
    spec: PoolSpec, kind: LocationKind, *, carried: frozenset[LocationKind], storage: str
) -> None:
    """Raises FailedPrecondition where the fabric can't open what the storage keeps."""
    if kind in carried:
        return
    words = " and ".join(sorted(each.words for each in carried))
    raise FailedPrecondition(
        f"pool {spec.name}: the volumes of storage {storage} are {kind.words}, and fabric "
        f"{spec.fabric} carries {words} only; let the pool name a fabric that carries them",
        reason="FABRIC_CANNOT_CARRY",
    )


def _check_scrub(policy: ScrubPolicy, can: Scrubbing, *, storage: str) -> None:
    """Refuse a method that the storage has not, and a promise that it can't keep."""
    problem = scrub_problem(policy, can, storage=storage)
    if problem is not None:
        raise FailedPrecondition(problem.text, reason=problem.reason)
