"""Where a source may come from, and that it is whole and the declared one."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from clonepool.errors import (
    Aborted,
    Cancelled,
    ClonepoolError,
    DataLoss,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from clonepool.importer.fetch import fetched
from clonepool.importer.http_source import WebRedirectsOnly
from clonepool.importer.limits import ImportLimits, Meter
from clonepool.testing.images import allocated_bytes

from .conftest import WebServer

MIB = 2**20
QUICK = ImportLimits(http_timeout_s=2.0)


def quiet_meter() -> Meter:
    return Meter(lambda _done, _total: None)


def fetch(
    source: str,
    *,
    staging: Path,
    sha256: str = "",
    import_roots: Sequence[Path] = (),
    limits: ImportLimits = QUICK,
    meter: Meter | None = None,
) -> bytes:
    """The bytes of a source, fetched and confirmed."""
    with fetched(
        source=source,
        sha256=sha256,
        import_roots=import_roots,
        staging=staging,
        limits=limits,
        meter=meter or quiet_meter(),
    ) as found:
        content = found.path.read_bytes()
        found.confirm()
        return content


def test_a_local_file_is_read_where_it_is(staging: Path, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"content")
    assert b"content" == fetch(str(tmp_path / "image"), staging=staging)
    assert [] == list(staging.iterdir())


def test_a_download_is_whole_sparse_and_reported(staging: Path, web: WebServer) -> None:
    content = b"x" * MIB + bytes(4 * MIB) + b"y" * 1000
    seen: list[tuple[int, int]] = []
    meter = Meter(lambda done, total: seen.append((done, total)))
    url = web.serve("/image", content)
    assert content == fetch(url, staging=staging, meter=meter)
    assert allocated_bytes(staging / "download") < 2 * MIB
    assert len(content) == seen[-1][0]
    assert {3 * len(content)} == {total for _done, total in seen}  # as are the stages to come


def test_a_scheme_is_known_in_any_case(staging: Path, web: WebServer) -> None:
    url = web.serve("/image", b"content").replace("http:", "HTTP:")
    assert b"content" == fetch(url, staging=staging)


@pytest.mark.parametrize("where", ["web", "local"])
def test_the_declared_digest_is_checked(
    staging: Path, tmp_path: Path, web: WebServer, where: str
) -> None:
    content = b"the image" * 1000
    (tmp_path / "image").write_bytes(content)
    source = web.serve("/image", content) if where == "web" else str(tmp_path / "image")
    right, wrong = hashlib.sha256(content).hexdigest(), "0" * 64
    with pytest.raises(DataLoss, match=f"sha256 {right}, but {wrong} was declared"):
        fetch(source, staging=staging, sha256=wrong)
    (staging / "download").unlink(missing_ok=True)
    assert content == fetch(source, staging=staging, sha256=right.upper())


def test_a_digest_that_is_none_is_refused(staging: Path) -> None:
    with pytest.raises(InvalidArgument, match="64 hexadecimal digits"):
        fetch("/image", staging=staging, sha256="abc")


def test_a_file_outside_the_roots_is_refused_even_through_a_link(
    staging: Path, tmp_path: Path
) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.write_bytes(b"secret")
    (inside / "link").symlink_to(outside)
    (tmp_path / "alias").symlink_to(inside)
    (inside / "image").write_bytes(b"image")
    for source in (outside, inside / "link", inside / ".." / "outside"):
        with pytest.raises(PermissionDenied, match=rf"import roots \({inside}\)"):
            fetch(str(source), staging=staging, import_roots=[inside])
    for root in (inside, tmp_path / "alias"):
        assert b"image" == fetch(
            str(tmp_path / "alias" / "image"), staging=staging, import_roots=[root]
        )


def test_a_folder_a_fifo_and_a_device_are_refused_unopened(staging: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for source in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(InvalidArgument, match="no regular file"):
            fetch(str(source), staging=staging)


@pytest.mark.parametrize("source", ["/proc/kmsg", "/proc/self/mem", "/proc/self/environ"])
@pytest.mark.parametrize("sha256", ["", "ab" * 32])
def test_a_file_of_proc_is_refused_unread(staging: Path, source: str, sha256: str) -> None:
    """Some of them block whoever reads them, and the engine has few workers."""
    with pytest.raises((InvalidArgument, PermissionDenied)):
        fetch(source, staging=staging, sha256=sha256)


def test_links_that_lead_nowhere_are_refused(staging: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(InvalidArgument, match="symbolic links"):
        fetch(str(tmp_path / "loop"), staging=staging)
    with pytest.raises(NotFound, match="nothing is not there"):
        fetch(str(tmp_path / "dangling"), staging=staging)
    with pytest.raises(InvalidArgument, match="can't be opened: Not a directory"):
        fetch(str(tmp_path / "file" / "below"), staging=staging)
    with pytest.raises(InvalidArgument, match="can't be opened: File name too long"):
        fetch(str(tmp_path / ("a" * 300)), staging=staging)


def test_an_absent_file_is_not_found(staging: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="engine's side"):
        fetch(str(tmp_path / "absent"), staging=staging)


@pytest.mark.parametrize(
    "source", ["image.raw", "", "file:///etc/passwd", "ftp://host/a", "nbd://host", "json:{}"]
)
def test_what_is_no_path_and_no_web_address_is_refused(staging: Path, source: str) -> None:
    with pytest.raises(InvalidArgument, match="path"):
        fetch(source, staging=staging)


def test_a_file_that_changes_while_it_is_read_is_noticed(staging: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"first")
    with fetched(
        source=str(image),
        sha256="",
        import_roots=(),
        staging=staging,
        limits=QUICK,
        meter=quiet_meter(),
    ) as found:
        image.write_bytes(b"second")
        with pytest.raises(Aborted, match="changed while"):
            found.confirm()


def test_a_file_swapped_for_another_is_not_the_one_read(staging: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"checked")
    with fetched(
        source=str(image),
        sha256="",
        import_roots=(),
        staging=staging,
        limits=ImportLimits(),
        meter=quiet_meter(),
    ) as found:
        image.unlink()
        image.symlink_to("/etc/passwd")
        assert b"checked" == found.path.read_bytes()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (404, NotFound),
        (403, PermissionDenied),
        (500, Unavailable),
        (429, Unavailable),
        (400, InvalidArgument),
        (204, Unavailable),
    ],
)
def test_what_the_server_answers_has_its_kind(
    staging: Path, web: WebServer, code: int, kind: type[ClonepoolError]
) -> None:
    with pytest.raises(kind, match=rf"127\.0\.0\.1:{web.port}/image answers {code}"):
        fetch(web.status("/image", code), staging=staging)


def test_secrets_of_a_url_stay_out_of_messages(staging: Path, web: WebServer) -> None:
    url = f"http://user:hunter2@127.0.0.1:{web.port}/image?signature=hunter3"
    with pytest.raises(ClonepoolError) as raised:
        fetch(url, staging=staging)
    assert "hunter" not in str(raised.value)


def test_a_download_cut_short_is_refused(staging: Path, web: WebServer) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(MIB))
        request.end_headers()
        request.wfile.write(b"half")

    web.answers["/image"] = answer
    with pytest.raises(DataLoss, match=r"ended after 4 B of 1 MiB"):
        fetch(web.url("/image"), staging=staging)


def test_a_server_that_stops_sending_is_given_up(staging: Path, web: WebServer) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100")
        request.end_headers()
        request.wfile.flush()
        request.rfile.read(1)  # until the client goes

    web.answers["/image"] = answer
    with pytest.raises(Unavailable, match="timed out"):
        fetch(web.url("/image"), staging=staging, limits=ImportLimits(http_timeout_s=0.2))


def test_a_server_that_is_not_there_is_unavailable(staging: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="refused"):
            fetch(f"http://127.0.0.1:{unused.getsockname()[1]}/image", staging=staging)


def test_what_cannot_fit_is_refused_before_it_is_downloaded(staging: Path, web: WebServer) -> None:
    url = web.status("/image", 200, **{"Content-Length": str(2**60)})
    with pytest.raises(ResourceExhausted, match=r"needs 1024[.]0 PiB, .+ is free"):
        fetch(url, staging=staging)
    assert [] == list(staging.iterdir())


def test_a_redirect_within_the_web_is_followed_and_out_of_it_refused(
    staging: Path, web: WebServer
) -> None:
    there = web.serve("/there", b"content")
    assert b"content" == fetch(web.status("/here", 302, Location=there), staging=staging)
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"):
        with pytest.raises((PermissionDenied, InvalidArgument), match=r"(?i)redirect"):
            fetch(web.status("/out", 302, Location=target), staging=staging)


@pytest.mark.parametrize("target", ["http://[", "http://127.0.0.1:99999/x", "http://x:port/y"])
def test_what_is_no_url_is_refused_in_words_given_or_redirected_to(
    staging: Path, web: WebServer, target: str
) -> None:
    for url in (target, web.status("/out", 302, Location=target)):
        with pytest.raises(Unavailable, match="can't be read"):
            fetch(url, staging=staging)
    assert [] == list(staging.iterdir())


def test_a_redirect_from_https_to_http_is_refused() -> None:
    """Anybody on the way could then change the image."""
    request = urllib.request.Request("https://host/image")
    with pytest.raises(PermissionDenied, match="redirects from https to http"):
        WebRedirectsOnly(QUICK).redirect_request(
            request, io.BytesIO(), 302, "Found", HTTPMessage(), "http://host/image"
        )


def test_a_download_can_be_cancelled(staging: Path, web: WebServer) -> None:
    def cancel(_done: int, _total: int) -> None:
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        fetch(web.serve("/image", b"x" * MIB), staging=staging, meter=Meter(cancel))


@pytest.mark.parametrize("schemes", [frozenset(), frozenset({"https"})])
def test_a_url_of_a_scheme_that_is_not_allowed_is_not_asked_for(
    staging: Path, web: WebServer, schemes: frozenset[str]
) -> None:
    limits = replace(QUICK, url_schemes=schemes)
    with pytest.raises(PermissionDenied, match="nothing is imported over http by this engine"):
        fetch(web.url("/no-such"), staging=staging, limits=limits)
    with pytest.raises(PermissionDenied, match="import_schemes"):
        fetch(web.url("/no-such").replace("http:", "HTTP:"), staging=staging, limits=limits)
    assert [] == web.requests


def test_a_redirect_to_a_scheme_that_is_not_allowed_is_refused() -> None:
    request = urllib.request.Request("http://a.test/image")
    only = WebRedirectsOnly(replace(QUICK, url_schemes=frozenset({"http"})))
    with pytest.raises(PermissionDenied, match="nothing is imported over https"):
        only.redirect_request(
            request, io.BytesIO(), 302, "Found", HTTPMessage(), "https://a.test/image"
        )
