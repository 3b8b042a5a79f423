"""The kernel's iSCSI target keeps the promises of every fabric."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clonepool.testing.fabric_rig import FabricRig
from clonepool.testing.fabric_suite import FabricSuite
from tests.lio.rigs import LioRig
from tests.support.waiting import wait_for

pytestmark = pytest.mark.lio


class TestLio(FabricSuite):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[FabricRig]:
        rig = LioRig(tmp_path / "state")
        yield rig
        rig.stop()
        wait_for(lambda: not rig.left(), what="nothing of it in the kernel")
