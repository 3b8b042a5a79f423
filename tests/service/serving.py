"""A real gRPC server on the engine in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from clonepool.config import Settings
from clonepool.service.server import EngineServer
from tests.service.fake_engine import FakeEngine

if TYPE_CHECKING:
    from clonepool.engine import Engine


def make_settings(*, listen: str, state_dir: Path, **more: Any) -> Settings:
    return Settings(
        state_dir=state_dir, listen=listen, node="node1", storages={}, fabrics={}, **more
    )


def make_server(engine: FakeEngine, settings: Settings, **more: Any) -> EngineServer:
    return EngineServer(cast("Engine", engine), settings, **more)
