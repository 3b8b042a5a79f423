"""A client and an engine that is there but slow to greet it, as on a machine under load."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.service.server import EngineServer
from tests.service.fake_engine import FakeEngine
from tests.service.serving import make_server, make_settings

# more than gRPC's longest pause between two tries to connect, less than the client's patience
GREETING_DELAY_S = 1.5


class SlowDoor:
    """A socket in front of an engine's: passes all bytes on, those of the engine late at first."""

    def __init__(self, path: Path, *, engine: Path, delay_s: float) -> None:
        self._engine, self._delay_s = engine, delay_s
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                inner = socket.socket(socket.AF_UNIX)
                inner.connect(str(self._engine))
                for pair in ((caller, inner, 0.0), (inner, caller, self._delay_s)):
                    threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket, delay_s: float) -> None:
    with suppress(OSError):
        data = source.recv(65536)
        time.sleep(delay_s)
        while data:
            sink.sendall(data)
            data = source.recv(65536)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EngineServer]:
    settings = make_settings(listen=f"unix://{tmp_path}/engine.sock", state_dir=tmp_path)
    running = make_server(FakeEngine(), settings)
    running.start()
    yield running
    running.drain(grace_s=0)


def test_an_engine_that_greets_late_is_not_called_away(
    server: EngineServer, tmp_path: Path
) -> None:
    """A connection is given the client's patience to come about, not gRPC's shortest pause."""
    assert server.endpoint.path is not None
    door = SlowDoor(tmp_path / "door", engine=server.endpoint.path, delay_s=GREETING_DELAY_S)
    try:
        with EngineClient.connect(endpoint=f"unix://{tmp_path}/door") as client:
            assert client.call("GetEngineInfo", pb.GetEngineInfoRequest()).version
    finally:
        door.close()
