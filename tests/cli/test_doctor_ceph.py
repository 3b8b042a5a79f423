"""`clonepool doctor` asks a Ceph cluster as the engine would, and says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clonepool.cli.checks import FAIL, OK, Check
from clonepool.cli.checks_machine import check_machine
from clonepool.config import DriverSettings
from clonepool.testing.ceph_cluster import CephCluster
from tests.service.serving import make_settings

pytestmark = pytest.mark.ceph


def look(folder: Path, **options: str) -> Check:
    """What doctor says of one rbd storage with these options."""
    made: Any = make_settings(listen=f"unix://{folder}/engine.sock", state_dir=folder / "state")
    made.storages["ceph"] = DriverSettings(name="ceph", driver="rbd", options=options)
    return next(check for check in check_machine(made) if check.name == "storage ceph")


def test_a_cluster_that_serves_is_told_with_its_space(ceph: CephCluster, tmp_path: Path) -> None:
    found = look(tmp_path, conf=str(ceph.conf), reserve="10%")
    assert OK == found.level
    assert "free of" in found.detail


def test_a_cluster_that_can_t_serve_is_told_with_the_reason(
    ceph: CephCluster, tmp_path: Path
) -> None:
    keyring = tmp_path / "keyring"
    keyring.write_text("[client.clonepool]\n\tkey = AQBSdFhcAAAAABAAxlVhzGiHqZgbTDaW3Dcj4g==\n")
    wrong = {
        "is not there": {"conf": str(tmp_path / "ceph.conf")},
        "has no pool nowhere": {"conf": str(ceph.conf), "pool": "nowhere"},
        "no key of client.nobody": {"conf": str(ceph.conf), "client": "nobody"},
        "refuses client.clonepool": {"conf": str(ceph.conf), "keyring": str(keyring)},
    }
    for reason, options in wrong.items():
        found = look(tmp_path, mon_timeout="5s", **options)
        assert FAIL == found.level
        assert reason in found.detail
        assert "AQBSdFhc" not in found.detail
