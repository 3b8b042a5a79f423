"""Fixtures of the fabrics' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clonepool.testing.fabric_rig import Exports
from tests.fabrics.rigs import IscsiRig


@pytest.fixture
def iscsi(tmp_path: Path) -> Iterator[IscsiRig]:
    """An iSCSI fabric with a tgtd of its own; ended by its process id."""
    rig = IscsiRig(tmp_path / "state")
    yield rig
    rig.stop()


@pytest.fixture
def exports(tmp_path: Path) -> Exports:
    """Exports that share an image."""
    return Exports(tmp_path)
