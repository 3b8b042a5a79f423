"""What a job knows of its pull request, and GitHub's REST API for the comments on it."""

from __future__ import annotations

import http.client
import json
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, TypeVar

Answer = TypeVar("Answer")
PAGE = 100
CALL_TIMEOUT_S = 30
PATIENCE_S = 180
FIRST_PAUSE_S = 1.0
# what GitHub's documentation asks for where its answer names no time
LIMITED_S = 60.0
TOO_MANY = 429
FORBIDDEN = 403
NOT_FOUND = 404
SERVER_ERRORS = 500


@dataclass(frozen=True, kw_only=True)
class PullRequest:
    """The pull request that a job runs for."""

    number: int
    from_fork: bool
    commit: str


class NoEvent(Exception):
    """What the job is for can't be read; the message says why, in one line."""


def find_pull_request() -> PullRequest | None:
    """That of the event in $GITHUB_EVENT_PATH; None where a job runs for something else.

    Raises NoEvent where that names a file that can't be read.
    """
    path = os.environ.get("GITHUB_EVENT_PATH", "")
    try:
        found = json.loads(Path(path).read_text()).get("pull_request") if path else None
    except (OSError, ValueError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds no JSON object"
        raise NoEvent(f"GITHUB_EVENT_PATH: {path} can't be read: {reason}") from None
    if found is None:
        return None
    # a fork that was deleted meanwhile leaves no repository behind
    head = (found["head"].get("repo") or {}).get("full_name")
    return PullRequest(
        number=int(found["number"]),
        from_fork=head != found["base"]["repo"]["full_name"],
        commit=found["head"]["sha"],
    )


class Refused(Exception):
    """GitHub's answer is no; ``status`` is 0 where it gave none."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Later(Refused):
    """It may say yes later; ``after_s`` is how long it asks to wait, if it does."""

    def __init__(self, status: int, message: str, *, after_s: float | None = None) -> None:
        super().__init__(status, message)
        self.after_s = after_s


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The token goes to the API's host and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


class GitHub:
    """The comments of one repository's pull requests."""

    def __init__(self, *, url: str, repository: str, token: str) -> None:
        self._base = f"{url.rstrip('/')}/repos/{repository}/issues"
        self._token = token
        self._opener = urllib.request.build_opener(_NoRedirects)

    def comments(self, number: int) -> Iterator[dict[str, Any]]:
        """Every comment, oldest first, all pages of them."""
        page = 1
        while True:
            path = f"/{number}/comments?per_page={PAGE}&page={page}"
            found, headers = self._call("GET", path)
            yield from found
            if 'rel="next"' not in headers.get("Link", ""):
                return
            page += 1

    def create(self, number: int, body: str) -> str:
        """Write a comment; its address."""
        made, _ = self._call("POST", f"/{number}/comments", body=body)
        return str(made["html_url"])

    def update(self, comment: int, body: str) -> str:
        """Write a comment anew; its address."""
        made, _ = self._call("PATCH", f"/comments/{comment}", body=body)
        return str(made["html_url"])

    def _call(self, method: str, path: str, *, body: str | None = None) -> tuple[Any, Message]:
        """One request. Raises Later where another try may do, else Refused."""
        request = urllib.request.Request(  # noqa: S310 - the runner says where its API is
            self._base + path,
            method=method,
            data=None if body is None else json.dumps({"body": body}).encode(),
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "User-Agent": "clonepool-ci-preview",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        try:
            with self._opener.open(request, timeout=CALL_TIMEOUT_S) as answer:
                return json.load(answer), answer.headers
        except urllib.error.HTTPError as error:
            raise _refusal(method, error) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Later(0, f"{method}: no answer from GitHub ({error})") from None


def _refusal(method: str, error: urllib.error.HTTPError) -> Refused:
    try:
        said = str(json.load(error).get("message", ""))
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        said = ""
    message = f"{method}: GitHub says {error.code} {' '.join((said or error.reason).split())}"
    limited = error.code == TOO_MANY or (
        error.code == FORBIDDEN
        and (
            "Retry-After" in error.headers
            or error.headers.get("X-RateLimit-Remaining") == "0"
            or "rate limit" in said.lower()
        )
    )
    if limited:
        asked_s = _pause_asked_for(error.headers)
        return Later(error.code, message, after_s=LIMITED_S if asked_s is None else asked_s)
    if error.code >= SERVER_ERRORS:
        return Later(error.code, message, after_s=_pause_asked_for(error.headers))
    return Refused(error.code, message)


def _pause_asked_for(headers: Message) -> float | None:
    """Seconds: by Retry-After, else until the limit of this hour is over."""
    try:
        if "Retry-After" in headers:
            return max(float(headers["Retry-After"]), 0.0)
        if headers.get("X-RateLimit-Remaining") == "0":
            return max(float(headers["X-RateLimit-Reset"]) - time.time(), 0.0)
    except (TypeError, ValueError):
        pass
    return None


def patiently(act: Callable[[], Answer]) -> Answer:
    """Try until it is done, for three minutes at most; ``act`` must bear being repeated.

    Raises the last refusal, at once where waiting would take longer than that.
    """
    deadline = time.monotonic() + PATIENCE_S
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return act()
        except Later as refusal:
            wait_s = pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            if refusal.after_s is not None:
                wait_s = refusal.after_s
            if time.monotonic() + wait_s > deadline:
                raise
        time.sleep(wait_s)
        pause_s = min(pause_s * 2, 30.0)
