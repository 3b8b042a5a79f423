"""Errors as one line: what Pulumi shows a user is the message, never a traceback."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pulumi


class ProviderError(Exception):
    """What went wrong and the way out, in one line."""


class LookupFailed(pulumi.RunError):
    """A function of this package could not be answered; ends the program with one line."""


class _Traceback:
    """The module ``traceback``, but for our own errors, whose text is all there is to say."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def format_exc(self, *args: Any, **options: Any) -> str:
        error = sys.exc_info()[1]
        if isinstance(error, ProviderError):
            return str(error)
        return str(self._module.format_exc(*args, **options))


def show_errors_in_one_line() -> None:
    """Keep tracebacks of our own errors out of Pulumi's output.

    ``python -m pulumi.dynamic`` answers every exception with ``traceback.format_exc()`` and
    leaves no other way to say something; so its ``traceback`` is replaced, once. Where it has
    none (another Pulumi, another process), nothing is done.
    """
    main = sys.modules.get("__main__")
    found = getattr(main, "traceback", None)
    if isinstance(found, ModuleType):
        setattr(main, "traceback", _Traceback(found))  # noqa: B010 - not in the module's stubs
