"""The attachments of a plan: who gets a ready replica, who waits, who is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from clonepool.domain.forecast import (
    Attach,
    AttachmentForecast,
    AttachmentView,
    Outcome,
    ReleasedView,
    Snapshot,
    StockCounts,
)
from clonepool.domain.forecast_servers import Refusal
from clonepool.domain.forecast_site import Site, name_taken
from clonepool.domain.forecast_stock import PoolStock
from clonepool.domain.forecast_tickets import Claim
from clonepool.domain.model import SystemUser
from clonepool.domain.states import WhenEmpty

# Told of a failure: its subject, its label, and why.
Fail = Callable[[str, str, Refusal], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Waiter:
    """An attachment of the plan in a pool's queue; ``index`` is its place in the answer."""

    index: int
    change: Attach
    stock: PoolStock
    view: AttachmentView


class Attaching:
    """Plays the attachments in the plan's order."""

    def __init__(self, site: Site, snapshot: Snapshot, *, fail: Fail) -> None:
        self._site = site
        self._fail = fail
        self._rates = {view.spec.name: (view.clone_s, view.clones_seen) for view in snapshot.pools}
        self._forecasts: list[AttachmentForecast] = []
        self._waiters: list[Waiter] = []
        self._refused: dict[str, Refusal] = {}

    def forecast(self, index: int) -> AttachmentForecast:
        """Of the attachment that came so many-th, from 0."""
        return self._forecasts[index]

    def refuse(self, name: str, refusal: Refusal) -> None:
        """Its predecessor will not be released, so it is never asked for."""
        self._refused[name] = refusal

    def attach(self, change: Attach, *, refusal: Refusal | None = None) -> None:
        """Claim, wait or be refused, as CreateAttachment answers; ``refusal``: not even asked."""
        made = AttachmentForecast(
            label=change.label or change.spec.name,
            name=change.spec.name,
            pool=change.spec.pool,
            outcome=Outcome.WARM,
        )
        if refusal is None and ("pool" in change.unknown or not change.spec.pool):
            text = "the pool's name is known only after the apply"
            self._forecasts.append(replace(made, outcome=Outcome.UNKNOWN, reason=text))
            return
        answer = self._refused.get(change.spec.name) or refusal or self._claim(change)
        if isinstance(answer, Refusal):
            made = replace(made, outcome=Outcome.FAILS, reason=answer.reason)
            self._say(change, answer)
        elif isinstance(answer, Waiter):
            made = self._waiting(made, answer)
        else:
            made = replace(made, held=answer is Claim.HELD)
        self._forecasts.append(made)

    def give_up_waiting(self) -> None:
        """After all that is to come has come: who is not served by then fails at its timeout."""
        for waiter in self._waiters:
            stock = waiter.stock
            if waiter not in stock.queue:
                self._keep(waiter.view, stock)
                continue
            stock.queue.remove(waiter)
            refusal = _unserved(stock)
            self._site.forget(waiter.view)
            self._say(waiter.change, refusal)
            failed = replace(
                self._forecasts[waiter.index],
                outcome=Outcome.FAILS,
                place=0,
                wait_s=None,
                estimate="",
                reason=refusal.reason,
            )
            self._forecasts[waiter.index] = failed
        self._waiters.clear()

    def _say(self, change: Attach, refusal: Refusal) -> None:
        name = change.spec.name
        if name not in self._refused:
            self._fail(f"attachment/{name}", change.label or name, refusal)

    def _claim(self, change: Attach) -> Waiter | Refusal | Claim:
        spec = change.spec
        if spec.name in self._site.attachments:
            return name_taken("attachment", spec.name)
        stock = self._site.pools.get(spec.pool)
        if stock is None:
            text = f"there is no pool {spec.pool}; `clonepool pool list` shows what there is"
            return Refusal(reason="NOT_FOUND", text=text)
        user = self._site.user_of(change)
        if isinstance(user, Refusal):
            return user
        server = self._site.servers.take(
            change, user=user, needs_initiator=self._site.needs_initiator(stock)
        )
        if isinstance(server, Refusal):
            return server
        refusal = self._site.check_chap(change, stock)
        back = None if refusal else _resumed(change, stock, user)
        claim = Claim.NONE if refusal or back is not None else stock.claim()
        warm = back is not None or claim is not Claim.NONE
        refusal = refusal or (None if warm else _may_not_wait(stock))
        if refusal is not None:
            return refusal
        view = self._keep_held(change, stock, server=server, user=user, back=back, warm=warm)
        return claim if warm else self._queue(change, stock, view)

    def _keep_held(
        self,
        change: Attach,
        stock: PoolStock,
        *,
        server: object,
        user: SystemUser | None,
        back: ReleasedView | None,
        warm: bool,
    ) -> AttachmentView:
        view = replace(self._view(change, stock, warm=warm), system_user=user)
        if back is not None:
            view = replace(view, image_version=back.image_version, size_bytes=back.size_bytes)
        name = self._site.servers.keep(server, attachment=view.name, user=user)
        view = replace(view, server=name)
        self._site.attachments[view.name] = view
        return view

    def _view(self, change: Attach, stock: PoolStock, *, warm: bool) -> AttachmentView:
        # what has no name yet still needs one here, which no other has
        name = change.spec.name or f"?{len(self._forecasts)}"
        view = AttachmentView(name=name, pool=change.spec.pool, server="", image_version=0)
        return _held(view, stock) if warm else view

    def _keep(self, view: AttachmentView, stock: PoolStock) -> None:
        if view.name in self._site.attachments:
            self._site.attachments[view.name] = _held(view, stock)

    def _queue(self, change: Attach, stock: PoolStock, view: AttachmentView) -> Waiter:
        waiter = Waiter(index=len(self._forecasts), change=change, stock=stock, view=view)
        self._waiters.append(waiter)
        stock.wait(waiter)
        return waiter

    def _waiting(self, made: AttachmentForecast, waiter: Waiter) -> AttachmentForecast:
        place = waiter.stock.queue.index(waiter) + 1
        clone_s, seen = self._rates.get(made.pool, (None, 0))
        if clone_s is None:
            text = "no clone of this pool has ended lately, so there is no rate to go by"
            return replace(made, outcome=Outcome.WAITS, place=place, estimate=text)
        clones = "the last clone" if seen == 1 else f"the mean of the last {seen} clones"
        return replace(
            made,
            outcome=Outcome.WAITS,
            place=place,
            wait_s=place * clone_s,
            estimate=f"place {place} at {clone_s:.3g} s a clone, {clones}",
        )


def _resumed(change: Attach, stock: PoolStock, user: SystemUser | None) -> ReleasedView | None:
    if not change.spec.resume_released or user is None:
        return None
    return stock.resume(attachment=change.spec.name, system_user=user)


def _held(view: AttachmentView, stock: PoolStock) -> AttachmentView:
    wanted = stock.wanted
    if wanted is None:
        return view
    return replace(
        view,
        image_version=wanted.number,
        slot=wanted.writable_bytes is None,
        size_bytes=wanted.writable_bytes or 0,
    )


def _may_not_wait(stock: PoolStock) -> Refusal | None:
    name = stock.spec.name
    if stock.stopped_reason:
        text = (
            f"pool {name} has no ready replica and stopped filling: {stock.stopped_reason}; mend "
            f"that, then run `clonepool pool reset {name}`"
        )
        return Refusal(reason="POOL_STOPPED", text=text)
    if stock.spec.when_empty is not WhenEmpty.FAIL:
        return None
    counts = stock.counts()
    released = counts.released
    way_out = f", or run `clonepool scrub run {name}`" if released else ""
    text = (
        f"pool {name} has no ready replica left for it ({stock.making()} being made, {released} "
        f"released and not scrubbed yet{_tickets(counts)}); run again later, raise min_ready"
        f"{way_out}"
    )
    return Refusal(reason="POOL_EMPTY", text=text)


def _tickets(counts: StockCounts) -> str:
    return f", {counts.held} held for tickets" if counts.held else ""


def _unserved(stock: PoolStock) -> Refusal:
    name, counts = stock.spec.name, stock.counts()
    scrub = f" or run `clonepool scrub run {name}`" if counts.released else ""
    if stock.wanted is None:
        text = f"master image {stock.spec.master_image} has no version that is ready; import one"
        return Refusal(reason="NO_IMAGE_VERSION", text=text)
    if stock.short_of_space:
        text = f"pool {name} has no space for another clone; free space{scrub}"
        return Refusal(reason="NO_SPACE", text=text)
    text = (
        f"pool {name} is at max_replicas {stock.spec.max_replicas} ({counts.allocated} "
        f"allocated{_tickets(counts)}), "
        "and creates come before deletes: release first, then run again, or raise max_replicas"
    )
    return Refusal(reason="MAX_REPLICAS", text=text)
