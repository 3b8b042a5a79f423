"""How long to look: as CI has time for, or as many stories as CLONEPOOL_TEST_EXAMPLES says."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import Phase, settings

_CI_EXAMPLES: Final = 180


def budget() -> settings:
    """CI looks at the same stories each time; a longer look takes new ones."""
    examples = int(os.environ.get("CLONEPOOL_TEST_EXAMPLES", "0"))
    # to find that there is a fault, as `make mutants` does, no shortest story is needed
    find_only = bool(os.environ.get("CLONEPOOL_TEST_FIND_ONLY"))
    return settings(
        max_examples=examples or _CI_EXAMPLES,
        derandomize=not examples,
        database=None,
        phases=[Phase.generate] if find_only else [Phase.generate, Phase.shrink],
    )


def seeds(count: int) -> range:
    """As many seeds as CI has time for; a longer look takes more of them."""
    examples = int(os.environ.get("CLONEPOOL_TEST_EXAMPLES", "0"))
    return range(max(count, examples // 4))
