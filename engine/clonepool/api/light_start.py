"""Start faster: gRPC's asyncio side is loaded only when somebody uses it."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any, Final

_ASYNC_SIDE: Final = "grpc.aio"


def defer_async_grpc() -> None:
    """Put off ``import grpc.aio``, which ``import grpc`` does by itself; call before that.

    We call synchronously, and it costs 60 of 250 ms (its modules, typing_extensions). It still
    loads, by itself, at the first use of any of its names. importlib's LazyLoader would load at
    once: the import system reads the module's ``__spec__``.
    """
    if "grpc" in sys.modules:
        return
    placeholder = ModuleType(_ASYNC_SIDE)

    def load(name: str) -> Any:
        # the import system asks for such names; gRPC's users only for __all__, by a star
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        if sys.modules.get(_ASYNC_SIDE) is placeholder:
            del sys.modules[_ASYNC_SIDE]
        return getattr(import_module(_ASYNC_SIDE), name)

    placeholder.__dict__["__getattr__"] = load
    sys.modules[_ASYNC_SIDE] = placeholder
