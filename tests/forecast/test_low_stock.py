"""A forecast says what is scrubbed early, for space and for stock, on a storage that is full."""

from __future__ import annotations

from dataclasses import asdict
from itertools import product
from pathlib import Path

import pytest

pytest.register_assert_rewrite("clonepool.testing.engines")

from clonepool.backends.memory import MemoryBackend  # noqa: E402
from clonepool.domain.forecast import Attach, Plan  # noqa: E402
from clonepool.domain.model import ScrubPolicy  # noqa: E402
from clonepool.domain.states import AfterScrub  # noqa: E402
from clonepool.testing.engines import DEFAULT_IMAGE_BYTES  # noqa: E402
from tests.forecast.outcome import Run, stock_now  # noqa: E402
from tests.forecast.stepping import SteppingRig  # noqa: E402

# the rig's clock starts at 08:00 UTC
_CLOSED, _OPEN = ("22:00-06:00",), ("07:00-09:00",)
_POLICIES = [
    ScrubPolicy(threshold=9, on_low_stock=low, on_low_space=space, then=then, windows=windows)
    for low, space, then, windows in product((0, 2, 3), (True, False), AfterScrub, (_CLOSED, _OPEN))
]


@pytest.mark.parametrize("policy", _POLICIES, ids=lambda each: str(each.on_low_stock))
@pytest.mark.parametrize("attached", [1, 2, 4])
def test_the_outcome_is_what_was_forecast(
    policy: ScrubPolicy, attached: int, tmp_path: Path
) -> None:
    """Three ready and two attached fill the storage; a plan releases both and attaches some."""
    storage = MemoryBackend(thin=False, total_bytes=6 * DEFAULT_IMAGE_BYTES)
    with SteppingRig(tmp_path, storage=storage) as rig:
        rig.add_image()
        rig.add_pool(min_ready=3, filled=False, scrub=policy)
        rig.settle()
        old = [rig.attach("old-1"), rig.attach("old-2")]
        rig.settle()
        assert 3 == stock_now(rig, "web")["ready"]
        for held in old:
            rig.engine.attachments.delete(attachment_id=held.id, force=False)
        new = [rig.spec(f"new-{number}") for number in range(attached)]
        plan = Plan(changes=tuple(Attach(spec=spec) for spec in new))
        (said,) = rig.engine.forecasts.make(plan=plan).pools
        seen = Run(rig, plan, one_by_one=False).carry_out()
        assert (said.scrubbed, said.recycled, said.destroyed) == (
            seen.scrubbed["web"],
            seen.recycled["web"],
            seen.destroyed["web"],
        )
        assert asdict(said.after) == stock_now(rig, "web")
