"""What an engine and its tgtd hold at one moment: whatever grows with every cycle is a leak."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clonepool.testing.images import allocated_bytes
from tests.support.invariants import exports, wait_for_rest
from tests.support.site import Site

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Holding:
    """Taken while nothing is left to do; memory is the proportional share."""

    cycles: int
    targets: int
    luns: int
    volumes: int
    objects: int
    storage_bytes: int
    engine_fds: int
    engine_threads: int
    engine_bytes: int
    tgtd_fds: int
    tgtd_bytes: int
    database_bytes: int

    def row(self) -> str:
        """One line of the table."""
        return (
            f"{self.cycles:>7} {self.targets:>7} {self.luns:>5} {self.volumes:>7} "
            f"{self.objects:>7} {self.storage_bytes / MIB:>11.2f} "
            f"{self.engine_fds:>4} {self.engine_threads:>7} {self.engine_bytes / MIB:>10.1f} "
            f"{self.tgtd_fds:>8} {self.tgtd_bytes / MIB:>8.1f} {self.database_bytes / MIB:>8.2f}"
        )


HEAD = (
    " cycles targets  luns volumes objects storage MiB  fds threads engine MiB tgtd fds tgtd MiB "
    "database MiB"
)


def take(site: Site, *, cycles: int) -> Holding:
    """Wait until the engine rests, and count."""
    wait_for_rest(site)
    tgtd = site.engine.find_tgtd()
    assert tgtd is not None, "the engine's tgtd does not run"
    shown = exports(site)
    objects = list(site.objects().values())
    return Holding(
        cycles=cycles,
        targets=len(shown),
        luns=sum(len(target.luns) for target in shown.values()),
        volumes=len(site.volumes()),
        objects=len(objects),
        storage_bytes=sum(map(allocated_bytes, objects)),
        engine_fds=_fds(site.engine.pid),
        engine_threads=_threads(site.engine.pid),
        engine_bytes=_memory_bytes(site.engine.pid),
        tgtd_fds=_fds(tgtd.pid),
        tgtd_bytes=_memory_bytes(tgtd.pid),
        database_bytes=(site.engine.state_dir / "clonepool.db").stat().st_size,
    )


def _fds(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def _memory_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (share,) = (line.split()[1] for line in lines if line.startswith("Pss:"))
    return int(share) * 1024
