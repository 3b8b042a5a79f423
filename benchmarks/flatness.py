"""Whether an attachment costs the same for large images and for many volumes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.bulk import add_ready_volumes
from benchmarks.figures import Figure, Goal, Skip
from benchmarks.needs import need_tgt, need_xfs
from benchmarks.rounds import Burst, alternate, burst, latency_details
from benchmarks.site import Site, open_site
from clonepool.testing.file_systems import mounted_xfs

NAME = "flatness"
GOAL = Goal(ratio=1.2)
_XFS_BYTES = 4 * 2**30


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Rounds, attachments a round, the two images' sizes and the two numbers of volumes."""

    rounds: int
    operations: int
    image_bytes: tuple[int, int] = (2**30, 2**40)
    volumes: tuple[int, int] = (1_000, 100_000)

    @property
    def total(self) -> int:
        """Replicas that each side needs."""
        return self.rounds * self.operations


FULL = Sizes(rounds=7, operations=60)
QUICK = Sizes(rounds=4, operations=25)
SMOKE = Sizes(rounds=2, operations=3, volumes=(20, 200))


def run(*, scratch: Path, sizes: Sizes) -> list[Figure]:
    """Both; the first needs a file system with reflinks, to hold replicas of a terabyte."""
    need_tgt()
    figures = [_volumes(scratch, sizes)]
    try:
        need_xfs()
    except Skip:
        return figures
    return [_image_size(scratch, sizes), *figures]


def _image_size(scratch: Path, sizes: Sizes) -> Figure:
    with (
        mounted_xfs(size_bytes=_XFS_BYTES) as storage,
        open_site(scratch / "images", storage=storage / "volumes") as site,
    ):
        for name, size_bytes in zip(("small", "large"), sizes.image_bytes, strict=True):
            site.add_image(name, size_bytes=size_bytes)
            site.add_pool(name, image=name, ready=sizes.total)
        site.wait_idle()
        return _compare(
            sizes,
            name="attach, 1 TiB image against 1 GiB",
            floor=(site, "small"),
            subject=(site, "large"),
            floor_name="the same attach with the small image, in the same engine (XFS, tgt)",
        )


def _volumes(scratch: Path, sizes: Sizes) -> Figure:
    few, many = sizes.volumes
    with (
        _filled(scratch / "few", sizes, volumes=few) as small,
        _filled(scratch / "many", sizes, volumes=many) as large,
    ):
        return _compare(
            sizes,
            name=f"attach, {many:,} volumes against {few:,}",
            floor=(small, "web"),
            subject=(large, "web"),
            floor_name=f"the same attach with {few:,} ready volumes in the pool (tgt)",
            note="the volumes are rows in the state ready, in the pool that is attached from; "
            "those that are attached in the run have a file and a target, the others have none",
        )


@contextmanager
def _filled(folder: Path, sizes: Sizes, *, volumes: int) -> Iterator[Site]:
    """A site whose pool has so many ready volumes; the real ones are the oldest."""
    with open_site(folder) as site:
        site.add_image("web")
        site.add_pool("web", image="web", ready=sizes.total)
        add_ready_volumes(site.state_dir, pool="web", count=volumes - sizes.total)
        site.wait_idle()
        yield site


def _compare(
    sizes: Sizes,
    *,
    name: str,
    floor: tuple[Site, str],
    subject: tuple[Site, str],
    floor_name: str,
    note: str = "",
) -> Figure:
    def side(site: Site, pool: str, number: int) -> Burst:
        return burst(
            partial(site.attach, pool=pool),
            callers=1,
            first=number * sizes.operations,
            count=sizes.operations,
        )

    pairs = alternate(
        rounds=sizes.rounds, floor=partial(side, *floor), subject=partial(side, *subject)
    )
    return Figure(
        benchmark=NAME,
        name=name,
        unit="ms",
        floor_name=floor_name,
        floor=[each.each_ms for each in pairs.floor],
        subject=[each.each_ms for each in pairs.subject],
        goal=GOAL,
        details=latency_details(pairs),
        note=note,
    )
