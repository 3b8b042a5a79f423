"""How long a soak lasts: short in every run, long by ``make soak``."""

from __future__ import annotations

import os

import pytest

from tests.support.engine_process import site

__all__ = ["site"]


@pytest.fixture(scope="session")
def cycles() -> int:
    """CLONEPOOL_SOAK_CYCLES, else 500."""
    return int(os.environ.get("CLONEPOOL_SOAK_CYCLES", "500"))
