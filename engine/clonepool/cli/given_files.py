"""JSON files that other tools wrote: what can be wrong with one is said, never thrown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from clonepool.errors import InvalidArgument

_SHOWN_CHARS: Final = 120


def read_object(path: str, *, made_by: str) -> dict[str, Any]:
    """The JSON object in a file, or on standard input for "-"; ``made_by`` is what writes it.

    Raises InvalidArgument where there is none.
    """
    text = _text(path, made_by=made_by)
    path = named(path)
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} is no JSON ({error}); write it by `{made_by}`") from None
    if not isinstance(read, dict):
        raise InvalidArgument(f"{path} holds no JSON object; write it by `{made_by}`")
    return read


def named(path: str) -> str:
    """The file as an error names it."""
    return "standard input" if path == "-" else path


def _text(path: str, *, made_by: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        text = f"can't read {named(path)}: {error.strerror}; give the file that `{made_by}` wrote"
        raise InvalidArgument(text) from None
    except ValueError:
        # a saved plan of Terraform's is a zip archive, which is easily given instead
        text = f"{named(path)} is no text, so it is no JSON; write it by `{made_by}`"
        raise InvalidArgument(text) from None


@contextmanager
def one_of_many(path: str, *, index: int, label: object, made_by: str) -> Iterator[None]:
    """As ``as_written``, for one resource of a file; ``index`` counts from 0."""
    name = " ".join(str(label or "").split())[:_SHOWN_CHARS]
    which = f"{named(path)}: resource {index + 1}" + (f" ({name})" if name else "")
    with as_written(which, made_by=made_by):
        yield


@contextmanager
def as_written(which: str, *, made_by: str) -> Iterator[None]:
    """Says that this part of a file is not as it should be.

    Raises InvalidArgument for whatever reading it raises.
    """
    try:
        yield
    except InvalidArgument as error:
        raise InvalidArgument(
            f"{which}: {error}", reason=error.reason, violations=error.violations
        ) from None
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        what = " ".join(str(error).split())[:_SHOWN_CHARS]
        text = f"{which} is not as `{made_by}` writes it ({what}); write the file anew"
        raise InvalidArgument(text) from None
