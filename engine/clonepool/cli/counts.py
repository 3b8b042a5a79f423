"""Whole numbers on the command line, as the wire can carry them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

from cyclopts import Parameter, Token

# protobuf's int32
_LARGEST: Final = 2**31 - 1


def _whole_number(_type: Any, tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    # cyclopts itself would round 1.5 to 2
    if not re.fullmatch(r"-?[0-9]{1,10}", text) or abs(int(text)) > _LARGEST:
        raise ValueError(f"{text[:40]!r} must be a whole number up to {_LARGEST}")
    return int(text)


Count = Annotated[int, Parameter(converter=_whole_number)]
MaybeCount = Annotated[int | None, Parameter(converter=_whole_number)]
