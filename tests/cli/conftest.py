"""The command line against a real server on the engine in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clonepool.cli import main
from clonepool.service.server import EngineServer
from tests.service.fake_engine import FakeEngine
from tests.service.serving import make_server, make_settings

# Runs one command line; gives its exit code, stdout and stderr.
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a Unix socket's has a limit that pytest's folders can exceed."""
    with tempfile.TemporaryDirectory(prefix="cp-") as name:
        yield Path(name)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def server(
    engine: FakeEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EngineServer]:
    settings = make_settings(listen=f"unix://{folder}/engine.sock", state_dir=folder)
    running = make_server(engine, settings)
    running.start()
    monkeypatch.setenv("CLONEPOOL_ENDPOINT", str(running.endpoint))
    yield running
    running.drain(grace_s=0)


@pytest.fixture
def run(server: EngineServer, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
