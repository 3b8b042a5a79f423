"""The planner's loop: how often it looks, and what keeps it from looking."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from clonepool.controllers.context import Context
from clonepool.controllers.planner import Planner
from clonepool.errors import Unavailable
from clonepool.testing.engines import EngineRig
from tests.support.waiting import wait_for


@pytest.fixture
def context(tmp_path: Path) -> Context:
    with EngineRig(tmp_path) as rig:
        return rig.engine._planner._context


def test_a_step_that_had_to_wait_is_not_rested_from(context: Context) -> None:
    """A database that another process locked for a minute must not stop the pools for nine more."""
    looks: list[None] = []
    never = threading.Event()

    def refused_after_a_while() -> None:
        looks.append(None)
        context.signals.plan.set()
        never.wait(0.5)
        raise Unavailable("the database is locked")

    planner = Planner(context, (refused_after_a_while,))
    planner.start()
    try:
        wait_for(lambda: len(looks) >= 4, what="four looks", timeout_s=8)
    finally:
        planner.stop()
