"""Every RPC, called twice over a real Unix socket, gives the same answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import NotFound
from tests.service.fake_engine import FakeEngine

ACME = pb.SystemUser(name="acme", kind=pb.SYSTEM_USER_KIND_CUSTOMER)
IMAGE = pb.ImageSpec(
    name="web",
    system_user=ACME,
    read_only=pb.PortionSpec(source="https://example.org/base.raw"),
    writable=pb.PortionSpec(source="/srv/images/web.qcow2", sha256="AB" * 32, size_bytes=2**30),
    preconfigure=[pb.Preconfigure(portion="writable", path="/etc/motd", content="hello\n")],
    labels={"tier": "front"},
)
POOL = pb.PoolSpec(name="web", master_image="web", min_ready=2, scrub=pb.ScrubPolicy(threshold=5))
SERVER = pb.ServerSpec(name="web1", initiator="IQN.2026-01.com.Example:web1")
HOLD = pb.CreateHoldRequest(
    pools=[pb.HeldStock(pool="web", count=2), pb.HeldStock(pool="front", count=9)],
    duration_s=600,
    owner="ci",
    request_token="t",
    partial=True,
)
ATTACHMENT = pb.AttachmentSpec(name="web1-data", pool="web", system_user=ACME, server="web1")


@pytest.fixture
def ids(client: EngineClient) -> dict[str, str]:
    """One of each kind, made beforehand."""
    made = {
        "image": client.call("CreateImage", pb.CreateImageRequest(spec=IMAGE, request_token="t")),
        "pool": client.call("CreatePool", pb.CreatePoolRequest(spec=POOL, request_token="t")),
        "server": client.call(
            "CreateServer", pb.CreateServerRequest(spec=SERVER, request_token="t")
        ),
        "attachment": client.call(
            "CreateAttachment", pb.CreateAttachmentRequest(spec=ATTACHMENT, request_token="t")
        ),
        "hold": client.call("CreateHold", HOLD),
    }
    return {kind: message.id for kind, message in made.items()}


def hold_requests(ids: dict[str, str]) -> dict[str, Any]:
    return {
        "CreateHold": HOLD,
        "GetHold": pb.GetRequest(id=ids["hold"]),
        "ListHolds": pb.ListRequest(pool="web"),
        "ReleaseHold": pb.DeleteRequest(id=ids["hold"]),
    }


def volume_requests(ids: dict[str, str]) -> dict[str, Any]:
    return {
        "UndoRelease": pb.UndoReleaseRequest(attachment=ids["attachment"]),
        "RetryVolume": pb.GetRequest(id="volume-1"),
        "DestroyVolume": pb.GetRequest(id="volume-1"),
        "GetVolume": pb.GetRequest(id="volume-1"),
        "ListVolumes": pb.ListVolumesRequest(pool="web", state="released"),
    }


def node_requests() -> dict[str, Any]:
    return {
        "ListNodes": pb.ListNodesRequest(),
        "GetNode": pb.GetRequest(name="node1"),
        "DrainNode": pb.GetRequest(name="node1"),
        "UndrainNode": pb.GetRequest(name="node1"),
        "ForgetNode": pb.DeleteRequest(id="node2"),
    }


def operation_requests() -> dict[str, Any]:
    return {
        "GetOperation": pb.GetRequest(id="operation-1"),
        "ListOperations": pb.ListOperationsRequest(open_only=True),
        "CancelOperation": pb.GetRequest(id="operation-1"),
    }


def requests(ids: dict[str, str]) -> dict[str, Any]:
    return {
        "GetEngineInfo": pb.GetEngineInfoRequest(),
        "GetCapacity": pb.GetCapacityRequest(storage="default", pool="web"),
        "CreateImage": pb.CreateImageRequest(spec=IMAGE, request_token="t"),
        "GetImage": pb.GetRequest(name="web"),
        "ListImages": pb.ListRequest(),
        "UpdateImage": pb.UpdateImageRequest(id=ids["image"], spec=IMAGE),
        "DeleteImage": pb.DeleteRequest(id=ids["image"]),
        "ListImageVersions": pb.ListImageVersionsRequest(image_id=ids["image"]),
        "CreatePool": pb.CreatePoolRequest(spec=POOL, request_token="t"),
        "GetPool": pb.GetRequest(id=ids["pool"]),
        "ListPools": pb.ListRequest(),
        "UpdatePool": pb.UpdatePoolRequest(id=ids["pool"], spec=POOL),
        "DeletePool": pb.DeleteRequest(id=ids["pool"]),
        "ResetPool": pb.GetRequest(name="web"),
        "CreateServer": pb.CreateServerRequest(spec=SERVER, request_token="t"),
        "GetServer": pb.GetRequest(name="web1"),
        "ListServers": pb.ListRequest(name_prefix="web"),
        "UpdateServer": pb.UpdateServerRequest(id=ids["server"], spec=SERVER, force=True),
        "DeleteServer": pb.DeleteRequest(id=ids["server"]),
        "CreateAttachment": pb.CreateAttachmentRequest(spec=ATTACHMENT, request_token="t"),
        "GetAttachment": pb.GetAttachmentRequest(name="web1-data"),
        "ListAttachments": pb.ListRequest(pool="web", server="web1"),
        "UpdateAttachment": pb.UpdateAttachmentRequest(id=ids["attachment"], spec=ATTACHMENT),
        "DeleteAttachment": pb.DeleteAttachmentRequest(id=ids["attachment"]),
        **hold_requests(ids),
        **volume_requests(ids),
        "StartScrub": pb.StartScrubRequest(pool="web"),
        "GetScrubRun": pb.GetRequest(id="run-1"),
        "ListScrubRuns": pb.ListScrubRunsRequest(pool="web"),
        "ListScrubRecords": pb.ListScrubRecordsRequest(volume_id="volume-1"),
        **operation_requests(),
        **node_requests(),
        "ListOrphans": pb.ListOrphansRequest(),
        "DeleteOrphan": pb.DeleteOrphanRequest(storage="default", name="vol-1"),
        "ListEvents": pb.ListEventsRequest(),
        "Forecast": pb.ForecastRequest(changes=[pb.PlannedChange(attach=ATTACHMENT)]),
    }


def unary_methods() -> Iterator[str]:
    for method in pb.DESCRIPTOR.services_by_name["Engine"].methods:
        if not method.server_streaming:
            yield method.name


def test_every_unary_rpc_is_called_here() -> None:
    """A new RPC without a line in the table above fails this test."""
    ids = dict.fromkeys(("image", "pool", "server", "attachment", "hold"), "x")
    assert set(unary_methods()) == set(requests(ids))


@pytest.mark.parametrize("method", list(unary_methods()))
def test_called_twice_the_answer_is_the_same(
    client: EngineClient, ids: dict[str, str], method: str
) -> None:
    """Deleting what is gone succeeds; creating again with the same token finds the same object."""
    request = requests(ids)[method]

    first = client.call(method, request)
    second = client.call(method, request)

    assert first == second
    thing = method.removeprefix("Delete").removeprefix("Release")
    if thing != method and thing.lower() in ids:
        with pytest.raises(NotFound):
            client.call(f"Get{thing}", _get(thing.lower(), ids))


def _get(kind: str, ids: dict[str, str]) -> pb.GetRequest | pb.GetAttachmentRequest:
    if kind == "attachment":
        return pb.GetAttachmentRequest(id=ids[kind])
    return pb.GetRequest(id=ids[kind])


def test_an_image_on_its_way_shows_its_import(client: EngineClient, ids: dict[str, str]) -> None:
    image = client.call("GetImage", pb.GetRequest(id=ids["image"]))

    assert image.latest.state == "importing"
    assert (image.latest.progress_bytes, image.latest.total_bytes) == (512, 1024)
    assert image.latest.operation_id == "operation-1"
    assert not image.HasField("current")


def test_an_imported_image_has_a_current_version(
    client: EngineClient, engine: FakeEngine, ids: dict[str, str]
) -> None:
    engine.images.imported(ids["image"])

    image = client.call("GetImage", pb.GetRequest(id=ids["image"]))

    assert image.current.number == 1
    assert image.current.writable.digest == "ab" * 32
    assert image.latest.operation_id == ""
    assert image.spec == pb.ImageSpec(
        name="web",
        system_user=ACME,
        read_only=pb.PortionSpec(source="https://example.org/base.raw", format="auto"),
        writable=pb.PortionSpec(
            source="/srv/images/web.qcow2", format="auto", sha256="ab" * 32, size_bytes=2**30
        ),
        preconfigure=[
            pb.Preconfigure(portion="writable", path="/etc/motd", content="hello\n", mode=0o644)
        ],
        storage="default",
        labels={"tier": "front"},
    )


def test_a_pool_has_its_defaults_and_counts(client: EngineClient, ids: dict[str, str]) -> None:
    pool = client.call("GetPool", pb.GetRequest(id=ids["pool"]))

    assert pool.spec == pb.PoolSpec(
        name="web",
        master_image="web",
        fabric="iscsi",
        min_ready=2,
        max_replicas=100,
        clone_mode="auto",
        when_empty="wait",
        wait_for_ready=1,
        max_unavailable=1,
        scrub=pb.ScrubPolicy(
            threshold=5,
            method="reformat",
            then="recycle",
            on_low_space=True,
            verify="none",
            assurance="clear",
        ),
    )
    assert pool.counts == pb.PoolCounts(ready=3, cloning=1, released=2, stale=1, waiting=4, held=2)


def test_a_pool_without_stock_waits_for_none(client: EngineClient) -> None:
    """wait_for_ready's default, 1, could never be reached with min_ready 0."""
    spec = pb.PoolSpec(name="cold", master_image="web", min_ready=0)

    pool = client.call("CreatePool", pb.CreatePoolRequest(spec=spec, request_token="t"))

    assert pool.spec.HasField("wait_for_ready")
    assert pool.spec.wait_for_ready == 0


def test_an_initiator_is_kept_in_lower_case(client: EngineClient, ids: dict[str, str]) -> None:
    server = client.call("GetServer", pb.GetRequest(id=ids["server"]))

    assert server.spec.initiator == "iqn.2026-01.com.example:web1"


def test_the_chap_secret_is_in_the_answers_that_promise_it_only(
    client: EngineClient, ids: dict[str, str]
) -> None:
    given = pb.AttachmentSpec()
    given.CopyFrom(ATTACHMENT)
    given.chap.mode, given.chap.username, given.chap.secret = "given", "acme", "a-given-secret"
    identity = {"id": ids["attachment"]}

    updated = client.call("UpdateAttachment", pb.UpdateAttachmentRequest(**identity, spec=given))
    plain = client.call("GetAttachment", pb.GetAttachmentRequest(**identity))
    asked = client.call("GetAttachment", pb.GetAttachmentRequest(**identity, include_secret=True))
    listed = client.call("ListAttachments", pb.ListRequest()).attachments[0]

    assert [message.chap_secret for message in (updated, asked)] == ["made-by-the-engine"] * 2
    assert [message.chap_secret for message in (plain, listed)] == ["", ""]
    assert [m.spec.chap.secret for m in (updated, asked, plain, listed)] == [""] * 4


def test_an_attachment_shows_how_to_connect(client: EngineClient, ids: dict[str, str]) -> None:
    found = client.call("GetAttachment", pb.GetAttachmentRequest(id=ids["attachment"]))

    assert found.state == "attached"
    assert found.lease_s == 30.0
    assert found.connection.portals == ["127.0.0.1:3260"]
    assert [(v.role, v.lun, v.read_only) for v in found.connection.volumes] == [
        ("read_only", 1, True),
        ("writable", 2, False),
    ]
    assert not found.connection.volumes[0].HasField("path")
    assert found.created_at.ToMilliseconds() == 1_700_000_000_250


def test_pages_follow_each_other_by_token(client: EngineClient) -> None:
    for number in range(5):
        spec = pb.ServerSpec(name=f"s{number}")
        client.call("CreateServer", pb.CreateServerRequest(spec=spec, request_token="t"))

    names, token = [], ""
    while True:
        page = client.call("ListServers", pb.ListRequest(page_size=2, page_token=token))
        names += [server.spec.name for server in page.servers]
        token = page.next_page_token
        if not token:
            break

    assert names == ["s0", "s1", "s2", "s3", "s4"]


def test_scrubbing_where_nothing_is_released_makes_no_run(client: EngineClient) -> None:
    assert client.call("StartScrub", pb.StartScrubRequest(pool="clean")).id == ""


def test_a_hold_says_what_it_has_until_when_and_what_it_could_not_have(
    client: EngineClient, ids: dict[str, str]
) -> None:
    made = client.call("CreateHold", HOLD)

    assert (made.id, made.owner) == (ids["hold"], "ci")
    assert list(made.pools) == [pb.HeldStock(pool="web", count=2, remaining=2)]
    assert made.expires_at.ToMilliseconds() - made.created_at.ToMilliseconds() == 600_000
    assert [(each.pool, each.reason) for each in made.refused] == [("front", "HOLD_STOCK")]


def test_a_ticket_comes_to_the_claim_and_its_note_back(
    client: EngineClient, engine: FakeEngine
) -> None:
    request = pb.CreateAttachmentRequest(spec=ATTACHMENT, request_token="t", hold="spent")

    notes = [client.call("CreateAttachment", request).hold_note for _ in range(2)]

    assert notes == ["ticket spent is used up: its 3 of pool web are taken", ""]
    assert engine.attachments.tickets == ["spent", "spent"]


def test_a_forecast_is_asked_with_the_plans_ticket(
    client: EngineClient, engine: FakeEngine
) -> None:
    client.call("Forecast", pb.ForecastRequest(hold="ticket-1"))

    assert [plan.hold for plan in engine.forecasts.plans] == ["ticket-1"]
