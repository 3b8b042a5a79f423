"""`clonepool serve`: the engine's process, from its settings to the drain at its end."""

from __future__ import annotations

import importlib
import os
import queue
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from clonepool import __version__
from clonepool.cli.checks import find_other_system
from clonepool.cli.logs import start_logging
from clonepool.cli.settings import load_settings
from clonepool.config import Settings
from clonepool.database_url import shown_url
from clonepool.errors import FailedPrecondition
from clonepool.units import parse_duration

if TYPE_CHECKING:
    from clonepool.engine import Engine
    from clonepool.service.server import EngineServer

_EXTRA: Final = frozenset({"sqlmodel", "sqlalchemy", "alembic", "cryptography", "grpc_health",
                           "grpc_reflection"})  # fmt: skip


def serve(
    *,
    config: str = "",
    state_dir: str = "",
    listen: str = "",
    database: str = "",
    secret_key_file: str = "",
    node: Annotated[str, Parameter(name=("--node", "--host"))] = "",
    import_root: list[str] | None = None,
    workers: int = 0,
    log_level: str = "",
    log_format: str = "",
    drain_timeout: str = "10s",
) -> None:
    """Run the engine until SIGTERM or Ctrl-C.

    With no settings at all it works at once: state below /var/lib/clonepool (root) or
    ~/.local/state/clonepool, a Unix socket of this user. See docs/configuration.md.

    Parameters
    ----------
    config
        Settings file (TOML) in place of the default one.
    state_dir
        Folder of the engine's database, keys and, unless set otherwise, its volumes.
    listen
        Where to listen: unix:///path, or tcp://host:port with TLS.
    database
        postgresql://user@host/db in place of SQLite in the state folder; no password here.
    secret_key_file
        Key of the secrets in the database, where it is not in the state folder.
    node
        This engine's name among several nodes; default: the host's name.
    import_root
        Folder that images may be imported from; may be repeated.
    workers
        How many clones, scrubs and imports run at once (default 4).
    log_level
        debug, info (the default), warning or error.
    log_format
        plain (the default) or json (one object a line).
    drain_timeout
        How long calls in flight may take to end after SIGTERM (default 10s).

    """
    system = find_other_system()
    if system is not None:
        raise FailedPrecondition(
            f"the engine runs on Linux, not on {system}; set CLONEPOOL_ENDPOINT to one elsewhere",
            reason="SYSTEM",
        )
    grace_s = parse_duration(drain_timeout, field="--drain-timeout")
    flags = {
        "state_dir": state_dir,
        "listen": listen,
        "database": database,
        "secret_key_file": secret_key_file,
        "node": node,
        "import_roots": import_root,
        "workers": workers,
        "log_level": log_level,
        "log_format": log_format,
    }
    run(load_settings(config_file=config, flags=flags), grace_s=grace_s)


def run(settings: Settings, *, grace_s: float) -> None:
    """Serve until a signal comes, then drain. Raises what opening and starting raise."""
    start_logging(level=settings.log_level, log_format=settings.log_format)
    _check_extra()
    stop = _stop_on_signals()
    engine = _open(settings)
    try:
        server = _server(engine, settings)
        server.start()
        try:
            _announce(server, settings)
            stop.get()
        finally:
            server.drain(grace_s=grace_s)
    finally:
        engine.close()


def _check_extra() -> None:
    try:
        importlib.import_module("clonepool.engine")
        importlib.import_module("clonepool.service.server")
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise FailedPrecondition(
            f"the engine needs {missing.name}, which is not installed; run "
            "pip install 'clonepool[engine]'",
            reason="EXTRA_MISSING",
        ) from None


def _open(settings: Settings) -> Engine:
    from clonepool.engine import Engine  # noqa: PLC0415 - only `serve` pays for the engine

    return Engine.open(settings)


def _server(engine: Engine, settings: Settings) -> EngineServer:
    from clonepool.service.server import EngineServer  # noqa: PLC0415 - the same

    return EngineServer(engine, settings)


def _stop_on_signals() -> queue.SimpleQueue[int]:
    """A queue that SIGTERM and SIGINT fill; the second signal ends the process at once."""
    # no Event: a handler that sets one while its own thread begins to wait for it waits for ever
    stop: queue.SimpleQueue[int] = queue.SimpleQueue()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.put(number)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


def _announce(server: EngineServer, settings: Settings) -> None:
    state = shown_url(settings.database) if settings.database else settings.state_dir
    print(
        f"clonepool {__version__} serving on {server.endpoint} "
        f"(pid {os.getpid()}, node {settings.node}, state in {state})",
        flush=True,
    )
    sys.stdout.flush()
