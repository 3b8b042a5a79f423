"""A real engine on memory drivers behind the real service, and the figures of a run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.service.server import EngineServer
from clonepool.testing.engines import EngineRig
from tests.fuzz.target import Target
from tests.support.engine_process import open_site

__all__ = ["open_site"]

# `make fuzz` sends more
COUNT = int(os.environ.get("FUZZ_REQUESTS", "2000"))
SEED = os.environ.get("FUZZ_SEED", "clonepool")
CUSTOMER = {"name": "acme", "kind": pb.SYSTEM_USER_KIND_CUSTOMER}
_POOL = (
    "id, name, token_digest, image_version, min_ready, max_replicas, clone_mode, when_empty, "
    "wait_for_ready, max_unavailable, scrub_threshold, scrub_method, scrub_then, scrub_on_low_space"
)
_DECLARED = {
    "image": "id, name, labels, token_digest, deleted_at IS NULL",
    "image_version": "id",
    "pool": f"{_POOL}, deleted_at IS NULL",
    "server": "id, name, initiator, labels, user_name, user_kind",
    "attachment": "id, name, spec, token_digest, chap_secret",
    # those that the engine starts by itself don't count
    "scrub_run WHERE trigger = 'demand'": "id",
}


@dataclass(frozen=True, kw_only=True)
class World:
    """An engine in this process with a file to import, and the door to it."""

    rig: EngineRig
    target: Target
    sources: Path

    def declared(self) -> frozenset[Any]:
        """All that callers have made, row by row."""
        with self.rig.engine._state.read() as session:
            run = session.connection().exec_driver_sql
            return frozenset(
                (table, *row)
                for table, columns in _DECLARED.items()
                for row in run(f"SELECT {columns} FROM {table}")  # noqa: S608 - our own words
            )

    def known(self) -> Mapping[str, Sequence[str]]:
        """Paths to import from: good ones, and each kind that is none."""
        return {"source": [str(path) for path in sorted(self.sources.iterdir())]}


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files, and what looks like one."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "good.raw").write_bytes(b"golden" * 1000)
    (folder / "empty.raw").touch()
    (folder / "odd, 'name\n😀.raw").write_bytes(b"x" * 1024)
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to("good.raw")
    (folder / "dangling").symlink_to("nothing")
    (folder / "loop").symlink_to("loop")
    (folder / "away").symlink_to("/etc/hostname")
    return folder


@pytest.fixture
def world(tmp_path: Path, sources: Path) -> Iterator[World]:
    """A running engine with an image, a pool, a server and an attachment."""
    with tempfile.TemporaryDirectory(prefix="cp-") as short, EngineRig(tmp_path) as rig:
        settings = replace(rig.settings, listen=f"unix://{short}/engine.sock")
        rig.engine.close()
        rig.settings = settings
        rig.open(start=False)
        server = EngineServer(rig.engine, settings)
        server.start()
        target = Target(str(server.endpoint))
        try:
            yield World(rig=rig, target=target, sources=sources)
        finally:
            target.close()
            server.drain(grace_s=0)


@pytest.fixture
def report(capfd: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Say a figure where it is seen also when everything passes."""

    def say(text: str) -> None:
        with capfd.disabled():
            print(f"\nfuzz: {text}")

    return say
