"""Fixtures: an engine process of a test's own, with its own state, socket and tgtd."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from clonepool.testing.engine_process import EngineProcess
from tests.support.site import Site

OpenSite = Callable[..., Site]


@contextmanager
def running_site(**options: Any) -> Iterator[Site]:
    """A started engine and its client; on exit both end, with the engine's tgtd and files."""
    folder = Path(tempfile.mkdtemp(prefix="cp-"))
    try:
        with (
            EngineProcess(folder / "e", **options) as engine,
            engine.client(timeout_s=20) as client,
        ):
            yield Site(engine=engine, client=client, sources=folder / "sources")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One engine for a file's tests: each makes images, pools and servers with names of its own."""
    with running_site() as running:
        yield running


@pytest.fixture
def open_site() -> Iterator[OpenSite]:
    """Starts an engine for one test alone; takes EngineProcess's options."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(running_site(**options))
