"""Create, Read, Update, Delete and Invoke over the wire, with faults in the engine behind."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2

from clonepool.errors import DataLoss, ResourceExhausted
from tests.plugin.harness import Failure, Plugin, failure_of, secret, urn, values
from tests.provider.faulty_engine import SECRET, FaultyEngine

POOL = {"name": "web", "masterImage": "base", "minReady": 3, "waitForReady": 3}
IMAGE = {"name": "web", "writable": {"source": "/images/web.raw"}}
ATTACHMENT = {"name": "a1", "pool": "web", "server": "web1"}


@pytest.fixture(autouse=True)
def configured(plugin: Plugin, endpoint: str) -> None:
    plugin.configure(endpoint=endpoint)


def refused(call: Callable[[], Any]) -> Failure:
    with pytest.raises(grpc.RpcError) as found:
        call()
    return failure_of(found.value)


def test_progress_shows_beside_the_resource_it_is_about(
    plugin: Plugin, engine: FaultyEngine
) -> None:
    engine.knobs.fill_looks = 2

    made = plugin.create("ReplicaPool", plugin.checked("ReplicaPool", POOL))

    assert engine.pools.one().id == made.id
    expected = [f"pool web: cloning {ready}/3" for ready in (1, 2)]
    assert [(urn("ReplicaPool"), line) for line in expected] == plugin.display.lines


def test_an_attachment_has_its_outputs_and_its_secret_is_one(
    plugin: Plugin, engine: FaultyEngine
) -> None:
    inputs = plugin.checked("ServerStorageAttachment", ATTACHMENT)

    made = values(plugin.create("ServerStorageAttachment", inputs).properties)

    assert secret(SECRET) == made["chapSecret"]
    assert ("cp-1", True, "web1") == (made["chapUsername"], made["warm"], made["server"])
    assert 2 == made["connection"]["volumes"][0]["lun"]
    assert 2**20 == made["connection"]["volumes"][0]["sizeBytes"]


def test_a_whole_scrub_policy_and_a_resumed_attachment_reach_the_engine(
    plugin: Plugin, engine: FaultyEngine
) -> None:
    scrub = {
        "maxAge": "7d",
        "maxBytes": "2TiB",
        "onLowStock": 1,
        "verify": "sample",
        "undoWindow": "12h",
        "windows": ["mon-fri 22:00-06:00"],
    }
    plugin.create("ReplicaPool", plugin.checked("ReplicaPool", {**POOL, "scrub": scrub}))
    declared = engine.pools.one().spec.scrub
    assert (7 * 86400, 2 * 2**40, 1, "sample", 12 * 3600, ("mon-fri 22:00-06:00",)) == (
        declared.max_age_s,
        declared.max_bytes,
        declared.on_low_stock,
        declared.verify,
        declared.undo_window_s,
        declared.windows,
    )
    wanted = {**ATTACHMENT, "resumeReleased": True}
    plugin.create("ServerStorageAttachment", plugin.checked("ServerStorageAttachment", wanted))
    assert engine.attachments.one().spec.resume_released
    resumed = "attachment a1: resumes the volume released 14m ago"
    assert resumed in [line for _urn, line in plugin.display.lines]


def test_what_is_there_already_is_never_taken(plugin: Plugin, engine: FaultyEngine) -> None:
    inputs = plugin.checked("ReplicaPool", POOL)
    made = plugin.create("ReplicaPool", inputs)

    failure = refused(lambda: plugin.create("ReplicaPool", inputs))

    assert "ALREADY_EXISTS" == failure.code
    assert f"`pulumi import clonepool:index:ReplicaPool web {made.id}`" in failure.text
    assert [made.id] == list(engine.pools.items)


def test_a_create_that_takes_too_long_is_kept_as_half_made(
    plugin: Plugin, engine: FaultyEngine
) -> None:
    engine.knobs.fill_looks = 10_000
    inputs = plugin.checked("ReplicaPool", {**POOL, "minReady": 90, "waitForReady": 90})

    failure = refused(lambda: plugin.create("ReplicaPool", inputs, timeout=0.5))

    (half,) = failure.details
    assert engine.pools.one().id == half.id
    assert inputs == values(half.inputs)
    assert "maxReplicas" in values(half.properties)
    assert "the cloning goes on" in half.reasons[0]
    assert failure.code not in {"UNKNOWN", "INTERNAL", "DATA_LOSS"}


def test_a_create_that_can_t_end_well_leaves_nothing(plugin: Plugin, engine: FaultyEngine) -> None:
    engine.knobs.import_error = "sha256 differs"
    inputs = plugin.checked("MasterImage", IMAGE)

    failure = refused(lambda: plugin.create("MasterImage", inputs))

    assert ([], []) == (failure.details, engine.images.names())
    assert "the import of version 1 failed: sha256 differs" in failure.text


def test_a_queue_that_lasts_longer_than_the_custom_timeout_is_left(
    plugin: Plugin, engine: FaultyEngine
) -> None:
    engine.knobs.stock = 0
    inputs = plugin.checked(
        "ServerStorageAttachment", {**ATTACHMENT, "timeouts": {"create": "10m"}}
    )

    failure = refused(lambda: plugin.create("ServerStorageAttachment", inputs, timeout=0.5))

    assert "DEADLINE_EXCEEDED" == failure.code
    assert "raise the pool's maxReplicas" in failure.text
    assert [] == engine.attachments.names()


@pytest.mark.parametrize(
    ("kind", "inputs"), [("ServerStorageAttachment", ATTACHMENT), ("ReplicaPool", POOL)]
)
def test_a_cancel_ends_the_wait_and_deletes_what_was_begun(
    plugin: Plugin, engine: FaultyEngine, kind: str, inputs: dict[str, Any]
) -> None:
    engine.knobs.stock, engine.knobs.fill_looks = 0, 10_000
    creating = plugin.begin_create(kind, plugin.checked(kind, inputs))
    assert plugin.display.said.wait(20)

    began = time.monotonic()
    plugin.stub.Cancel(empty_pb2.Empty())
    failure = refused(creating.result)

    assert "CANCELLED" == failure.code
    assert "cancelled; nothing of it is left" in failure.text
    assert time.monotonic() - began < 5
    assert [] == engine.attachments.names() + engine.pools.names()


def test_an_interrupted_process_deletes_what_it_began(plugin: Plugin, engine: FaultyEngine) -> None:
    engine.knobs.stock = 0
    inputs = plugin.checked("ServerStorageAttachment", ATTACHMENT)
    creating = plugin.begin_create("ServerStorageAttachment", inputs)
    assert plugin.display.said.wait(20)

    plugin.process.terminate()

    assert "CANCELLED" == refused(creating.result).code
    assert [] == engine.attachments.names()


@pytest.mark.parametrize("by", ["id", "name"])
def test_an_import_gives_all_that_a_program_would_have_said(
    plugin: Plugin, engine: FaultyEngine, by: str
) -> None:
    inputs = plugin.checked("ReplicaPool", POOL)
    made = plugin.create("ReplicaPool", inputs)

    found = plugin.read("ReplicaPool", made.id if by == "id" else "web")

    assert made.id == found.id
    assert inputs == values(found.inputs)
    assert made.properties == found.properties


def test_what_is_gone_has_no_id(plugin: Plugin) -> None:
    inputs = plugin.checked("ReplicaPool", POOL)

    assert "" == plugin.read("ReplicaPool", str(uuid.uuid4()), inputs).id
    assert "" == plugin.read("ReplicaPool", str(uuid.uuid4())).id
    assert "" == plugin.read("ReplicaPool", "nobody").id


def test_a_refresh_sees_drift_and_keeps_the_program_s_words(
    plugin: Plugin, engine: FaultyEngine
) -> None:
    account = {"mode": "given", "username": "web1", "secret": "open sesame!"}
    inputs = plugin.checked(
        "ServerStorageAttachment",
        {**ATTACHMENT, "chap": account, "timeouts": {"create": "60s"}},
    )
    made = plugin.create("ServerStorageAttachment", inputs)
    live = engine.attachments.one()
    engine.attachments.put(replace(live, spec=replace(live.spec, force_detach=True)))

    found = plugin.read("ServerStorageAttachment", made.id, inputs)

    # the engine never gives a secret back, nor what only the provider uses
    assert {**inputs, "forceDetach": True} == values(found.inputs)


def test_a_refresh_of_what_is_in_trouble_asks_for_an_update(
    plugin: Plugin, engine: FaultyEngine
) -> None:
    inputs = plugin.checked("ReplicaPool", POOL)
    made = plugin.create("ReplicaPool", inputs)
    engine.knobs.stopped_reason = "no space left"

    (half,) = refused(lambda: plugin.read("ReplicaPool", made.id, inputs)).details
    engine.knobs.stopped_reason = ""
    plugin.update("ReplicaPool", made.id, inputs, inputs)

    assert (made.id, ["no space left"]) == (half.id, list(half.reasons))
    assert made.id == plugin.read("ReplicaPool", made.id, inputs).id


def test_a_deletion_is_repeatable_and_a_busy_server_refuses_it(
    plugin: Plugin, engine: FaultyEngine
) -> None:
    inputs = plugin.checked("ServerStorageAttachment", ATTACHMENT)
    made = plugin.create("ServerStorageAttachment", inputs)
    state = values(made.properties)
    engine.knobs.logged_in = True

    failure = refused(lambda: plugin.delete("ServerStorageAttachment", made.id, state))
    assert ("FAILED_PRECONDITION", True) == (failure.code, "or set forceDetach" in failure.text)

    forced = {**state, "forceDetach": True}
    plugin.delete("ServerStorageAttachment", made.id, forced)
    plugin.delete("ServerStorageAttachment", made.id, forced)
    assert [] == engine.attachments.names()


def test_codes_that_make_a_state_unknown_are_for_defects_only(
    plugin: Plugin, engine: FaultyEngine
) -> None:
    inputs = plugin.checked("ReplicaPool", POOL)
    told = {}
    for error in (DataLoss("a chunk differs"), ResourceExhausted("storage default is full")):
        engine.knobs.raises = {"create pool": error}
        failure = refused(lambda: plugin.create("ReplicaPool", inputs))
        told[failure.text] = failure.code

    assert {
        "a chunk differs": "FAILED_PRECONDITION",
        "storage default is full": "RESOURCE_EXHAUSTED",
    } == told


def test_the_functions_look_up_by_name_and_by_id(plugin: Plugin, engine: FaultyEngine) -> None:
    pool = plugin.create("ReplicaPool", plugin.checked("ReplicaPool", POOL))
    plugin.create("MasterImage", plugin.checked("MasterImage", IMAGE))
    inputs = plugin.checked("ServerStorageAttachment", ATTACHMENT)
    attachment = plugin.create("ServerStorageAttachment", inputs)

    def look_up(function: str, name: str) -> dict[str, Any]:
        return values(getattr(plugin.invoke(function, name=name), "return"))

    assert look_up("getPool", "web") == look_up("getPool", pool.id)
    assert (3, 3, "base") == tuple(
        look_up("getPool", "web")[key] for key in ("ready", "minReady", "masterImage")
    )
    assert "ready" == look_up("getImage", "web")["latestState"]
    found = look_up("getAttachment", attachment.id)
    assert ("attached", "cp-1") == (found["state"], found["chapUsername"])
    assert SECRET not in repr(found)


def test_a_look_up_of_nothing_is_said(plugin: Plugin) -> None:
    assert "there is no pool web" in refused(lambda: plugin.invoke("getPool", name="web")).text
    assert "is no function of clonepool" in refused(lambda: plugin.invoke("getDisk")).text
    assert ["name"] == [failure.property for failure in plugin.invoke("getPool").failures]
