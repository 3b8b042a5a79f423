"""How fast a pool fills, against cloning files alone: as many threads, the same file system."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.figures import Figure, Skip
from benchmarks.needs import need_tgt, need_xfs
from benchmarks.rounds import alternate, burst
from benchmarks.site import IMAGE_BYTES, Site, open_site, sparse_source
from clonepool.sparse import copy_sparse, reflink
from clonepool.testing.file_systems import mounted_xfs

NAME = "clone_rate"
_XFS_BYTES = 4 * 2**30
_WORKERS = 4


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Rounds, and clones a round."""

    rounds: int
    clones: int


FULL = Sizes(rounds=5, clones=200)
QUICK = Sizes(rounds=3, clones=60)
SMOKE = Sizes(rounds=2, clones=4)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A folder to clone in, and how its file system does it."""

    folder: Path
    clone: Callable[[int, int], None]
    kind: str


def run(*, scratch: Path, sizes: Sizes) -> list[Figure]:
    """By reflink on XFS where that can be mounted, else by sparse copies on what is there."""
    need_tgt()
    with (
        _place(scratch) as place,
        open_site(scratch / "site", storage=place.folder / "storage", workers=_WORKERS) as site,
    ):
        site.add_image("web")
        site.add_pool("web", image="web", ready=1)
        pairs = alternate(
            rounds=sizes.rounds,
            floor=partial(_clone_files, place, sizes.clones),
            subject=partial(_fill, site, sizes.clones),
        )
        return [
            Figure(
                benchmark=NAME,
                name=f"filling a pool, {place.kind}",
                unit="ms",
                floor_name=f"{place.kind} + fsync of a new file, {_WORKERS} threads as the "
                "engine has workers (its replicas are exported and durably noted besides)",
                floor=[elapsed_s / sizes.clones * 1000 for elapsed_s in pairs.floor],
                subject=[elapsed_s / sizes.clones * 1000 for elapsed_s in pairs.subject],
                details={
                    "floor_per_s": sizes.rounds * sizes.clones / sum(pairs.floor),
                    "subject_per_s": sizes.rounds * sizes.clones / sum(pairs.subject),
                },
            )
        ]


@contextmanager
def _place(scratch: Path) -> Iterator[_Place]:
    try:
        need_xfs()
    except Skip:
        folder = scratch / "copies"
        folder.mkdir()
        yield _Place(folder=folder, clone=_copy, kind="sparse copy")
        return
    with mounted_xfs(size_bytes=_XFS_BYTES) as folder:
        yield _Place(folder=folder, clone=_reflink, kind="FICLONE on XFS")


def _reflink(source: int, target: int) -> None:
    reflink(source=source, target=target)


def _copy(source: int, target: int) -> None:
    copy_sparse(source=source, target=target, progress=lambda _done: None)


def _clone_files(place: _Place, count: int, number: int) -> float:
    """Clone the same image into ``count`` new files, each synced; returns the time."""
    folder = place.folder / f"floor-{number}"
    folder.mkdir()
    source = os.open(sparse_source(folder / "image", size_bytes=IMAGE_BYTES), os.O_RDONLY)
    os.fsync(source)

    def clone(index: int) -> None:
        target = os.open(folder / str(index), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            place.clone(source, target)
            os.fsync(target)
        finally:
            os.close(target)

    try:
        return burst(clone, callers=_WORKERS, first=0, count=count).elapsed_s
    finally:
        os.close(source)


def _fill(site: Site, count: int, number: int) -> float:
    """Let the engine make ``count`` more replicas; returns the time until all are ready."""
    ready = 1 + (number + 1) * count
    site.wait_idle()
    began = time.perf_counter()
    site.resize_pool("web", ready=ready)
    site.wait_ready("web", ready)
    return time.perf_counter() - began
