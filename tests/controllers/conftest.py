"""An engine in this process on memory drivers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("clonepool.testing.engines")

from clonepool.store.database import Database  # noqa: E402
from clonepool.testing.engines import EngineRig  # noqa: E402


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, migrated once for all tests."""
    path = tmp_path_factory.mktemp("migrated") / "clonepool.db"
    Database(path).close()
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def rig(request: pytest.FixtureRequest, tmp_path: Path, migrated: Path) -> Iterator[EngineRig]:
    """A running engine with nothing in it, on each database."""
    (tmp_path / "state").mkdir(mode=0o700)
    url = ""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    else:
        shutil.copy(migrated, tmp_path / "state" / "clonepool.db")
    with EngineRig(tmp_path, database=url) as running:
        yield running


@pytest.fixture
def web(rig: EngineRig) -> EngineRig:
    """The same with image ``web`` imported."""
    rig.add_image()
    return rig


@pytest.fixture
def pool(web: EngineRig) -> EngineRig:
    """A pool with two ready replicas of an image with both portions."""
    web.update_image(read_only=web.portion("ro", fill=b"shared"))
    web.add_pool(min_ready=2)
    return web
