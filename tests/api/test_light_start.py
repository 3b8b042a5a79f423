"""gRPC without asyncio: it is not loaded, and still there for whoever uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LIGHTLY = "import sys; from clonepool.api.light_start import import_grpc; import_grpc(); "


def said(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_grpc_is_loaded_and_asyncio_is_not() -> None:
    program = "print('grpc' in sys.modules, 'asyncio' in sys.modules)"
    assert "True False" == said(LIGHTLY + program)


def test_who_imports_asyncio_later_gets_asyncio_itself() -> None:
    program = "import asyncio.events; print(asyncio.run(asyncio.sleep(0, 'slept')))"
    assert "slept" == said(LIGHTLY + program)


def test_the_asyncio_side_of_grpc_still_works() -> None:
    """Its extension module uses asyncio through the placeholder that it has kept."""
    program = """
import grpc

async def ask():
    async with grpc.aio.insecure_channel("unix:///nowhere") as channel:
        try:
            await channel.unary_unary("/a/B")(b"", timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code().name

import asyncio
print(asyncio.run(ask()))
"""
    assert "UNAVAILABLE" == said(LIGHTLY + program)


def test_a_grpc_that_needs_asyncio_at_once_is_imported_all_the_same(tmp_path: Path) -> None:
    """As a later version may; submodules can't be found through a placeholder."""
    package = tmp_path / "grpc"
    package.mkdir()
    (package / "__init__.py").write_text("import asyncio.events\nwhole = True\n")
    program = (
        f"sys.path.insert(0, {str(tmp_path)!r}); import_grpc(); import grpc; print(grpc.whole)"
    )
    assert "True" == said(LIGHTLY.removesuffix("import_grpc(); ") + program)


def test_nothing_changes_where_both_are_loaded_already() -> None:
    program = "import grpc, asyncio; " + LIGHTLY + "print(sys.modules['asyncio'] is asyncio)"
    assert "True" == said(program)
