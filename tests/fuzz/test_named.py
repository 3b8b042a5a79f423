"""The bad input that comes first to mind, by name: each is refused in words, and makes nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import InvalidArgument
from clonepool.service.findings import NAME
from tests.fuzz.conftest import World
from tests.fuzz.messages import SERVICE
from tests.fuzz.target import Answer, check_answer
from tests.fuzz.values import NASTY_TEXTS
from tests.support.waiting import wait_for

BAD_NAMES = [text for text in NASTY_TEXTS if not NAME.fullmatch(text)]
NO_SOURCES = (
    *("file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "nbd://127.0.0.1/x", "json:{}"),
    *("x.raw", "../x", "", "/a\n", "/a\0b", "/" + "a" * 10_000),
)
PORTION = pb.PortionSpec(source="/x")
USER = {"name": "acme", "kind": pb.SYSTEM_USER_KIND_CUSTOMER}


def send(world: World, method: str, request: Any) -> Answer:
    answer = world.target.send(SERVICE.methods_by_name[method], request.SerializeToString())
    check_answer(answer)
    return answer


def refused_field(answer: Answer) -> str:
    assert isinstance(answer.error, InvalidArgument), answer
    return answer.error.violations[0].field


def test_a_name_that_is_none_is_refused_by_every_create(world: World) -> None:
    before = world.declared()
    for name in BAD_NAMES:
        specs: dict[str, Any] = {
            "CreateImage": pb.CreateImageRequest(spec=pb.ImageSpec(name=name, writable=PORTION)),
            "CreatePool": pb.CreatePoolRequest(spec=pb.PoolSpec(name=name, master_image="web")),
            "CreateServer": pb.CreateServerRequest(spec=pb.ServerSpec(name=name)),
            "CreateAttachment": pb.CreateAttachmentRequest(
                spec=pb.AttachmentSpec(name=name, pool="web", server="s")
            ),
        }
        for method, request in specs.items():
            request.request_token = "t"
            assert "name" == refused_field(send(world, method, request)), (method, name)
    assert before == world.declared()


def test_a_size_that_is_none_is_refused(world: World) -> None:
    for size_bytes in (-1, -512, 1, 513, 2**63 - 1, -(2**63)):
        portion = pb.PortionSpec(source="/x", size_bytes=size_bytes)
        request = pb.CreateImageRequest(spec=pb.ImageSpec(name="web", writable=portion))
        request.request_token = "t"
        answer = send(world, "CreateImage", request)
        assert "writable.size" == refused_field(answer), size_bytes


def test_a_source_of_another_kind_is_refused_at_once(world: World) -> None:
    for source in NO_SOURCES:
        spec = pb.ImageSpec(name="web", writable=pb.PortionSpec(source=source))
        answer = send(world, "CreateImage", pb.CreateImageRequest(spec=spec, request_token="t"))
        assert "writable.source" == refused_field(answer), source


def failure(world: World, source: str) -> str:
    """Why an image of this source could not be imported."""
    spec = pb.ImageSpec(name="bad", system_user=USER, writable=pb.PortionSpec(source=source))
    request = pb.CreateImageRequest(spec=spec, request_token="t")
    image = world.target.call("CreateImage", request)
    found = wait_for(lambda: _failed(world), what=f"the import of {source} to fail")
    world.target.call("DeleteImage", pb.DeleteRequest(id=image.id))
    return found


def _failed(world: World) -> str:
    latest = world.target.call("GetImage", pb.GetRequest(name="bad")).latest
    return str(latest.error) if latest.state == "failed" else ""


def test_what_is_no_file_fails_in_words_hangs_nothing_and_leaves_nothing(world: World) -> None:
    """A FIFO without a writer, and files of /proc, would hold a worker for ever."""
    folder = world.sources
    expected = {
        folder / "fifo": "is no regular file",
        folder / "folder": "is no regular file",
        folder / "empty.raw": "is empty",
        folder / "loop": "symbolic links",
        folder / "dangling": "is not there",
        Path("/dev/zero"): "is no regular file",
        Path("/proc/kmsg"): "is empty (or a file of /proc)",
        Path("/proc/self/mem"): "is empty (or a file of /proc)",
    }
    found = {path: failure(world, str(path)) for path in expected}
    assert dict.fromkeys(expected, True) == {
        path: expected[path] in text for path, text in found.items()
    }, found
    assert [] == list(world.rig.storage.list())
    staging = world.rig.engine._drivers.staging_dir("default")
    assert [] == list(staging.iterdir())


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never says anything."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        yield listening.getsockname()[1]


def test_a_server_that_never_answers_holds_up_nobody_else(world: World, silent: int) -> None:
    source = f"http://127.0.0.1:{silent}/image"
    slow = pb.ImageSpec(name="slow", system_user=USER, writable=pb.PortionSpec(source=source))
    answer = send(world, "CreateImage", pb.CreateImageRequest(spec=slow, request_token="t"))
    assert answer.took_s < 5
    good = pb.PortionSpec(source=str(world.sources / "good.raw"), format="raw")
    spec = pb.ImageSpec(name="good", system_user=USER, writable=good)
    world.target.call("CreateImage", pb.CreateImageRequest(spec=spec, request_token="t"))
    wait_for(
        lambda: world.target.call("GetImage", pb.GetRequest(name="good")).HasField("current"),
        what="the other image",
    )


def test_a_name_of_odd_characters_is_imported_from(world: World) -> None:
    """Commas, quotes, spaces and an emoji; a line break is refused."""
    odd = world.sources / "odd, 'name' 😀.raw"
    odd.write_bytes(os.urandom(1024))
    portion = pb.PortionSpec(source=str(odd), format="raw")
    spec = pb.ImageSpec(name="odd", system_user=USER, writable=portion)
    world.target.call("CreateImage", pb.CreateImageRequest(spec=spec, request_token="t"))
    wait_for(
        lambda: world.target.call("GetImage", pb.GetRequest(name="odd")).HasField("current"),
        what="the image",
    )
