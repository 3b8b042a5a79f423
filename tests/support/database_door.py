"""A door in front of a PostgreSQL server's Unix socket that a test can shut, as a network fails."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit


class DatabaseDoor:
    """Passes a database's connections on until it is shut, and again once it is opened.

    ``url`` is the database's through this door. A context manager.
    """

    def __init__(self, folder: Path, *, url: str) -> None:
        parts = urlsplit(url)
        asked = {key: values[0] for key, values in parse_qs(parts.query).items()}
        name = f".s.PGSQL.{asked['port']}"
        self._server = Path(asked["host"]) / name
        self._path = folder / name
        self._lock = threading.Lock()
        self._is_shut = False
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self.url = url.replace(asked["host"], str(folder))

    def __enter__(self) -> Self:
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        self.shut()

    def shut(self) -> None:
        """Cut every connection, and let none come about."""
        with self._lock:
            self._is_shut = True
            cut, self._open = self._open, []
        for each in cut:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def open(self) -> None:
        """Let connections come about again."""
        with self._lock:
            self._is_shut = False

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                self._pass(caller)

    def _pass(self, caller: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with self._lock:
            if self._is_shut:
                caller.close()
                return
            server.connect(str(self._server))
            self._open += [caller, server]
        for pair in ((caller, server), (server, caller)):
            threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
