"""File systems for the storage drivers' tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("clonepool.testing.backend_suite")

from clonepool.backends.rbd_options import RbdOptions  # noqa: E402
from clonepool.testing.ceph_cluster import CephCluster  # noqa: E402
from clonepool.testing.file_systems import missing_for_xfs, mounted_xfs  # noqa: E402


@pytest.fixture(scope="session")
def xfs_mount() -> Iterator[Path]:
    """An XFS with reflinks on a loop device, for the whole session."""
    missing = missing_for_xfs()
    if missing:
        pytest.skip(missing)
    with mounted_xfs() as mount_point:
        yield mount_point


@pytest.fixture
def xfs_directory(xfs_mount: Path, request: pytest.FixtureRequest) -> Path:
    """A new directory on it."""
    number = len(list(xfs_mount.iterdir()))
    directory = xfs_mount / f"{number}-{request.node.name[:60].replace('/', '-')}"
    directory.mkdir()
    return directory


_numbers = itertools.count()


@pytest.fixture
def rbd_options(ceph: CephCluster) -> RbdOptions:
    """A storage on the cluster, in namespaces that no other test has."""
    return RbdOptions.read(
        {
            "conf": str(ceph.conf),
            "namespace_prefix": f"test-{next(_numbers)}",
            "osd_timeout": "15s",
            "mon_timeout": "5s",
        }
    )
