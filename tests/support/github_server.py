"""GitHub's REST API for comments on pull requests, over real HTTP on the loopback address.

It answers as api.github.com does: pages of at most 100 with a Link header, 401 without a token,
403 for one that may only read, 404 for what is not there, 422 for a body that is empty or too long,
and before all that whatever refusals a test put in ``refusals``.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

REPOSITORY: Final = "acme/infra"
PULL_REQUEST: Final = 7
TOKEN: Final = "ghs_a-token-that-may-write"
READ_TOKEN: Final = "ghs_a-token-that-may-read"
BOT: Final = "github-actions[bot]"
LIMIT: Final = 65_536
_LARGEST_PAGE: Final = 100
_LIST = re.compile(rf"/repos/{REPOSITORY}/issues/(\d+)/comments")
_ONE = re.compile(rf"/repos/{REPOSITORY}/issues/comments/(\d+)")


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An answer in the place of the next one; ``done`` lets the request take effect all the same.

    ``status`` 0 closes the connection without an answer.
    """

    status: int
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    done: bool = False


@dataclass(kw_only=True)
class GitHubServer:
    """What a test sees and sets: the comments, the requests that came, the refusals to come."""

    url: str
    comments: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1001))

    def say(self, body: str, *, login: str = BOT) -> dict[str, Any]:
        """A comment on the pull request."""
        number = next(self._ids)
        where = f"https://github.com/{REPOSITORY}/pull/{PULL_REQUEST}#issuecomment-{number}"
        made = {"id": number, "body": body, "user": {"login": login}, "html_url": where}
        self.comments.append(made)
        return made

    def take_refusal(self, method: str) -> Refusal | None:
        """The next one, if it is meant for such a request."""
        if self.refusals and self.refusals[0].method in ("", method):
            return self.refusals.pop(0)
        return None


@contextmanager
def github_server() -> Iterator[GitHubServer]:
    """One on a free port, for as long as the block lasts."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    site = GitHubServer(url=f"http://127.0.0.1:{listener.server_port}")
    listener.site = site  # type: ignore[attr-defined]  # how a handler finds its site
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield site
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One request. Its methods are named as http.server wants them."""

    @property
    def site(self) -> GitHubServer:
        found: GitHubServer = self.server.site  # type: ignore[attr-defined]  # set above
        return found

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        sent = json.loads(self.rfile.read(length)) if length else {}
        self.site.requests.append(f"{self.command} {self.path}")
        refusal = self.site.take_refusal(self.command)
        if refusal is None:
            self._answer(*self._handle(sent))
            return
        if refusal.done:
            self._handle(sent)
        if refusal.status:
            self._answer(refusal.status, {"message": refusal.message}, **refusal.headers)
        else:
            self.close_connection = True

    def _handle(self, sent: dict[str, Any]) -> tuple[int, Any]:
        """What GitHub answers to a request of this kind."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not self.headers.get("User-Agent"):
            return 403, {"message": "Request forbidden by administrative rules."}
        if token not in (TOKEN, READ_TOKEN):
            return 401, {"message": "Bad credentials"}
        if self.command != "GET" and token == READ_TOKEN:
            return 403, {"message": "Resource not accessible by integration"}
        path = urlsplit(self.path).path
        listed, one = _LIST.fullmatch(path), _ONE.fullmatch(path)
        if listed and int(listed[1]) == PULL_REQUEST:
            return self._page() if self.command == "GET" else self._create(sent)
        if one and self.command == "PATCH":
            return self._update(int(one[1]), sent)
        return 404, {"message": "Not Found"}

    def _page(self) -> tuple[int, Any]:
        asked = {name: int(words[0]) for name, words in parse_qs(urlsplit(self.path).query).items()}
        size, page = min(asked.get("per_page", 30), _LARGEST_PAGE), asked.get("page", 1)
        return 200, self.site.comments[(page - 1) * size : page * size]

    def _create(self, sent: dict[str, Any]) -> tuple[int, Any]:
        wrong = _wrong_body(sent)
        return (422, wrong) if wrong else (201, self.site.say(sent["body"]))

    def _update(self, number: int, sent: dict[str, Any]) -> tuple[int, Any]:
        found = next((each for each in self.site.comments if each["id"] == number), None)
        if found is None:
            return 404, {"message": "Not Found"}
        wrong = _wrong_body(sent)
        if wrong:
            return 422, wrong
        found["body"] = sent["body"]
        return 200, found

    def _answer(self, status: int, answer: Any, **headers: str) -> None:
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers.items():
            self.send_header(name, value)
        if isinstance(answer, list):
            self._link_next(answer)
        self.end_headers()
        self.wfile.write(text)

    def _link_next(self, shown: list[Any]) -> None:
        last = self.site.comments[-1:]
        if shown and shown[-1:] != last:
            # elsewhere on purpose: a client that goes by the address would send its token there
            here = "https://api.github.invalid/repositories/1/issues/7/comments?page=2"
            self.send_header("Link", f'<{here}>; rel="next", <{here}>; rel="last"')


def _wrong_body(sent: dict[str, Any]) -> dict[str, Any]:
    body = sent.get("body", "")
    why = "is too long (maximum is 65536 characters)" if len(body) > LIMIT else ""
    why = why if body.strip() else "can't be blank"
    if not why:
        return {}
    error = {"resource": "IssueComment", "code": "unprocessable", "field": "data"}
    return {"message": "Validation Failed", "errors": [{**error, "message": f"Body {why}"}]}
