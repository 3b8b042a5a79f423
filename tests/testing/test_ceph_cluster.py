"""The Ceph cluster of the tests: broken daemon by daemon, it heals, and keeps what was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from clonepool.testing.ceph_cluster import POOL, Admin, CephCluster

pytestmark = pytest.mark.ceph


def write(admin: Admin, name: str) -> None:
    with admin.rados.open_ioctx(POOL) as ioctx:
        ioctx.write_full(name, name.encode())


def read(admin: Admin, name: str) -> bytes:
    with admin.rados.open_ioctx(POOL) as ioctx:
        content = ioctx.read(name)
    assert isinstance(content, bytes)
    return content


def test_two_of_three_osds_die_and_come_back_with_what_was_written(ceph: CephCluster) -> None:
    with ceph.admin() as admin:
        write(admin, "kept")
        for name in ceph.osds[:2]:
            ceph.kill(name)
        ceph.heal()
        assert b"kept" == read(admin, "kept")
        assert dict.fromkeys(ceph.osds, 1) == {
            name: osd["up"] for name, osd in admin.osds().items()
        }


def test_a_monitor_dies_and_comes_back(ceph: CephCluster) -> None:
    before = ceph.pid("mon.a")
    ceph.kill("mon.a")
    ceph.heal()
    with ceph.admin() as admin:
        write(admin, "after")
    assert before != ceph.pid("mon.a")


def test_a_client_has_the_capabilities_it_was_given(ceph: CephCluster, tmp_path: Path) -> None:
    keyring = ceph.client("reader", {"mon": "allow r", "osd": f"allow r pool={POOL}"})
    assert 0o600 == keyring.stat().st_mode & 0o777
    with ceph.admin() as admin:
        assert [{"mon": "allow r", "osd": f"allow r pool={POOL}"}] == [
            found["caps"] for found in admin.mon("auth get", entity="client.reader")
        ]


def test_one_osd_in_memory_is_enough_for_a_trial(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("c")
    with CephCluster(folder, store="memstore") as cluster, cluster.admin() as admin:
        write(admin, "trial")
        assert b"trial" == read(admin, "trial")
