"""An engine in this process on memory drivers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("clonepool.testing.engines")

from clonepool.testing.engines import EngineRig  # noqa: E402


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[EngineRig]:
    """A running engine with nothing in it."""
    with EngineRig(tmp_path) as running:
        yield running


@pytest.fixture
def web(rig: EngineRig) -> EngineRig:
    """The same with image ``web`` imported."""
    rig.add_image()
    return rig
