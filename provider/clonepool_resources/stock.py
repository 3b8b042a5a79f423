"""What a preview may say of stock: what is there now, asked briefly, said once, and in no diff.

A hook sees one resource, so nothing here claims what a whole plan would do: that is the forecast's.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import ClonepoolError, FailedPrecondition, NotFound
from clonepool_resources.image_fields import MASTER_IMAGE
from clonepool_resources.lifecycle import Caller
from clonepool_resources.pool_fields import REPLICA_POOL
from clonepool_resources.server_fields import ATTACHMENT
from clonepool_resources.types import Inputs, Resource, Value

VARIABLE: Final = "CLONEPOOL_PREVIEW_STOCK"
"""The environment variable that switches it off, set to ``off``."""

CONNECT_WAIT_S: Final = 0.25
"""How long an engine that can't be reached at all is tried: a preview needs none."""

_OFF: Final = "off"
_MEANT: Final = ("", "on", _OFF)
# all questions of a process together: 1,000 pools must not hold a preview up either
_PATIENCE_S: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class Remark:
    """One line for a preview; ``is_short`` where an attachment would not be served at once."""

    text: str
    is_short: bool = False
    is_about_engine: bool = False


class Stock:
    """The stock of one engine, for the previews of one process. Thread-safe.

    Nothing is raised, and nothing is said twice. ``connect`` gives a client; a setting that is
    only known after the apply (FailedPrecondition) is a reason to say nothing. ``hold`` is the
    ticket that the apply will bring, "" for none.
    """

    def __init__(
        self,
        connect: Callable[[], Caller],
        *,
        hold: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._hold = hold
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: set[tuple[str, str]] = set()
        self._switch = os.environ.get(VARIABLE, "")
        self._left_s = 0.0 if self._switch.lower() == _OFF else _PATIENCE_S

    def of_switch(self) -> Remark | None:
        """That the switch itself says nothing that is known, to the first who asks."""
        with self._lock:
            switch, self._switch = self._switch, ""
        if switch.lower() in _MEANT:
            return None
        text = (
            f"{VARIABLE}: {switch[:40]!r} is neither on nor off; `off` keeps stock out of previews"
        )
        return Remark(text=text, is_short=True, is_about_engine=True)

    def of_create(self, resource: Resource, inputs: Inputs) -> Remark | None:
        """What a resource that is to be made meets: an attachment its pool, a replaced one itself.

        ``inputs`` may hold unknown values.
        """
        if resource is ATTACHMENT:
            return self._once("stock", inputs.get("pool"), self._ready)
        return self.of_change(resource, inputs)

    def of_change(self, resource: Resource, inputs: Inputs) -> Remark | None:
        """What a pool holds, or was made of an image, that is to be changed or replaced."""
        if resource is REPLICA_POOL:
            return self._once("pool", inputs.get("name"), self._holdings)
        if resource is MASTER_IMAGE:
            return self._once("image", inputs.get("name"), self._made_of)
        return None

    def _once(self, about: str, name: Value, ask: Callable[[str], Remark]) -> Remark | None:
        """The answer to the first who asks; the others of the same pool or image get None."""
        if not isinstance(name, str):
            return None
        with self._lock:
            if self._left_s <= 0 or (about, name) in self._asked:
                return None
            self._asked.add((about, name))
            began = self._clock()
            try:
                return ask(name)
            except NotFound:
                return None
            except FailedPrecondition:
                self._left_s = 0.0
                return None
            except Exception as error:  # noqa: BLE001 - a preview goes on whatever happens here
                self._left_s = 0.0
                return Remark(
                    text=f"nothing is known of stock: {_one_line(error)}", is_about_engine=True
                )
            finally:
                self._left_s -= self._clock() - began

    def _call(self, method: str, request: Any) -> Any:
        return self._connect().call(method, request, timeout_s=max(self._left_s, 0.01))

    def _ready(self, pool: str) -> Remark:
        found: pb.ReplicaPool = self._call("GetPool", pb.GetRequest(name=pool))
        # an old version's replicas are on their way out: nobody gets them
        ready, stock = found.counts.ready - found.counts.stale, found.spec.min_ready
        of = f" of {stock}" if ready <= stock else ""
        held = f" ({found.counts.held} held for tickets)" if found.counts.held else ""
        said = f"pool {pool}: ready {ready}{of} now{held}"
        # what a ticket still holds, only the engine's forecast says
        if ready > (0 if self._hold else found.counts.held):
            return Remark(text=said)
        return Remark(text=f"{said}; {_what_follows(found)}", is_short=True)

    def _holdings(self, name: str) -> Remark:
        found: pb.ReplicaPool = self._call("GetPool", pb.GetRequest(name=name))
        return Remark(text=f"pool {name}: {_counted(found.counts)} now")

    def _made_of(self, name: str) -> Remark:
        found: pb.MasterImage = self._call("GetImage", pb.GetRequest(name=name))
        pools = [pool for pool in self._pools() if pool.spec.master_image == name]
        total = pb.PoolCounts(
            ready=sum(pool.counts.ready for pool in pools),
            allocated=sum(_allocated(pool.counts) for pool in pools),
            released=sum(pool.counts.released for pool in pools),
        )
        version = found.current.number if found.HasField("current") else 0
        held = f"{len(pools)} pool{'' if len(pools) == 1 else 's'}: {_counted(total)}"
        return Remark(text=f"master image {name}: version {version} in {held} now")

    def _pools(self) -> Iterator[pb.ReplicaPool]:
        token = ""
        while True:
            page = self._call("ListPools", pb.ListRequest(page_token=token))
            yield from page.pools
            token = page.next_page_token
            if not token:
                return


def _one_line(error: Exception) -> str:
    if isinstance(error, ClonepoolError):
        return error.one_line()
    return " ".join(str(error).split()) or type(error).__name__


def _what_follows(pool: pb.ReplicaPool) -> str:
    """What an attachment would meet in a pool that has nothing ready."""
    if pool.spec.when_empty == "fail":
        return "an attachment would fail (when_empty is fail)"
    if pool.stopped_reason:
        return f"its filling stopped: {' '.join(pool.stopped_reason.split())}"
    before = f", {pool.counts.waiting} before it" if pool.counts.waiting else ""
    space = ": its storage has no room for more" if pool.short_of_space else ""
    return f"an attachment would wait{before}{space}"


def _allocated(counts: pb.PoolCounts) -> int:
    return counts.attaching + counts.allocated + counts.detaching


def _counted(counts: pb.PoolCounts) -> str:
    return f"ready {counts.ready}, allocated {_allocated(counts)}, released {counts.released}"
