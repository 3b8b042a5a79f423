"""An engine in this process on memory drivers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("clonepool.testing.engines")

from clonepool.store.database import Database  # noqa: E402
from clonepool.testing.engines import EngineRig  # noqa: E402
from tests.controllers.node_pair import Pair  # noqa: E402


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, migrated once for all tests."""
    path = tmp_path_factory.mktemp("migrated") / "clonepool.db"
    Database(path).close()
    return path


# what the database has to do with: the rest runs on SQLite alone, for time's sake, and on both with
# CLONEPOOL_TEST_POSTGRES=all
_ON_BOTH = frozenset(
    {
        "test_allocation",
        "test_audit",
        "test_filling",
        "test_holds",
        "test_inline_servers",
        "test_restart",
        "test_undo_resume",
    }
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The databases that a test's engine runs on."""
    if "rig" not in metafunc.fixturenames:
        return
    names: list[Any] = ["sqlite"]
    all_on_both = os.environ.get("CLONEPOOL_TEST_POSTGRES") == "all"
    if all_on_both or metafunc.module.__name__.rpartition(".")[2] in _ON_BOTH:
        names.append(pytest.param("postgresql", marks=pytest.mark.postgres))
    metafunc.parametrize("rig", names, indirect=True)


@pytest.fixture
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


@pytest.fixture
def pair(tmp_path: Path, postgres_url: str) -> Iterator[Pair]:
    made = Pair(tmp_path, database=postgres_url)
    with ExitStack() as stack:
        for rig in (made.here, made.there):
            stack.callback(rig.close)
            rig.open()
        made.see()
        yield made


@pytest.fixture
def far(pair: Pair) -> Pair:
    """A pool with two ready replicas on the other node."""
    pair.there.add_image(storage="far")
    pair.there.add_pool(min_ready=2)
    return pair
