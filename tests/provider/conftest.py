"""A faulty engine behind the real server, a client of it, and Pulumi projects that use it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clonepool.api.client import EngineClient
from tests.provider.bench import Bench
from tests.provider.faulty_engine import FaultyEngine
from tests.support.pulumi_project import PulumiProject


@pytest.fixture
def engine() -> FaultyEngine:
    return FaultyEngine()


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """A short path: a Unix socket's has a limit that pytest's folders can exceed."""
    with tempfile.TemporaryDirectory(prefix="cp-") as folder:
        yield Path(folder) / "engine.sock"


@pytest.fixture
def endpoint(engine: FaultyEngine, socket_path: Path) -> Iterator[str]:
    with engine.served(socket=socket_path) as listening:
        yield listening


@pytest.fixture
def client(endpoint: str) -> Iterator[EngineClient]:
    with EngineClient.connect(endpoint=endpoint, timeout_s=10) as connected:
        yield connected


@pytest.fixture
def bench(client: EngineClient) -> Bench:
    return Bench(client)


@pytest.fixture
def make_project(tmp_path: Path, pulumi_bin: Path) -> Callable[..., PulumiProject]:
    """Lay out a project whose stack uses the engine at ``endpoint``."""

    def make(program: str, *, endpoint: str, **variables: str) -> PulumiProject:
        project = PulumiProject(
            folder=tmp_path / "pulumi",
            pulumi_bin=pulumi_bin,
            variables={"CLONEPOOL_ENDPOINT": endpoint, **variables},
        )
        project.create(program)
        return project

    return make
