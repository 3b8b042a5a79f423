"""One real Ceph cluster for all tests of a run that need one: started by the first of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from clonepool.testing.ceph_cluster import CephCluster

# three copies, two of which must be there: one OSD may die unnoticed
_OSDS: Final = 3


@contextmanager
def running_cluster() -> Iterator[CephCluster]:
    """A cluster of three OSDs; its folder goes with it."""
    with (
        tempfile.TemporaryDirectory(prefix="ceph-") as folder,
        CephCluster(Path(folder), osds=_OSDS) as cluster,
    ):
        yield cluster
