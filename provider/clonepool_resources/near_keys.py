"""Keys of a configuration that look like a setting of Clonepool's, and are none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

KEYS: Final = ("endpoint", "token", "caFile", "hold")
"""What a Pulumi stack can set in the namespace ``clonepool``."""

# one letter left out, doubled or swapped; a program may have keys of its own beside ours
_LIKENESS: Final = 0.8


def near_misses(keys: Iterable[str]) -> list[str]:
    """A line for each key, without its namespace, that is most likely a slip of the pen."""
    return [
        f"clonepool:{key} is no setting; did you mean clonepool:{near}?"
        for key in sorted(set(keys) - set(KEYS))
        for near in difflib.get_close_matches(key, KEYS, n=1, cutoff=_LIKENESS)
    ]
