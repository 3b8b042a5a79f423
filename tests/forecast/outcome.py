"""Carries out a plan as `pulumi up` does, and notes what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from clonepool.domain.forecast import (
    Attach,
    Change,
    Plan,
    PutImage,
    PutPool,
    PutServer,
    Remove,
    Thing,
)
from clonepool.domain.model import Ref
from clonepool.domain.states import AttachmentState, VolumeState
from clonepool.errors import ClonepoolError, NotFound
from tests.forecast.stepping import SteppingRig

_ORDER = (Thing.ATTACHMENT, Thing.SERVER, Thing.POOL, Thing.IMAGE)
TIMED_OUT = "MAX_REPLICAS"
NO_SPACE = "NO_SPACE"


@dataclass(kw_only=True)
class Seen:
    """What came of a plan."""

    attachments: dict[str, tuple[str, str]] = field(default_factory=dict)  # outcome, reason
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    deletes_skipped: bool = False
    scrubbed: Counter[str] = field(default_factory=Counter)
    recycled: Counter[str] = field(default_factory=Counter)
    destroyed: Counter[str] = field(default_factory=Counter)


class Run:
    """One plan. ``one_by_one``: the engine looks after each release, else when all is done."""

    def __init__(self, rig: SteppingRig, plan: Plan, *, one_by_one: bool) -> None:
        self._rig = rig
        self._plan = plan
        self._one_by_one = one_by_one
        self.seen = Seen()
        self._refused: dict[str, str] = {}
        self._failed: set[str] = set()  # by key; each has one
        self._runs_before = len(rig.runs())

    def carry_out(self) -> Seen:
        # nothing else of the plan touches a new pool before it is filled
        new_pools = [c for c in self._plan.changes if isinstance(c, PutPool) and c.create]
        for change in new_pools:
            self._put(change)
        if new_pools:
            self._rig.settle()
        self._removals(first=True)
        for kind in (PutImage, PutPool, PutServer):
            for change in self._plan.changes:
                is_new_pool = isinstance(change, PutPool) and change.create
                if isinstance(change, kind) and not is_new_pool:
                    self._put(change)
        self._attach_all()
        last = any(isinstance(each, Remove) and not each.first for each in self._plan.changes)
        self.seen.deletes_skipped = bool(self.seen.failures and self._plan.stop_at_failure and last)
        if not self.seen.deletes_skipped:
            self._removals(first=False)
            self._rig.settle()
        self._count_runs()
        return self.seen

    def _count_runs(self) -> None:
        for run in self._rig.runs()[self._runs_before :]:
            self.seen.scrubbed[run.pool_name] += run.volumes
            self.seen.recycled[run.pool_name] += run.recycled
            self.seen.destroyed[run.pool_name] += run.destroyed

    def _try(self, subject: str, step: Callable[[], Any]) -> tuple[Any, str]:
        try:
            return step(), ""
        except NotFound:
            reason = "NOT_FOUND"
        except ClonepoolError as error:
            reason = error.reason
        self.seen.failures[subject, reason] += 1
        return None, reason

    def _is_not_begun(self, change: Attach | PutImage | PutPool | PutServer, word: str) -> bool:
        """What comes after something that failed is never asked for."""
        if not change.after & self._failed:
            return False
        self._failed.add(change.key)
        self.seen.failures[f"{word}/{change.spec.name}", "DEPENDENCY_FAILS"] += 1
        return True

    def _put(self, change: Change) -> None:
        engine, name = self._rig.engine, change.spec.name
        if isinstance(change, PutImage):
            found = engine.images.get(ref=Ref(name=name))
            after, _ = self._try(
                f"image/{name}",
                lambda: engine.images.update(image_id=found.id, spec=change.spec),
            )
            self._rig.wait_imported(name, number=after.latest.number)
            return
        kind = engine.pools if isinstance(change, PutPool) else engine.servers
        word = "pool" if isinstance(change, PutPool) else "server"
        if self._is_not_begun(change, word):
            return
        if change.create:
            _, reason = self._try(
                f"{word}/{name}", lambda: kind.create(spec=change.spec, token=f"t-{name}")
            )
            if reason:
                self._failed.add(change.key)
        else:
            found = engine.pools.get(ref=Ref(name=name))
            self._try(
                f"{word}/{name}", lambda: engine.pools.update(pool_id=found.id, spec=change.spec)
            )

    def _attach_all(self) -> None:
        """Each as soon as what it comes after is done; the engine gets on while some wait."""
        left = [change for change in self._plan.changes if isinstance(change, Attach)]
        waiting: list[Attach] = []
        while left or waiting:
            keys = {change.key for change in [*left, *waiting]}
            now = [change for change in left if not change.after & keys]
            left = [change for change in left if change.after & keys]
            for change in now:
                made = self._attach(change)
                if made is not None and made.state is AttachmentState.WAITING:
                    waiting.append(change)
            if not now:
                self._wait(waiting)
                waiting = []
        self._rig.settle()

    def _wait(self, waiting: list[Attach]) -> None:
        self._rig.settle()
        # each takes its place in turn: first come, first served
        for change in waiting:
            self._poll(change)
        self._rig.settle()
        for change in waiting:
            self._end_waiting(change)

    def _attach(self, change: Attach) -> Any:
        name = change.spec.name
        if name in self._refused:
            self.seen.attachments[name] = ("fails", self._refused[name])
            self._failed.add(change.key)
            return None
        if self._is_not_begun(change, "attachment"):
            self.seen.attachments[name] = ("fails", "DEPENDENCY_FAILS")
            return None
        made, reason = self._try(f"attachment/{name}", lambda: self._create(change))
        if made is None:
            # a name that is taken by another is told of under the same name
            self.seen.attachments[name] = ("fails", reason)
            self._failed.add(change.key)
            return None
        outcome = "warm" if made.state is AttachmentState.ATTACHED else "waits"
        self.seen.attachments[name] = (outcome, "")
        return made

    def _create(self, change: Attach) -> Any:
        token = f"{change.spec.name}/{id(self)}"
        return self._rig.engine.attachments.create(
            spec=change.spec, token=token, hold=self._plan.hold
        )

    def _poll(self, change: Attach) -> Any:
        made = self._create(change)
        assert made.warm is (self.seen.attachments[change.spec.name][0] == "warm")
        return made

    def _end_waiting(self, change: Attach) -> None:
        made = self._poll(change)
        if made.state is not AttachmentState.WAITING:
            return
        name = change.spec.name
        reason = NO_SPACE if made.wait_reason else TIMED_OUT
        self.seen.attachments[name] = ("fails", reason)
        self._failed.add(change.key)
        self.seen.failures[f"attachment/{name}", reason] += 1
        self._rig.engine.attachments.delete(attachment_id=made.id, force=False)

    def _removals(self, *, first: bool) -> None:
        for thing in _ORDER:
            for change in self._plan.changes:
                if isinstance(change, Remove) and (change.thing, change.first) == (thing, first):
                    self._remove(change)

    def _remove(self, change: Remove) -> None:
        engine, name = self._rig.engine, change.name
        kinds = {
            Thing.ATTACHMENT: (engine.attachments, "attachment_id"),
            Thing.SERVER: (engine.servers, "server_id"),
            Thing.POOL: (engine.pools, "pool_id"),
            Thing.IMAGE: (engine.images, "image_id"),
        }
        kind, argument = kinds[change.thing]
        try:
            found = kind.get(ref=Ref(name=name))
        except NotFound:
            return
        more = {"force": False} if change.thing is Thing.ATTACHMENT else {}
        _, reason = self._try(
            f"{change.thing}/{name}", lambda: kind.delete(**{argument: found.id}, **more)
        )
        if reason and change.first:
            self._refused[name] = reason
        if self._one_by_one and change.thing is Thing.ATTACHMENT:
            self._rig.settle()


def stock_now(rig: SteppingRig, name: str) -> dict[str, int]:
    """A pool's stock, as a forecast counts it."""
    counts = rig.pool(name).counts
    held = (VolumeState.ATTACHING, VolumeState.ALLOCATED, VolumeState.DETACHING)
    return {
        "ready": counts.of(VolumeState.READY) - counts.stale,
        "stale": counts.stale,
        "allocated": counts.of(*held),
        "released": counts.of(VolumeState.RELEASED),
        "waiting": counts.waiting,
        "held": counts.held,
    }
