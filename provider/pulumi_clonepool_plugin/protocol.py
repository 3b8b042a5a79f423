"""Pulumi's provider protocol: the SDK's own stubs, without the SDK around them.

``import pulumi`` takes several times as long as all else that the plugin loads, and a plugin is
started for every preview. The stubs import each other relatively and nothing of the SDK, so they
are loaded as a package of another name; the messages are the same classes either way.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from clonepool.errors import FailedPrecondition

_PACKAGE: Final = "_clonepool_pulumi_protocol"

# what the protocol writes in the place of a value (Pulumi's sdk/go/common/resource: sig, plugin)
SIGNATURE_KEY: Final = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a marker, no secret
UNKNOWN_SENTINEL: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
# one a type; languages send the first, whatever the type
UNKNOWN_SENTINELS: Final = frozenset(
    {
        UNKNOWN_SENTINEL,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)


def _package() -> ModuleType:
    found = importlib.util.find_spec("pulumi")
    if found is None or not found.submodule_search_locations:
        raise FailedPrecondition("Pulumi's Python SDK is not installed; pip install pulumi")
    package = ModuleType(_PACKAGE)
    package.__path__ = [str(Path(found.submodule_search_locations[0]) / "runtime" / "proto")]
    return sys.modules.setdefault(_PACKAGE, package)


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"{_package().__name__}.{name}")


if TYPE_CHECKING:
    from pulumi.runtime.proto import (
        engine_pb2,
        engine_pb2_grpc,
        plugin_pb2,
        provider_pb2,
        provider_pb2_grpc,
    )
else:
    engine_pb2 = _load("engine_pb2")
    engine_pb2_grpc = _load("engine_pb2_grpc")
    plugin_pb2 = _load("plugin_pb2")
    provider_pb2 = _load("provider_pb2")
    provider_pb2_grpc = _load("provider_pb2_grpc")

__all__ = [
    "engine_pb2",
    "engine_pb2_grpc",
    "plugin_pb2",
    "provider_pb2",
    "provider_pb2_grpc",
]
