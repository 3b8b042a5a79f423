"""A thin pool for the LVM driver's tests: one volume group for all, emptied for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("clonepool.testing.backend_suite")

from clonepool.backends.lvm import LvmBackend  # noqa: E402
from clonepool.testing.volume_groups import ThinGroup, thin_group  # noqa: E402


@pytest.fixture(scope="session")
def shared_group() -> Iterator[ThinGroup]:
    with thin_group() as made:
        yield made


@pytest.fixture
def group(shared_group: ThinGroup) -> Iterator[ThinGroup]:
    """With nothing but its thin pool in it."""
    yield shared_group
    shared_group.lvm("vgchange", "-ay", shared_group.name)
    left = shared_group.volumes() - {shared_group.thin_pool}
    if left:
        shared_group.lvm("lvremove", "-y", "-f", *(f"{shared_group.name}/{name}" for name in left))


@pytest.fixture
def backend(group: ThinGroup) -> LvmBackend:
    return LvmBackend(group.settings())
