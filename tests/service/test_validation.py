"""What is refused, by field path, before anything is touched."""

from __future__ import annotations

from typing import Any

import pytest

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import InvalidArgument
from tests.service.fake_engine import FakeEngine

ACME = {"name": "acme", "kind": pb.SYSTEM_USER_KIND_CUSTOMER}
IMAGE: dict[str, Any] = {"name": "web", "writable": {"source": "/srv/web.raw"}}
POOL: dict[str, Any] = {"name": "web", "master_image": "web"}
SERVER: dict[str, Any] = {"name": "web1"}
ATTACHMENT: dict[str, Any] = {"name": "a", "pool": "web", "server": "web1"}
GIVEN = {"mode": "given", "username": "acme", "secret": "twelve-chars"}
FILE = {"portion": "writable", "path": "/etc/motd", "content": ""}

REFUSED = [
    ("CreateImage", {**IMAGE, "name": "Web"}, "name"),
    ("CreateImage", {**IMAGE, "name": ""}, "name"),
    ("CreateImage", {**IMAGE, "name": "a" * 64}, "name"),
    ("CreateImage", {**IMAGE, "name": "web-"}, "name"),
    ("CreateImage", {**IMAGE, "name": "web\n"}, "name"),
    ("CreateImage", {"name": "web"}, "writable"),
    ("CreateImage", {**IMAGE, "system_user": {"name": "acme"}}, "system_user.kind"),
    ("CreateImage", {**IMAGE, "system_user": {**ACME, "name": ""}}, "system_user.name"),
    ("CreateImage", {**IMAGE, "system_user": {**ACME, "name": "a\tb"}}, "system_user.name"),
    ("CreateImage", {**IMAGE, "writable": {"source": "web.raw"}}, "writable.source"),
    ("CreateImage", {**IMAGE, "writable": {"source": "ftp://x/y"}}, "writable.source"),
    ("CreateImage", {**IMAGE, "writable": {"source": "/x", "size_bytes": -512}}, "writable.size"),
    ("CreateImage", {**IMAGE, "writable": {"source": "/x", "size_bytes": 513}}, "writable.size"),
    ("CreateImage", {**IMAGE, "writable": {"source": "/x", "sha256": "ab"}}, "writable.sha256"),
    ("CreateImage", {**IMAGE, "writable": {"source": "/x", "format": "-f"}}, "writable.format"),
    ("CreateImage", {**IMAGE, "read_only": {"source": ""}}, "read_only.source"),
    ("CreateImage", {**IMAGE, "storage": "No"}, "storage"),
    ("CreateImage", {**IMAGE, "labels": {"k": "v" * 256}}, "labels['k']"),
    ("CreateImage", {**IMAGE, "labels": {"k" * 64: "v"}}, "labels['kkkkkkkkkkkkkkkkkkkk']"),
    ("CreateImage", {**IMAGE, "labels": {f"k{n}": "" for n in range(65)}}, "labels"),
    (
        "CreateImage",
        {**IMAGE, "preconfigure": [{**FILE, "portion": "read_only"}]},
        "preconfigure[0].portion",
    ),
    ("CreateImage", {**IMAGE, "preconfigure": [{**FILE, "path": "x"}]}, "preconfigure[0].path"),
    (
        "CreateImage",
        {**IMAGE, "preconfigure": [{**FILE, "path": "/a/../b"}]},
        "preconfigure[0].path",
    ),
    ("CreateImage", {**IMAGE, "preconfigure": [{**FILE, "path": "/a/"}]}, "preconfigure[0].path"),
    ("CreateImage", {**IMAGE, "preconfigure": [{**FILE, "path": "/a'b"}]}, "preconfigure[0].path"),
    ("CreateImage", {**IMAGE, "preconfigure": [{**FILE, "mode": 0o10000}]}, "preconfigure[0].mode"),
    (
        "CreateImage",
        {**IMAGE, "preconfigure": [{"portion": "writable", "path": "/a"}]},
        "preconfigure[0].content",
    ),
    ("CreateImage", {**IMAGE, "preconfigure": [FILE, FILE]}, "preconfigure[1].path"),
    ("CreatePool", {**POOL, "master_image": ""}, "master_image"),
    ("CreatePool", {**POOL, "min_ready": -1}, "min_ready"),
    ("CreatePool", {**POOL, "min_ready": 101}, "min_ready"),
    ("CreatePool", {**POOL, "min_ready": 5, "max_replicas": 4}, "min_ready"),
    ("CreatePool", {**POOL, "max_replicas": -1}, "max_replicas"),
    ("CreatePool", {**POOL, "wait_for_ready": 2}, "wait_for_ready"),
    ("CreatePool", {**POOL, "min_ready": 0, "wait_for_ready": 1}, "wait_for_ready"),
    ("CreatePool", {**POOL, "wait_for_ready": -1}, "wait_for_ready"),
    ("CreatePool", {**POOL, "max_unavailable": -1}, "rollout.max_unavailable"),
    ("CreatePool", {**POOL, "image_version": -1}, "image_version"),
    ("CreatePool", {**POOL, "clone_mode": "fat"}, "clone_mode"),
    ("CreatePool", {**POOL, "when_empty": "panic"}, "when_empty"),
    ("CreatePool", {**POOL, "fabric": "a b"}, "fabric"),
    ("CreatePool", {**POOL, "scrub": {"threshold": -1}}, "scrub.threshold"),
    ("CreatePool", {**POOL, "scrub": {"method": "burn"}}, "scrub.method"),
    ("CreatePool", {**POOL, "scrub": {"then": "keep"}}, "scrub.then"),
    ("CreatePool", {**POOL, "scrub": {"verify": "half"}}, "scrub.verify"),
    ("CreatePool", {**POOL, "scrub": {"assurance": "destroy"}}, "scrub.assurance"),
    ("CreatePool", {**POOL, "scrub": {"max_bytes": -1}}, "scrub.max_bytes"),
    ("CreatePool", {**POOL, "scrub": {"on_low_stock": -1}}, "scrub.on_low_stock"),
    ("CreatePool", {**POOL, "scrub": {"on_low_stock": 2}}, "scrub.on_low_stock"),
    ("CreatePool", {**POOL, "scrub": {"max_age_s": -1.0}}, "scrub.max_age"),
    ("CreatePool", {**POOL, "scrub": {"undo_window_s": 1e12}}, "scrub.undo_window"),
    ("CreatePool", {**POOL, "scrub": {"undo_window_s": float("nan")}}, "scrub.undo_window"),
    ("CreatePool", {**POOL, "scrub": {"windows": ["all day"]}}, "scrub.windows[0]"),
    ("CreateServer", {**SERVER, "initiator": "web1"}, "initiator"),
    ("CreateServer", {**SERVER, "initiator": "iqn.2026-13.com.example"}, "initiator"),
    ("CreateServer", {**SERVER, "initiator": "iqn.2026-01.com.example:a,b"}, "initiator"),
    ("CreateServer", {**SERVER, "initiator": "iqn.2026-01.com.x:" + "a" * 223}, "initiator"),
    ("CreateAttachment", {"name": "a", "pool": "web"}, "server"),
    ("CreateAttachment", {**ATTACHMENT, "pool": "/"}, "pool"),
    ("CreateAttachment", {"name": "a", "pool": "web", "inline_server": {}}, "inline_server.name"),
    (
        "CreateAttachment",
        {"name": "a", "pool": "web", "inline_server": {"name": "x", "initiator": "x"}},
        "inline_server.initiator",
    ),
    ("CreateAttachment", {"name": "a", "pool": "web", "server_selector": {}}, "server_selector"),
    ("CreateAttachment", {**ATTACHMENT, "chap": {"mode": "x"}}, "chap.mode"),
    ("CreateAttachment", {**ATTACHMENT, "chap": {"secret": "twelve-chars"}}, "chap.secret"),
    ("CreateAttachment", {**ATTACHMENT, "chap": {**GIVEN, "secret": "short"}}, "chap.secret"),
    (
        "CreateAttachment",
        {**ATTACHMENT, "chap": {**GIVEN, "secret": "with,a,comma"}},
        "chap.secret",
    ),
    ("CreateAttachment", {**ATTACHMENT, "chap": {**GIVEN, "secret": "é" * 12}}, "chap.secret"),
    ("CreateAttachment", {**ATTACHMENT, "chap": {**GIVEN, "username": ""}}, "chap.username"),
]
ACCEPTED = [
    ("CreateImage", {**IMAGE, "labels": {f"k{n}": "v" * 255 for n in range(64)}}),
    ("CreateImage", {**IMAGE, "name": "a", "storage": "fast.1"}),
    ("CreateImage", {**IMAGE, "name": "a" * 63, "preconfigure": [{**FILE, "mode": 0o7777}]}),
    ("CreatePool", {**POOL, "min_ready": 0}),
    ("CreatePool", {**POOL, "min_ready": 5, "max_replicas": 5, "wait_for_ready": 5}),
    ("CreatePool", {**POOL, "min_ready": 5, "scrub": {"on_low_stock": 5}}),
    ("CreatePool", {**POOL, "scrub": {"windows": ["mon-fri 22:00-06:00"] * 100}}),
    ("CreatePool", {**POOL, "scrub": {"max_age_s": 0.5, "max_bytes": 2**62, "verify": "full"}}),
    ("CreateServer", {**SERVER, "initiator": "iqn.1993-08.org.debian:01:abc"}),
    ("CreateServer", {**SERVER, "initiator": "EUI.02004567A425678D"}),
    ("CreateAttachment", {**ATTACHMENT, "chap": GIVEN}),
    ("CreateAttachment", {**ATTACHMENT, "chap": {"mode": "none"}}),
    ("CreateAttachment", {"name": "a", "pool": "web", "server_selector": {"labels": {"k": ""}}}),
]
KINDS = {
    "CreateImage": (pb.CreateImageRequest, "images"),
    "CreatePool": (pb.CreatePoolRequest, "pools"),
    "CreateServer": (pb.CreateServerRequest, "servers"),
    "CreateAttachment": (pb.CreateAttachmentRequest, "attachments"),
}


@pytest.mark.parametrize(("method", "spec", "field"), REFUSED)
def test_a_bad_field_is_refused_by_its_path(
    client: EngineClient, engine: FakeEngine, method: str, spec: dict[str, Any], field: str
) -> None:
    request_class, controller = KINDS[method]

    with pytest.raises(InvalidArgument) as refused:
        client.call(method, request_class(spec=spec, request_token="t"))

    assert [violation.field for violation in refused.value.violations] == [field]
    assert getattr(engine, controller).calls == []


@pytest.mark.parametrize(("method", "spec"), ACCEPTED)
def test_a_value_at_the_limit_is_accepted(
    client: EngineClient, engine: FakeEngine, method: str, spec: dict[str, Any]
) -> None:
    request_class, controller = KINDS[method]

    client.call(method, request_class(spec=spec, request_token="t"))

    assert [verb for verb, _ in getattr(engine, controller).calls] == ["create"]


@pytest.mark.parametrize("method", list(KINDS))
def test_create_needs_a_request_token(client: EngineClient, method: str) -> None:
    """Without one, two callers that ask alike would share one object."""
    request_class, _ = KINDS[method]
    specs = {
        "CreateImage": IMAGE,
        "CreatePool": POOL,
        "CreateServer": SERVER,
        "CreateAttachment": ATTACHMENT,
    }

    with pytest.raises(InvalidArgument) as refused:
        client.call(method, request_class(spec=specs[method]))

    assert [violation.field for violation in refused.value.violations] == ["request_token"]


def test_all_bad_fields_are_named_at_once(client: EngineClient) -> None:
    spec = {"name": "WEB", "master_image": "", "clone_mode": "fat", "scrub": {"threshold": -2}}

    with pytest.raises(InvalidArgument) as refused:
        client.call("CreatePool", pb.CreatePoolRequest(spec=spec, request_token="t"))

    fields = [violation.field for violation in refused.value.violations]
    assert fields == ["name", "master_image", "clone_mode", "scrub.threshold"]
    assert "must be one of: auto, thin, full" in refused.value.message


@pytest.mark.parametrize(
    ("method", "request_message", "field"),
    [
        ("GetImage", pb.GetRequest(), "name"),
        ("GetPool", pb.GetRequest(id=""), "id"),
        ("GetAttachment", pb.GetAttachmentRequest(), "name"),
        ("GetVolume", pb.GetRequest(name="web"), "id"),
        ("GetOperation", pb.GetRequest(name="web"), "id"),
        ("CancelOperation", pb.GetRequest(name="web"), "id"),
        ("GetScrubRun", pb.GetRequest(name="web"), "id"),
        ("DeletePool", pb.DeleteRequest(), "id"),
        ("DeleteAttachment", pb.DeleteAttachmentRequest(), "id"),
        ("UpdatePool", pb.UpdatePoolRequest(spec=POOL), "id"),
        ("ListImages", pb.ListRequest(page_size=-1), "page_size"),
        ("ListVolumes", pb.ListVolumesRequest(state="lost"), "state"),
        ("ListEvents", pb.ListEventsRequest(after_id=-1), "after_id"),
        ("StartScrub", pb.StartScrubRequest(), "pool"),
        ("ListImageVersions", pb.ListImageVersionsRequest(), "image_id"),
    ],
)
def test_a_request_that_names_nothing_is_refused(
    client: EngineClient, method: str, request_message: Any, field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        client.call(method, request_message)

    assert [violation.field for violation in refused.value.violations] == [field]


def test_a_refused_secret_is_not_repeated(client: EngineClient) -> None:
    chap = {"mode": "given", "username": "acme", "secret": "hunter2"}

    with pytest.raises(InvalidArgument) as refused:
        client.call(
            "CreateAttachment",
            pb.CreateAttachmentRequest(spec={**ATTACHMENT, "chap": chap}, request_token="t"),
        )

    assert "hunter2" not in refused.value.message


HOLD: dict[str, Any] = {"pools": [{"pool": "web", "count": 1}], "duration_s": 60}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pools": []}, "pools"),
        ({"pools": [{"pool": f"p{n}", "count": 1} for n in range(101)]}, "pools"),
        ({"pools": [{"pool": "Web", "count": 1}]}, "pools[0].pool"),
        ({"pools": [{"count": 1}]}, "pools[0].pool"),
        ({"pools": [{"pool": "web"}]}, "pools[0].count"),
        ({"pools": [{"pool": "web", "count": -1}]}, "pools[0].count"),
        ({"pools": [{"pool": "web", "count": 1}, {"pool": "web", "count": 2}]}, "pools[1].pool"),
        ({"duration_s": 0}, "duration_s"),
        ({"duration_s": -1}, "duration_s"),
        ({"duration_s": 0.5}, "duration_s"),
        ({"duration_s": float("nan")}, "duration_s"),
        ({"duration_s": float("inf")}, "duration_s"),
        ({"duration_s": 1e300}, "duration_s"),
        ({"owner": "a\nb"}, "owner"),
        ({"owner": "a" * 257}, "owner"),
        ({"request_token": ""}, "request_token"),
    ],
    ids=str,
)
def test_a_hold_that_can_not_be_meant_is_refused(
    client: EngineClient, engine: FakeEngine, changes: dict[str, Any], field: str
) -> None:
    request = pb.CreateHoldRequest(**{**HOLD, "request_token": "t", **changes})

    with pytest.raises(InvalidArgument) as refused:
        client.call("CreateHold", request)

    assert [violation.field for violation in refused.value.violations] == [field]
    assert engine.holds.calls == []


@pytest.mark.parametrize("ticket", ["a\nb", " a", "a" * 129, "\x00"])
def test_what_can_be_no_ticket_is_refused(
    client: EngineClient, engine: FakeEngine, ticket: str
) -> None:
    create = pb.CreateAttachmentRequest(spec=ATTACHMENT, request_token="t", hold=ticket)
    for method, request in (
        ("CreateAttachment", create),
        ("Forecast", pb.ForecastRequest(hold=ticket)),
    ):
        with pytest.raises(InvalidArgument) as refused:
            client.call(method, request)
        assert [violation.field for violation in refused.value.violations] == ["hold"]
    assert engine.attachments.calls == []


@pytest.mark.parametrize("ticket", ["x", "é", "'; DROP TABLE hold; --", "%", "a" * 128])
def test_a_ticket_may_be_any_line(client: EngineClient, ticket: str) -> None:
    """Whether it is any use is found out later: it never fails an attachment."""
    request = pb.CreateAttachmentRequest(spec=ATTACHMENT, request_token="t", hold=ticket)
    assert client.call("CreateAttachment", request).state == "attached"


@pytest.mark.parametrize(
    ("method", "request_message", "field"),
    [
        ("UndoRelease", pb.UndoReleaseRequest(), "attachment"),
        ("UndoRelease", pb.UndoReleaseRequest(volume_id=""), "volume_id"),
        ("UndoRelease", pb.UndoReleaseRequest(attachment="a" * 129), "attachment"),
        ("RetryVolume", pb.GetRequest(name="web"), "id"),
        ("DestroyVolume", pb.GetRequest(), "id"),
    ],
)
def test_what_is_done_to_one_thing_needs_its_name_or_id(
    client: EngineClient, engine: FakeEngine, method: str, request_message: Any, field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        client.call(method, request_message)

    assert [field] == [violation.field for violation in refused.value.violations]
    assert [] == engine.attachments.calls
    assert [] == engine.scrub.calls
