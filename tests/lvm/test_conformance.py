"""The backend suite on LVM thin volumes."""

from __future__ import annotations

import pytest

from clonepool.backends.lvm import LvmBackend
from clonepool.testing.backend_suite import BackendSuite
from clonepool.testing.volume_groups import ThinGroup

pytestmark = pytest.mark.lvm


class TestLvm(BackendSuite):
    """A thin pool on a loop device."""

    large_full_bytes = 2**34

    @pytest.fixture
    def backend(self, group: ThinGroup) -> LvmBackend:
        return LvmBackend(group.settings())

    def test_clones_are_thin_snapshots(self, backend: LvmBackend, group: ThinGroup) -> None:
        assert (True, f"thin snapshots in {group.name}/thin-pool") == (
            backend.capabilities().thin_clones,
            backend.capabilities().thin_reason,
        )
