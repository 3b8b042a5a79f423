"""Plays a whole plan on a snapshot, in the order in which an infrastructure program works.

First what replacements remove, then all creates and changes, then all deletions. A plan's
attachments find what is ready now: they come faster than the engine can clone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from clonepool.domain.forecast import (
    Attach,
    AttachmentForecast,
    AttachmentView,
    Failure,
    Forecast,
    ImageForecast,
    Made,
    Outcome,
    Plan,
    PoolForecast,
    PutImage,
    PutPool,
    PutServer,
    Remove,
    Snapshot,
    StockCounts,
    Thing,
)
from clonepool.domain.forecast_attach import Attaching
from clonepool.domain.forecast_order import Failed, Order
from clonepool.domain.forecast_servers import Refusal
from clonepool.domain.forecast_site import Site
from clonepool.domain.forecast_stock import PoolStock

# what others need is removed last
_REMOVED = (Thing.ATTACHMENT, Thing.SERVER, Thing.POOL, Thing.IMAGE)
_THINGS = {PutImage: Thing.IMAGE, PutPool: Thing.POOL, PutServer: Thing.SERVER}


def forecast(plan: Plan, snapshot: Snapshot) -> Forecast:
    """What the plan does. Pure: the same plan and snapshot give the same answer.

    The scrubs are those of releases that come at once; ``scrubbed_at_least`` is found by playing
    it again with the engine looking after each release. That may end otherwise, in a failure that
    keeps the deletions from being done, say: then it touches other pools.
    """
    at_once = _Run(plan, snapshot, one_by_one=False).play()
    spread = _Run(plan, snapshot, one_by_one=True).play()
    scrubbed = {(pool.name, pool.created): pool.scrubbed for pool in spread.pools}
    return replace(
        at_once,
        pools=tuple(
            replace(
                pool,
                scrubbed_at_least=min(pool.scrubbed, scrubbed.get((pool.name, pool.created), 0)),
            )
            for pool in at_once.pools
        ),
    )


@dataclass(kw_only=True, eq=False)
class _Watched:
    """A pool that the plan touches."""

    stock: PoolStock
    before: StockCounts
    created: bool = False
    deleted: bool = False


class _Run:
    def __init__(self, plan: Plan, snapshot: Snapshot, *, one_by_one: bool) -> None:
        self._plan = plan
        self._site = Site(snapshot, hold=plan.hold)
        self._one_by_one = one_by_one
        self._watched: list[_Watched] = []
        self._failures: list[Failure] = []
        self._images: dict[str, ImageForecast] = {}
        self._failed = Failed()
        self._came: dict[int, int] = {}  # which one it was, by the id of the change
        self._kept: set[tuple[Thing, str]] = set()
        self._attaching = Attaching(self._site, snapshot, fail=self._fail)

    def play(self) -> Forecast:
        self._remove(first=True)
        self._make()
        skipped = bool(self._failures) and self._plan.stop_at_failure and self._deletes()
        if not skipped:
            self._remove(first=False)
            self._settle()
        return Forecast(
            attachments=self._attachments(),
            pools=tuple(_pool_forecast(each) for each in self._watched),
            images=tuple(self._images.values()),
            failures=tuple(self._failures),
            deletes_skipped=skipped,
        )

    def _make(self) -> None:
        """All in order. Time passes only for who waits: then what is to come has come."""
        order, waiting = Order(self._plan.changes), set[int]()
        while True:
            if stage := order.next():
                held_up = {index for index in stage if self._waits(order.made[index])}
                order.done(index for index in stage if index not in held_up)
                waiting |= held_up
            elif waiting:
                self._end_waiting(order.made[index] for index in sorted(waiting))
                order.done(sorted(waiting))
                waiting.clear()
            elif not order.cut():
                break
        self._settle()

    def _attachments(self) -> tuple[AttachmentForecast, ...]:
        """In the order of the plan, in whichever order they came."""
        attaches = [each for each in self._plan.changes if isinstance(each, Attach)]
        return tuple(self._forecast_of(each) for each in attaches)

    def _deletes(self) -> bool:
        return any(isinstance(each, Remove) and not each.first for each in self._plan.changes)

    def _settle(self) -> None:
        """Let the engine do all that it would do by itself, until nothing is left to do.

        Also in pools that the plan does not touch: they share their storages with the others.
        """
        self._site.settle()

    def _watch(self, name: str, *, created: bool = False) -> _Watched | None:
        stock = self._site.pools.get(name)
        if stock is None:
            return None
        for each in self._watched:
            if each.stock is stock:
                return each
        before = StockCounts() if created else stock.counts()
        self._watched.append(_Watched(stock=stock, before=before, created=created))
        return self._watched[-1]

    def _fail(self, subject: str, label: str, refusal: Refusal) -> None:
        failure = Failure(subject=subject, label=label, reason=refusal.reason, text=refusal.text)
        self._failures.append(failure)

    def _waits(self, change: Made) -> bool:
        """Make it, or find that it can't be made; True for an attachment that has to wait."""
        if not isinstance(change, Attach):
            self._put(change)
            return False
        refusal = self._failed.refusal(change)
        if refusal is None:
            self._watch(change.spec.pool)
        self._came[id(change)] = len(self._came)
        self._attaching.attach(change, refusal=refusal)
        self._note_failed(change)
        return self._forecast_of(change).outcome is Outcome.WAITS

    def _end_waiting(self, changes: Iterable[Made]) -> None:
        """What is to come has come; who is not served by then gives up."""
        self._settle()
        self._attaching.give_up_waiting()
        for change in changes:
            self._note_failed(change)

    def _note_failed(self, change: Made) -> None:
        if self._forecast_of(change).outcome is Outcome.FAILS:
            name = change.spec.name or change.label
            self._failed.note(change, subject=f"attachment/{name}")

    def _forecast_of(self, change: Made) -> AttachmentForecast:
        return self._attaching.forecast(self._came[id(change)])

    def _put(self, change: PutImage | PutPool | PutServer) -> None:
        thing = _THINGS[type(change)]
        subject = f"{thing}/{change.spec.name}"
        if (thing, change.spec.name) in self._kept:
            # what it replaces stays, and that was said already
            self._failed.note(change, subject=subject)
            return
        refusal = self._failed.refusal(change) or self._try_put(change)
        if refusal is not None:
            self._note(subject, change.label, refusal)
            self._failed.note(change, subject=subject)

    def _try_put(self, change: PutImage | PutPool | PutServer) -> Refusal | None:
        if isinstance(change, PutServer):
            return self._site.servers.put(change.spec, create=change.create)
        if isinstance(change, PutImage):
            return self._put_image(change)
        created = change.spec.name not in self._site.pools
        self._watch(change.spec.name)
        refusal = self._site.put_pool(change)
        self._watch(change.spec.name, created=created)
        return refusal

    def _put_image(self, change: PutImage) -> Refusal | None:
        name = change.spec.name
        for pool in self._site.pools.values():
            if pool.spec.master_image == name:
                self._watch(pool.spec.name)
        answer = self._site.put_image(change)
        if isinstance(answer, Refusal):
            return answer
        self._images[name] = ImageForecast(
            name=name,
            new_version=answer,
            version=self._site.images[name].current,
            deleted=False,
        )
        return None

    def _note(self, subject: str, label: str, refusal: Refusal | None) -> None:
        if refusal is not None:
            self._fail(subject, label or subject.partition("/")[2], refusal)

    def _remove(self, *, first: bool) -> None:
        for thing in _REMOVED:
            for change in self._plan.changes:
                if isinstance(change, Remove) and (change.thing, change.first) == (thing, first):
                    self._remove_one(change)

    def _remove_one(self, change: Remove) -> None:
        name = change.name
        steps: dict[Thing, Callable[[str], Refusal | None]] = {
            Thing.ATTACHMENT: self._release,
            Thing.SERVER: self._site.servers.delete,
            Thing.POOL: self._delete_pool,
            Thing.IMAGE: self._delete_image,
        }
        refusal = steps[change.thing](name)
        if refusal is not None and change.first:
            if change.thing is Thing.ATTACHMENT:
                self._attaching.refuse(name, refusal)
            self._kept.add((change.thing, name))
        self._note(f"{change.thing}/{name}", change.label, refusal)

    def _release(self, name: str) -> Refusal | None:
        held: AttachmentView | None = self._site.attachments.get(name)
        watched = self._watch(held.pool) if held else None
        refusal = self._site.release(name)
        if self._one_by_one and watched is not None:
            self._settle()
        return refusal

    def _delete_pool(self, name: str) -> Refusal | None:
        watched = self._watch(name)
        refusal = self._site.delete_pool(name)
        if watched is not None and refusal is None:
            watched.deleted = True
        return refusal

    def _delete_image(self, name: str) -> Refusal | None:
        image = self._site.images.get(name)
        refusal = self._site.delete_image(name)
        if image is not None and refusal is None:
            self._images[name] = ImageForecast(
                name=name, new_version=False, version=image.current, deleted=True
            )
        return refusal


def _pool_forecast(watched: _Watched) -> PoolForecast:
    stock, done = watched.stock, watched.stock.done
    return PoolForecast(
        name=stock.spec.name,
        before=watched.before,
        after=StockCounts() if watched.deleted else stock.counts(),
        created=watched.created,
        deleted=watched.deleted,
        threshold=stock.spec.scrub.threshold,
        reaches_threshold=done.threshold_runs > 0,
        scrubbed=done.scrubbed,
        scrubbed_at_least=done.scrubbed,
        scrubbed_bytes=done.scrubbed_bytes,
        recycled=done.recycled,
        destroyed=done.destroyed,
        stale_replaced=done.stale_replaced,
        servers_on_old_version=stock.held_of_old_version(),
        image_version=stock.wanted.number if stock.wanted else 0,
    )
