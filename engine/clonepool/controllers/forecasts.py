"""Forecasts: what a whole plan would do to storage. Changes nothing."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import replace

from clonepool.controllers import space
from clonepool.controllers.context import Context
from clonepool.domain.capacity import clones_are_full
from clonepool.domain.forecast import (
    FabricView,
    Forecast,
    Plan,
    PoolView,
    Remove,
    Snapshot,
    StorageView,
    Thing,
)
from clonepool.domain.forecast_run import forecast
from clonepool.domain.model import Ref
from clonepool.errors import ClonepoolError, Unavailable
from clonepool.store import attachments, snapshot
from clonepool.store.attachments import Held

log = logging.getLogger(__name__)


class Forecasts:
    """The one use case."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def make(self, *, plan: Plan) -> Forecast:
        """What the plan does, by what there is now. What is away counts as not there."""
        storages = self._storages()
        with self._context.state.read() as session:
            seen = snapshot.read(session, now=self._context.now())
            found = [
                attachments.find(session, ref=Ref(name=name), now=self._context.now())
                for name in _released(plan)
            ]
        seen = replace(seen, storages=storages, fabrics=self._fabrics())
        busy = self._busy([held for held in found if held is not None])
        return forecast(plan, _with_facts(seen, busy=busy))

    def _storages(self) -> Mapping[str, StorageView]:
        found = {}
        for name in self._context.settings.storages:
            try:
                found[name] = self._storage(name)
            except ClonepoolError as error:
                log.warning("forecast without storage %s: %s", name, error)
        return found

    def _storage(self, name: str) -> StorageView:
        can = self._context.drivers.backend(name).capabilities()
        capacity = space.capacity_of(self._context, name)
        # so does the engine before it refuses anything; what it notes of it changes no outcome
        if capacity.limit_bytes is not None or capacity.owed.full_bytes:
            with contextlib.suppress(Unavailable):
                space.measure(self._context, name)
            capacity = space.capacity_of(self._context, name)
        return StorageView(
            thin_clones=can.thin_clones,
            scrubbing=can.scrubbing,
            left_bytes=capacity.left_bytes,
            promisable_bytes=capacity.promisable_bytes,
        )

    def _fabrics(self) -> Mapping[str, FabricView]:
        found = {}
        for name in self._context.settings.fabrics:
            try:
                can = self._context.drivers.fabric(name).capabilities()
            except ClonepoolError as error:
                log.warning("forecast without fabric %s: %s", name, error)
                continue
            found[name] = FabricView(needs_initiator=can.needs_initiator, chap=can.chap)
        return found

    def _busy(self, leaving: list[Held]) -> frozenset[str]:
        """Those whose server is logged in, and that are not forced off; of other nodes none."""
        busy = set()
        for held in leaving:
            spec = held.attachment.spec
            is_here = held.node == self._context.state.node
            if spec.force_detach or not held.target or not is_here:
                continue
            try:
                if self._context.drivers.fabric(held.fabric).sessions(held.target):
                    busy.add(spec.name)
            except ClonepoolError as error:
                log.warning("forecast without the sessions of %s: %s", spec.name, error)
        return frozenset(busy)


def _released(plan: Plan) -> list[str]:
    return [
        change.name
        for change in plan.changes
        if isinstance(change, Remove) and change.thing is Thing.ATTACHMENT
    ]


def _with_facts(seen: Snapshot, *, busy: frozenset[str]) -> Snapshot:
    return replace(
        seen,
        pools=tuple(_with_clone_kind(pool, seen) for pool in seen.pools),
        attachments=tuple(replace(held, busy=held.name in busy) for held in seen.attachments),
    )


def _with_clone_kind(pool: PoolView, seen: Snapshot) -> PoolView:
    image = next((each for each in seen.images if each.name == pool.spec.master_image), None)
    if image is None or image.storage not in seen.storages:
        return pool
    thin = seen.storages[image.storage].thin_clones
    return replace(pool, full_clones=clones_are_full(pool.spec.clone_mode, thin_clones=thin))
