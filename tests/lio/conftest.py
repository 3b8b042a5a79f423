"""Fixtures of the tests that need a kernel with LIO."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clonepool.fabrics.lio_kernel import load_lio, target_tree
from clonepool.testing.fabric_rig import Exports
from tests.lio.rigs import LioRig
from tests.support.waiting import wait_for


@pytest.fixture(scope="session", autouse=True)
def _lio() -> None:
    """LIO, loaded."""
    load_lio(target_tree())


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[LioRig]:
    """A fabric of its own; nothing of it is left in the kernel."""
    rig = LioRig(tmp_path / "state")
    yield rig
    rig.stop()
    wait_for(lambda: not rig.left(), what="nothing of it in the kernel")


@pytest.fixture
def exports(tmp_path: Path) -> Exports:
    """Exports that share an image."""
    return Exports(tmp_path)
