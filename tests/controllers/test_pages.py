"""Listings in pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clonepool.domain.model import PageRequest
from clonepool.engine import Engine
from clonepool.errors import InvalidArgument
from clonepool.testing.engines import EngineRig

BY_ROW: dict[str, Callable[[Engine], Any]] = {
    "attachments": lambda engine: engine.attachments.list,
    "volumes": lambda engine: engine.volumes.list,
    "operations": lambda engine: engine.operations.list,
    "scrub runs": lambda engine: engine.scrub.list_runs,
    "scrub records": lambda engine: engine.scrub.list_records,
}


@pytest.mark.parametrize("listing", BY_ROW)
@pytest.mark.parametrize("token", ["web", "-1", "1.5", "٣", "9" * 30])
def test_what_is_no_page_token_is_refused_by_its_field(
    rig: EngineRig, listing: str, token: str
) -> None:
    """A token that was made up, or is of another listing, is the caller's error."""
    with pytest.raises(InvalidArgument) as refused:
        BY_ROW[listing](rig.engine)(page=PageRequest(token=token))
    assert [violation.field for violation in refused.value.violations] == ["page_token"]


def test_pages_hold_every_volume_once(pool: EngineRig) -> None:
    first, token = pool.engine.volumes.list(page=PageRequest(size=1))
    second, _ = pool.engine.volumes.list(page=PageRequest(size=1, token=token))
    everything, end = pool.engine.volumes.list(page=PageRequest())
    assert [*first, *second] == list(everything)
    assert end == ""
