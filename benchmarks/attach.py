"""Attach and release through the controllers, in this process, against a real tgtd."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.callers import Sizes, attach_goal, by_callers, figure
from benchmarks.figures import NO_GOAL, Figure
from benchmarks.floor import ATTACH_FLOOR, RELEASE_FLOOR, Floor, open_floor
from benchmarks.needs import need_tgt
from benchmarks.rounds import burst
from benchmarks.site import Site, open_site

NAME = "attach"
_POOL = "web"

FULL = Sizes(rounds=5, operations={1: 60, 8: 120, 64: 192})
QUICK = Sizes(rounds=3, operations={1: 25, 8: 48, 64: 128})
SMOKE = Sizes(rounds=2, operations={1: 2, 4: 8})


def run(*, scratch: Path, sizes: Sizes) -> list[Figure]:
    """Attach everything, then release everything: a release makes room for a new replica."""
    need_tgt()
    with open_floor(scratch / "floor") as floor, open_site(scratch / "site") as site:
        site.add_image("web")
        site.add_pool(_POOL, image="web", ready=sizes.total)
        floor.export_more(sizes.total)
        site.wait_idle()
        figures = _attach(floor, site, sizes)
        # nothing is ready any more, and nothing shall be made ready while releases are timed
        site.resize_pool(_POOL, ready=0)
        site.wait_idle()
        return figures + _release(floor, site, sizes)


def _attach(floor: Floor, site: Site, sizes: Sizes) -> list[Figure]:
    sides = by_callers(
        sizes,
        floor=partial(burst, floor.attach),
        subject=partial(burst, partial(site.attach, pool=_POOL)),
    )
    return [
        figure(
            benchmark=NAME,
            name="attach, in process",
            callers=callers,
            pairs=pairs,
            floor_name=ATTACH_FLOOR,
            goal=attach_goal(callers),
        )
        for callers, pairs in sides
    ]


def _release(floor: Floor, site: Site, sizes: Sizes) -> list[Figure]:
    sides = by_callers(
        sizes,
        floor=partial(burst, floor.release),
        subject=partial(burst, partial(site.release, pool=_POOL)),
    )
    return [
        figure(
            benchmark=NAME,
            name="release, in process",
            callers=callers,
            pairs=pairs,
            floor_name=RELEASE_FLOOR,
            goal=NO_GOAL,
        )
        for callers, pairs in sides
    ]
