"""Start faster: gRPC's asyncio side, and asyncio, are loaded only when somebody uses them."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any, Final

_ASYNC_SIDE: Final = "grpc.aio"
_ASYNCIO: Final = "asyncio"


def import_grpc() -> None:
    """Import gRPC without asyncio, for who needs gRPC at once; call before anything else does.

    Its extension module imports asyncio (16 of 62 ms) and uses it only on its asyncio side. What
    the extension keeps loads it then; everybody else who imports it gets asyncio itself.
    """
    defer_async_grpc()
    if _ASYNCIO in sys.modules or "grpc" in sys.modules:
        return
    sys.modules[_ASYNCIO] = _placeholder(_ASYNCIO)
    try:
        # whatever can't be imported so, the caller's own import tries again, and tells
        with suppress(ImportError):
            import_module("grpc")
    finally:
        # no longer for others: its submodules could not be found through a placeholder
        if isinstance(sys.modules.get(_ASYNCIO), _Placeholder):
            del sys.modules[_ASYNCIO]


def defer_async_grpc() -> None:
    """Put off ``import grpc.aio``, which ``import grpc`` does by itself; call before that.

    We call synchronously, and it costs 60 of 250 ms (its modules, typing_extensions). It still
    loads, by itself, at the first use of any of its names. importlib's LazyLoader would load at
    once: the import system reads the module's ``__spec__``.
    """
    if "grpc" not in sys.modules:
        sys.modules[_ASYNC_SIDE] = _placeholder(_ASYNC_SIDE)


class _Placeholder(ModuleType):
    """Stands in the place of a module until one of its names is used."""


def _placeholder(module: str) -> ModuleType:
    placeholder = _Placeholder(module)

    def load(name: str) -> Any:
        # the import system asks for such names; gRPC's users only for __all__, by a star
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        if sys.modules.get(module) is placeholder:
            del sys.modules[module]
        return getattr(import_module(module), name)

    placeholder.__dict__["__getattr__"] = load
    return placeholder
