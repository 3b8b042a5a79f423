"""Random plans on what an engine holds, such as a user's next edit of a program makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
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
from clonepool.domain.holds import Wanted
from clonepool.domain.model import (
    AttachmentSpec,
    PageRequest,
    PoolSpec,
    ScrubPolicy,
    ServerSpec,
    SystemUser,
)
from clonepool.domain.states import AfterScrub, SystemUserKind, VerifyMode, WhenEmpty
from clonepool.errors import ResourceExhausted
from clonepool.testing.engines import DEFAULT_IMAGE_BYTES, FABRIC, USER
from tests.forecast.stepping import SteppingRig

OTHER = SystemUser(name="billing", kind=SystemUserKind.APPLICATION)
# the pool that is scrubbed in windows; not deleted: what it leaves would wait for the next one
TIMED = "front"
_WINDOWS = ((), ("00:00-01:00",), ("08:00-20:00",))
_PAGE = PageRequest()
_AFTER = 0.1  # the share of the things made before it that one comes after


class Planner:
    """Makes plans; the names that it gives are new ones. ``makes``: also new pools and versions.

    On a full storage these come out as the timing has it: what is made beside them takes the room.
    """

    def __init__(self, rig: SteppingRig, random: Random, *, makes: bool = True) -> None:
        self._rig = rig
        self._makes = makes
        self._random = random
        self._number = 0
        self._gone: dict[str, AttachmentSpec] = {}  # what plans released

    def holds(self) -> str:
        """Others come and go with their tickets; the next plan's own, "" where it has none."""
        holds = self._rig.engine.holds
        for held in holds.list(page=_PAGE)[0]:
            if self._chance(0.6):
                holds.release(ticket=held.id)
        older = self._hold() if self._chance(0.3) else ""
        tickets = [self._hold() for _ in range(self._random.randint(0, 2))]
        own = older or self._random.choice([*tickets, "", "no-such-ticket"])
        # the pools have refilled beside what is held
        self._rig.settle()
        return own

    def _hold(self) -> str:
        """A ticket for some of some pools; "" where they can spare nothing."""
        wanted = [
            Wanted(pool=pool.spec.name, count=self._random.randint(1, 3))
            for pool in self._pools()
            if self._chance(0.6)
        ]
        if not wanted:
            return ""
        try:
            made = self._rig.engine.holds.create(
                wanted=wanted, duration_s=600, owner="", token=self._new("hold"), partial=True
            )
        except ResourceExhausted:
            return ""
        return made.id

    def plan(self, *, replaces: bool, hold: str = "") -> Plan:
        """One plan of up to a dozen changes, whose attachments bring this ticket."""
        parts: list[Any] = [self._attaches(), self._releases()]
        if replaces and self._chance(0.4):
            parts.append(self._replacements())
        for chance, part in (
            (0.35, self._pool_changes),
            (0.25 if self._makes else 0.0, self._new_image_or_pool),
            (0.25, self._servers),
            (0.15, self._pool_deletion),
            (0.05, self._image_deletion),
        ):
            if self._chance(chance):
                parts.append(part())
        changes = tuple(change for part in parts for change in part)
        stop = self._chance(0.5)
        ordered = self._in_order(_without_clashes(changes))
        return Plan(changes=ordered, stop_at_failure=stop, hold=hold)

    def _in_order(self, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        """Each with a key; some come after others, as a program's resources do."""
        made: list[Change] = []
        # what may come before: a new pool comes first of all, so after other new pools only
        before: dict[type, list[str]] = {PutPool: [], PutServer: [], Attach: []}
        for kind in (PutPool, PutServer, Attach):
            for change in changes:
                if not isinstance(change, kind) or (kind is PutPool and not change.create):
                    continue
                keys = [key for keys in before.values() for key in keys]
                after = {key for key in keys if self._chance(_AFTER)}
                key = f"{kind.__name__}/{change.spec.name}"
                before[kind].append(key)
                made.append(replace(change, key=key, after=frozenset(after)))
        places = {(type(each), each.spec.name): each for each in made}
        return tuple(
            each if isinstance(each, Remove) else places.get((type(each), each.spec.name), each)
            for each in changes
        )

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _new(self, word: str) -> str:
        self._number += 1
        return f"{word}-{self._number}"

    def _pools(self) -> list[Any]:
        return list(self._rig.engine.pools.list(page=_PAGE)[0])

    def _attachments(self) -> list[Any]:
        return list(self._rig.engine.attachments.list(page=_PAGE)[0])

    def _attaches(self) -> Iterator[Change]:
        # what a plan did not come to release is there still: the same again would only find it
        for held in self._attachments():
            self._gone.pop(held.spec.name, None)
        for _ in range(self._random.randint(0, 6)):
            if self._gone and self._chance(0.6):
                # again, with what it had if that is still there
                again = self._gone.pop(self._random.choice(sorted(self._gone)))
                yield Attach(spec=replace(again, resume_released=True))
            else:
                yield Attach(spec=self._attachment(self._new("web")))

    def _attachment(self, name: str) -> AttachmentSpec:
        pools = self._pools()
        pool = self._random.choice(pools).spec.name if pools else "gone"
        pool = "no-such-pool" if self._chance(0.03) else pool
        user = self._random.choice([USER, USER, USER, OTHER, None])
        held = self._attachments()
        taken = self._random.choice(held).spec.name if held and self._chance(0.03) else name
        return AttachmentSpec(
            name=taken,
            pool=pool,
            system_user=user,
            resume_released=self._chance(0.5),
            **self._server(name),
        )

    def _server(self, name: str) -> dict[str, Any]:
        known = [each.spec for each in self._rig.engine.servers.list(page=_PAGE)[0]]
        kind = self._random.choice(["inline"] * 6 + ["named", "picked", "taken", "missing"])
        if kind == "named" and known:
            return {"server": self._random.choice(known).name}
        if kind == "picked":
            return {"server_selector": {"rack": self._random.choice("abz")}}
        if kind == "missing":
            return {"server": "no-such-server"}
        initiator = f"iqn.2026-01.test:{name}"
        if kind == "taken" and known:
            initiator = self._random.choice(known).initiator
        return {"inline_server": ServerSpec(name=f"server-{name}", initiator=initiator)}

    def _releases(self) -> Iterator[Change]:
        share = self._random.choice([0.0, 0.3, 0.6, 1.0])
        for held in self._attachments():
            if self._chance(share):
                self._gone[held.spec.name] = held.spec
                yield Remove(thing=Thing.ATTACHMENT, name=held.spec.name)

    def _replacements(self) -> Iterator[Change]:
        for held in self._attachments():
            if self._chance(0.4):
                yield Remove(thing=Thing.ATTACHMENT, name=held.spec.name, first=True)
                yield Attach(spec=held.spec)

    def _pool_changes(self) -> Iterator[Change]:
        for pool in self._pools():
            if self._chance(0.5):
                yield PutPool(spec=self._pool(pool.spec.name, pool.spec.master_image))

    def _pool(self, name: str, image: str) -> PoolSpec:
        min_ready = self._random.randint(0, 4)
        scrub = ScrubPolicy(
            threshold=self._random.randint(1, 5),
            then=self._random.choice(list(AfterScrub)),
            max_bytes=self._random.choice([0, 0, 2, 3]) * DEFAULT_IMAGE_BYTES,
            max_age_s=self._random.choice([0, 0, 0, 7200]),
            undo_window_s=self._random.choice([0, 0, 0, 3600]),
            windows=self._random.choice(_WINDOWS) if name == TIMED else (),
            verify=self._random.choice(list(VerifyMode)),
        )
        return PoolSpec(
            name=name,
            master_image=image,
            fabric=FABRIC,
            min_ready=min_ready,
            max_replicas=max(1, min_ready) + self._random.randint(0, 5),
            when_empty=self._random.choice([WhenEmpty.WAIT, WhenEmpty.WAIT, WhenEmpty.FAIL]),
            max_unavailable=self._random.randint(1, 2),
            wait_for_ready=min_ready,
            scrub=scrub,
        )

    def _new_image_or_pool(self) -> Iterator[Change]:
        images = list(self._rig.engine.images.list(page=_PAGE)[0])
        if self._chance(0.5) and images:
            spec = self._random.choice(images).spec
            fill = str(self._random.random()).encode()
            portion = self._rig.portion(self._new("content"), fill=fill)
            yield PutImage(spec=replace(spec, writable=portion))
            return
        names = [image.spec.name for image in images]
        name = self._new("pool")
        yield PutPool(spec=self._pool(name, self._random.choice([*names, "none"])), create=True)
        for _ in range(self._random.randint(0, 3)):
            attachment = self._attachment(self._new("web"))
            yield Attach(spec=replace(attachment, pool=name))

    def _servers(self) -> Iterator[Change]:
        known = [each.spec for each in self._rig.engine.servers.list(page=_PAGE)[0]]
        for _ in range(self._random.randint(0, 2)):
            name = self._new("host")
            initiator = f"iqn.2026-01.test:{name}"
            if known and self._chance(0.3):
                initiator = self._random.choice(known).initiator
            labels = {"rack": self._random.choice("ab")}
            spec = ServerSpec(name=name, initiator=initiator, labels=labels)
            yield PutServer(spec=spec, create=True)
        for spec in known:
            if spec.name.startswith("host") and self._chance(0.2):
                yield Remove(thing=Thing.SERVER, name=spec.name)

    def _pool_deletion(self) -> Iterator[Change]:
        pools = [pool for pool in self._pools() if pool.spec.name != TIMED]
        if len(pools) > 1:
            pool = self._random.choice(pools)
            yield Remove(thing=Thing.POOL, name=pool.spec.name)
            if self._chance(0.6):
                for held in self._attachments():
                    if held.pool_id == pool.id:
                        yield Remove(thing=Thing.ATTACHMENT, name=held.spec.name)

    def _image_deletion(self) -> Iterator[Change]:
        for image in self._rig.engine.images.list(page=_PAGE)[0]:
            if self._chance(0.5):
                yield Remove(thing=Thing.IMAGE, name=image.spec.name)


def _without_clashes(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """A program declares each thing once, and removes it once: a replacement beats a release."""
    replaced = {each.name for each in changes if isinstance(each, Remove) and each.first}
    kept: list[Change] = []
    seen: set[tuple[Any, ...]] = set()
    for change in changes:
        name = change.name if isinstance(change, Remove) else change.spec.name
        key: tuple[Any, ...] = (type(change), name)
        if isinstance(change, Remove):
            key = (change.thing, name, change.first)
            if change.thing is Thing.ATTACHMENT and not change.first and name in replaced:
                continue
        if key not in seen:
            seen.add(key)
            kept.append(change)
    return tuple(kept)
