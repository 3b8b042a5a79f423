"""Attach and release through the controllers, in this process, against a real tgtd."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import callers
from benchmarks.callers import Order, Sizes
from benchmarks.figures import Figure
from benchmarks.floor import ATTACH_FLOOR, RELEASE_FLOOR, Floor, open_floor
from benchmarks.needs import need_tgt
from benchmarks.rounds import Burst, burst
from benchmarks.site import Site, open_site

NAME = "attach"
FULL, QUICK, SMOKE = callers.FULL, callers.QUICK, callers.SMOKE
_POOL = "web"


class FloorSide:
    """The floor, in this process."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    def prepare(self, count: int) -> None:
        """Export targets."""
        self._floor.export_more(count)

    def attach(self, order: Order) -> Burst:
        """Commit and grant."""
        return _burst(self._floor.attach, order)

    def settle(self) -> None:
        """Nothing follows."""

    def release(self, order: Order) -> Burst:
        """Commit, revoke and unexport."""
        return _burst(self._floor.release, order)


class EngineSide:
    """The engine, in this process."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def prepare(self, count: int) -> None:
        """Fill the pool."""
        self._site.resize_pool(_POOL, ready=count)
        self._site.wait_ready(_POOL, count)
        self._site.wait_idle()

    def attach(self, order: Order) -> Burst:
        """Create attachments."""
        return _burst(partial(self._site.attach, pool=_POOL), order)

    def settle(self) -> None:
        """Let no released volume make room for a new replica while releases are timed."""
        self._site.resize_pool(_POOL, ready=0)
        self._site.wait_idle()

    def release(self, order: Order) -> Burst:
        """Delete attachments."""
        return _burst(partial(self._site.release, pool=_POOL), order)


def run(*, scratch: Path, sizes: Sizes) -> list[Figure]:
    """Each number of callers against the floor."""
    need_tgt()
    with open_floor(scratch / "floor") as floor, open_site(scratch / "site") as site:
        site.add_image("web")
        site.add_pool(_POOL, image="web", ready=0)
        return callers.measure(
            benchmark=NAME,
            how="in process",
            sizes=sizes,
            floor=FloorSide(floor),
            subject=EngineSide(site),
            attach_floor=ATTACH_FLOOR,
            release_floor=RELEASE_FLOOR,
        )


def _burst(operation: Callable[[int], None], order: Order) -> Burst:
    return burst(operation, callers=order.callers, first=order.first, count=order.count)
