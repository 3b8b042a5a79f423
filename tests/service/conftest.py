"""A real gRPC server over a Unix socket, on the engine in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clonepool.api.client import EngineClient
from clonepool.config import Settings
from clonepool.service.server import EngineServer
from tests.service.fake_engine import FakeEngine
from tests.service.serving import make_server, make_settings


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """A short path: a Unix socket's has a limit that pytest's folders can exceed."""
    with tempfile.TemporaryDirectory(prefix="cp-") as folder:
        yield Path(folder) / "run" / "engine.sock"


@pytest.fixture
def settings(socket_path: Path, tmp_path: Path) -> Settings:
    return make_settings(listen=f"unix://{socket_path}", state_dir=tmp_path)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def server(engine: FakeEngine, settings: Settings) -> Iterator[EngineServer]:
    running = make_server(engine, settings)
    running.start()
    yield running
    running.drain(grace_s=0)


@pytest.fixture
def client(server: EngineServer) -> Iterator[EngineClient]:
    with EngineClient.connect(endpoint=str(server.endpoint), timeout_s=10) as connected:
        yield connected
