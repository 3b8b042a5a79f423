"""A web server whose one file does not come until it is told to: for work that must not end yet."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

_LIMIT_S = 60.0


class StalledSource:
    """Serves ``content`` at ``url`` on a free loopback port, its body only after ``go_on``."""

    def __init__(self, *, content: bytes) -> None:
        self._asked = threading.Event()
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(content))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_port}/image.raw"

    def wait_until_asked(self) -> None:
        """Wait until somebody waits for the content."""
        assert self._asked.wait(_LIMIT_S), f"nobody asked for {self.url}"

    def go_on(self) -> None:
        """Let the content come."""
        self._released.set()

    def __enter__(self) -> StalledSource:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.go_on()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self, content: bytes) -> type[BaseHTTPRequestHandler]:
        asked, released = self._asked, self._released

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                asked.set()
                released.wait(_LIMIT_S)
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                """Say nothing."""

        return Handler
