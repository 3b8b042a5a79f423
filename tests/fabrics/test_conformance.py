"""Every fabric keeps the promises of the suite: in memory, on paths, and over real iSCSI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clonepool.testing.fabric_rig import Exports, FabricRig
from clonepool.testing.fabric_suite import FabricSuite
from tests.fabrics.rigs import IscsiRig, LocalRig, MemoryRig


class TestMemory(FabricSuite):
    @pytest.fixture
    def rig(self) -> FabricRig:
        return MemoryRig()


@pytest.mark.root
class TestLocalByBindMount(FabricSuite):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[FabricRig]:
        rig = LocalRig(tmp_path / "state", read_only="bind")
        yield rig
        rig.stop()


class TestLocalByMode(FabricSuite):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[FabricRig]:
        rig = LocalRig(tmp_path / "state", read_only="mode")
        yield rig
        rig.stop()

    def test_a_write_to_the_read_only_volume_is_refused_and_changes_nothing(
        self, rig: FabricRig, fabric: object, exports: Exports
    ) -> None:
        if os.geteuid() == 0:
            pytest.skip("the mode does not stop root, as the capabilities say; see test_local")
        super().test_a_write_to_the_read_only_volume_is_refused_and_changes_nothing(
            rig, rig.fabric, exports
        )


@pytest.mark.tgt
class TestIscsi(FabricSuite):
    @pytest.fixture
    def rig(self, iscsi: IscsiRig) -> FabricRig:
        return iscsi
