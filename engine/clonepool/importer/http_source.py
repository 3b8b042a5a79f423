"""Downloads over http and https into a sparse file, whole or refused."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from clonepool.errors import (
    ClonepoolError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from clonepool.importer.limits import ImportLimits, check_free
from clonepool.sparse import MIB, write_all
from clonepool.units import format_size

_STEP_BYTES: Final = MIB
# a run of zeros this long becomes a hole
_HOLE_BYTES: Final = 64 * 1024
_ZEROS: Final = bytes(_HOLE_BYTES)
_WEB_SCHEMES: Final = frozenset({"http", "https"})
_OK: Final = 200
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def download(
    url: str,
    *,
    target: Path,
    limits: ImportLimits,
    expect_size: Callable[[int], None],
    progress: Callable[[int], None],
) -> str:
    """Fetch ``url`` into the new file ``target``; returns the sha256 (hex) of its bytes.

    ``expect_size`` gets Content-Length (0: not given) first. Raises NotFound, PermissionDenied
    and Unavailable by the server's answer, DataLoss for a download cut short, ResourceExhausted.
    """
    try:
        with _opener(limits).open(_request(url), timeout=limits.http_timeout_s) as answer:
            size_bytes = _announced_size(answer, url=url)
            check_free(
                directory=target.parent,
                needed_bytes=size_bytes,
                limits=limits,
                doing=f"downloading {shown(url)}",
            )
            expect_size(size_bytes)
            return _receive(
                answer, target=target, url=url, size_bytes=size_bytes, progress=progress
            )
    except ClonepoolError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _kind_of(error, url=url) from error


def shown(url: str) -> str:
    """A URL for messages: without a user's password or a signed query; never fails."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # what a server redirects to need not be a URL
        return "a URL that can't be read"
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


class WebRedirectsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects within what is allowed, and from https to https only."""

    def __init__(self, limits: ImportLimits) -> None:
        self._limits = limits

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request to follow with. Raises PermissionDenied out of the web, or out of TLS."""
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in _WEB_SCHEMES or (old, new) == ("https", "http"):
            raise PermissionDenied(
                f"{shown(req.full_url)} redirects from {old} to {new}, which is refused; "
                "give the final URL",
                reason="REDIRECT_REFUSED",
            )
        self._limits.check_scheme(new, url=shown(newurl))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(limits: ImportLimits) -> urllib.request.OpenerDirector:
    """No handlers for file:, ftp: or data:, whatever a server answers."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        WebRedirectsOnly(limits),
    ):
        opener.add_handler(handler)
    return opener


def _request(url: str) -> urllib.request.Request:
    # identity: a transparently gzipped image would have another digest than the file
    headers = {"User-Agent": "clonepool", "Accept-Encoding": "identity"}
    return urllib.request.Request(url, headers=headers)  # noqa: S310 - http(s) by the opener


def _announced_size(answer: http.client.HTTPResponse, *, url: str) -> int:
    if answer.status != _OK:
        raise Unavailable(f"{shown(url)} answers {answer.status} {answer.reason}, not 200")
    return int(answer.headers.get("Content-Length") or 0)


def _receive(
    answer: http.client.HTTPResponse,
    *,
    target: Path,
    url: str,
    size_bytes: int,
    progress: Callable[[int], None],
) -> str:
    digest, done_bytes = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        while chunk := answer.read(_STEP_BYTES):
            digest.update(chunk)
            _write_but_zeros(descriptor, chunk, position=done_bytes)
            done_bytes += len(chunk)
            progress(done_bytes)
        if size_bytes and done_bytes != size_bytes:
            raise DataLoss(
                f"{shown(url)} ended after {format_size(done_bytes)} of {format_size(size_bytes)}; "
                "try again",
                reason="SOURCE_TRUNCATED",
            )
        os.ftruncate(descriptor, done_bytes)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def _write_but_zeros(descriptor: int, chunk: bytes, *, position: int) -> None:
    for start in range(0, len(chunk), _HOLE_BYTES):
        part = chunk[start : start + _HOLE_BYTES]
        if part != _ZEROS[: len(part)]:
            write_all(descriptor, part, position=position + start)


def _kind_of(error: Exception, *, url: str) -> ClonepoolError:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return _kind_of_status(error.code, f"{shown(url)} answers {error.code} {error.reason}")
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return FailedPrecondition(
            f"{shown(url)}: its certificate is not trusted here ({cause.verify_message}); "
            "install its authority's certificate on the engine's machine"
        )
    if isinstance(cause, http.client.IncompleteRead):
        return DataLoss(f"{shown(url)} ended too early; try again", reason="SOURCE_TRUNCATED")
    if isinstance(cause, OSError) and cause.errno in _FULL:
        return ResourceExhausted(f"downloading {shown(url)}: {cause}; free some space")
    return Unavailable(f"{shown(url)} can't be read: {cause}; try again", retry_after_s=5.0)


def _kind_of_status(status: int, text: str) -> ClonepoolError:
    if status in (404, 410):
        return NotFound(f"{text}; check the URL")
    if status in (401, 403, 407):
        return PermissionDenied(f"{text}; the engine needs access to it")
    if status in (408, 425, 429) or status >= 500:  # noqa: PLR2004 - the server's own failures
        return Unavailable(f"{text}; try again", retry_after_s=5.0)
    return InvalidArgument(f"{text}; check the URL")
