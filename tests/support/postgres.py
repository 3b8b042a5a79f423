"""A PostgreSQL server of this test run's own: in memory where it can be, ended with the run.

It serves a Unix socket in its folder and a free port on loopback, as a user that is not root, and
forgets everything. What a test stops or kills is this server alone.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.02
_SHM: Final = Path("/dev/shm")  # noqa: S108 - a private folder is made below it
_SUPER: Final = "clonepool"
# nothing outlives the test run, so nothing has to reach a disk
_SETTINGS: Final = (
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=on",
    "max_connections=200",
    "shared_buffers=32MB",
    "max_wal_size=256MB",
    "log_min_messages=fatal",
    "listen_addresses=127.0.0.1",
)


def find_binaries() -> Path | None:
    """The folder of the newest server's programs; Debian keeps them off PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"),
        key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0,
    )
    on_path = shutil.which("postgres")
    if found:
        return found[-1].parent
    return Path(on_path).parent if on_path else None


class PostgresServer:
    """The server; a context manager. ``url`` gives a database's URL, by socket or by loopback."""

    def __init__(self) -> None:
        binaries = find_binaries()
        assert binaries is not None, "this test needs the marker postgres"
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        self.port = _free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="cp-pg-", dir=_SHM if _SHM.is_dir() else None))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            # as root it refuses to run
            user = _unprivileged()
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def __enter__(self) -> Self:
        try:
            self._run("initdb", "--no-sync", "--username", _SUPER, "--encoding", "UTF8",
                      "--locale", "C.UTF-8", "--auth-local", "trust",
                      "--auth-host", "scram-sha-256", "--pgdata", self._data)  # fmt: skip
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                # it ends with this process, however that ends
                ["/usr/bin/setpriv", "--pdeathsig", "INT", self._program("postgres"),
                 "-D", self._data, "-k", str(self._folder), "-p", str(self.port), *settings],
                stdout=log, stderr=log, cwd=self._folder, **self._as,
            )  # fmt: skip
        deadline = time.monotonic() + _TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(_POLL_S)

    def stop(self, *, at_once: bool = False) -> None:
        """Stop it: sessions are ended in good order, or, ``at_once``, as by a power loss."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            process.wait(_TIMEOUT_S)

    def close(self) -> None:
        """End it and remove its folder. May be repeated."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str) -> str:
        """By the Unix socket, where everyone is trusted."""
        return f"postgresql://{_SUPER}@/{database}?host={self._folder}&port={self.port}"

    def tcp_url(self, database: str, *, login: str) -> str:
        """By loopback, where a password is asked for."""
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}"

    def run_sql(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement past everybody, with a connection of its own; its rows."""
        import psycopg  # noqa: PLC0415 - only where the marker is

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self, *, template: str = "template0") -> Iterator[str]:
        """A database of its own, as a copy of another; its name."""
        self._count += 1
        name = f"test_{os.getpid()}_{self._count}"
        self.run_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield name
        finally:
            if self._process is not None:
                self.run_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def end_sessions(self, database: str) -> int:
        """End the server's processes behind a database's connections; how many there were."""
        others = f"datname = '{database}' AND pid != pg_backend_pid()"
        ended = self.run_sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"  # noqa: S608
        )
        return len(ended)

    def _answers(self) -> bool:
        words = [self._program("pg_isready"), "-h", str(self._folder), "-p", str(self.port)]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [self._program(program), *words],
            capture_output=True, text=True, cwd=self._folder, timeout=_TIMEOUT_S, check=False,
            **self._as,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def _program(self, name: str) -> str:
        return str(self._binaries / name)


def _unprivileged() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
