"""The hooks behind Pulumi's own server for dynamic providers, against a faulty engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.runtime.proto import provider_pb2

from pulumi_clonepool import providers
from tests.provider.dynamic_server import UNKNOWN, DynamicServer, serve
from tests.provider.faulty_engine import FaultyEngine

TOKEN = "trial/test/clonepool:ReplicaPool/web"
POOL = {"name": "web", "master_image": "web", "min_ready": 3, "__request_token": TOKEN}
ATTACHMENT = {"name": "a1", "pool": "web", "server": "web1", "__request_token": "t"}
AWAY = "unix:///nowhere/engine.sock"


@pytest.fixture
def pool(endpoint: str) -> Iterator[DynamicServer]:
    with _served(providers.ReplicaPoolProvider(), endpoint=endpoint) as server:
        yield server


@pytest.fixture
def attachment(endpoint: str) -> Iterator[DynamicServer]:
    with _served(providers.ServerStorageAttachmentProvider(), endpoint=endpoint) as server:
        yield server


@pytest.fixture
def pool_alone() -> Iterator[DynamicServer]:
    """A pool's provider whose engine is out of reach."""
    with _served(providers.ReplicaPoolProvider(), endpoint=AWAY) as server:
        yield server


def _served(provider: Any, *, endpoint: str) -> Any:
    return serve(serialize_provider(provider), environment={"CLONEPOOL_ENDPOINT": endpoint})


@pytest.mark.parametrize(
    ("provider", "blob"),
    [
        (
            providers.MasterImageProvider,
            (
                "gASVOQAAAAAAAACMGnB1bHVtaV9jbG9uZXBvb2wucHJvdmlkZXJzlIwTTWFzdGVySW1hZ2VQcm92aWRlcpST"
                "lCmBlC4="
            ),
        ),
        (
            providers.ReplicaPoolProvider,
            (
                "gASVOQAAAAAAAACMGnB1bHVtaV9jbG9uZXBvb2wucHJvdmlkZXJzlIwTUmVwbGljYVBvb2xQcm92aWRlcpST"
                "lCmBlC4="
            ),
        ),
        (
            providers.ServerProvider,
            "gASVNAAAAAAAAACMGnB1bHVtaV9jbG9uZXBvb2wucHJvdmlkZXJzlIwOU2VydmVyUHJvdmlkZXKUk5QpgZQu",
        ),
        (
            providers.ServerStorageAttachmentProvider,
            (
                "gASVRQAAAAAAAACMGnB1bHVtaV9jbG9uZXBvb2wucHJvdmlkZXJzlIwfU2VydmVyU3RvcmFnZUF0dGFjaG1l"
                "bnRQcm92aWRlcpSTlCmBlC4="
            ),
        ),
    ],
)
def test_what_users_states_keep_of_a_provider_never_changes(provider: Any, blob: str) -> None:
    """A state written today must load tomorrow: rename nothing without a shim."""
    assert blob == serialize_provider(provider())
    assert provider.serialize_as_secret_always is False


def test_check_names_each_property_that_is_wrong(pool_alone: DynamicServer) -> None:
    _, failures = pool_alone.check({"name": "web", "min_ready": -1, "scrub": {"threshold": 0}})

    assert ["master_image", "min_ready", "scrub.threshold"] == sorted(failures)


def test_a_preview_needs_no_engine_and_takes_what_is_not_known(
    pool_alone: DynamicServer,
) -> None:
    inputs, failures = pool_alone.check({**POOL, "master_image": UNKNOWN})

    assert {} == failures
    assert (UNKNOWN, TOKEN, 100) == (
        inputs["master_image"],
        inputs["__request_token"],
        inputs["max_replicas"],
    )
    answer = pool_alone.diff({**inputs, "master_image": "web"}, inputs)
    assert (["master_image"], True) == (list(answer.replaces), answer.deleteBeforeReplace)


def test_the_token_of_the_create_outlives_a_renamed_stack(pool_alone: DynamicServer) -> None:
    renamed = {**POOL, "__request_token": "trial/other/clonepool:ReplicaPool/web"}

    inputs, _ = pool_alone.check(renamed, olds=POOL)

    assert TOKEN == inputs["__request_token"]
    assert provider_pb2.DiffResponse.DIFF_NONE == pool_alone.diff(POOL, renamed).changes


def test_a_diff_leaves_the_detail_to_pulumi(pool_alone: DynamicServer) -> None:
    answer = pool_alone.diff(POOL, {**POOL, "min_ready": 4})

    assert provider_pb2.DiffResponse.DIFF_UNKNOWN == answer.changes
    assert [] == list(answer.replaces)


def test_a_life_from_create_to_delete(pool: DynamicServer, engine: FaultyEngine) -> None:
    inputs, _ = pool.check(POOL)
    resource_id, outputs = pool.create(inputs)
    assert inputs == outputs
    assert provider_pb2.DiffResponse.DIFF_NONE == pool.diff(outputs, inputs).changes
    assert (resource_id, outputs, inputs) == pool.read(resource_id, outputs)

    news = {**inputs, "min_ready": 5.0}
    assert news == pool.update(resource_id, outputs, news)
    assert 5 == engine.pools.one().spec.min_ready

    pool.delete(resource_id, news)
    pool.delete(resource_id, news)
    assert ("", {}, {}) == pool.read(resource_id, news)


def test_a_refresh_shows_drift_in_the_program_s_words(
    pool: DynamicServer, engine: FaultyEngine
) -> None:
    inputs, _ = pool.check({**POOL, "scrub": {"threshold": 4}})
    resource_id, outputs = pool.create(inputs)
    drifted = engine.pools.one()
    object.__setattr__(drifted.spec, "min_ready", 9)

    _, seen, seen_inputs = pool.read(resource_id, outputs)

    assert {**inputs, "min_ready": 9} == seen == seen_inputs


def test_a_pool_that_stopped_is_seen_by_a_refresh_and_updated_by_the_next_up(
    pool: DynamicServer, engine: FaultyEngine
) -> None:
    inputs, _ = pool.check(POOL)
    resource_id, outputs = pool.create(inputs)
    engine.knobs.stopped_reason = "no space left"
    _, seen, seen_inputs = pool.read(resource_id, outputs)

    assert inputs == seen_inputs
    assert provider_pb2.DiffResponse.DIFF_SOME == pool.diff(seen, inputs).changes
    engine.knobs.stopped_reason = ""
    assert inputs == pool.update(resource_id, seen, inputs)


def test_an_error_is_one_line_without_a_traceback(pool_alone: DynamicServer) -> None:
    inputs, _ = pool_alone.check(POOL)

    with pytest.raises(grpc.RpcError) as failed:
        pool_alone.create(inputs)

    said = failed.value.details() or ""
    assert f"no engine answers at {AWAY}" in said
    assert "\n" not in said
    assert "Traceback" not in said


def test_a_defect_keeps_its_traceback(pool_alone: DynamicServer) -> None:
    with pytest.raises(grpc.RpcError, match="Traceback"):
        pool_alone.create({"__request_token": "t"})


def test_what_a_failed_create_began_does_not_stay_behind(
    pool: DynamicServer, engine: FaultyEngine
) -> None:
    engine.knobs.stopped_reason = "no space left on storage default"
    inputs, _ = pool.check(POOL)

    with pytest.raises(grpc.RpcError, match=r"stopped filling .*no space left"):
        pool.create(inputs)

    assert [] == engine.pools.names()


def test_progress_is_shown_in_the_status_column(pool: DynamicServer, engine: FaultyEngine) -> None:
    engine.knobs.fill_looks = 2
    inputs, _ = pool.check({**POOL, "wait_for_ready": 3})

    pool.create(inputs)

    assert ["clonepool: pool web: cloning 1/3", "clonepool: pool web: cloning 2/3"] == (
        pool.display.lines
    )
    assert all(pool.display.ephemeral)


def test_an_attachment_gives_its_server_and_its_secret(
    attachment: DynamicServer, engine: FaultyEngine
) -> None:
    declared = {
        "name": "a1",
        "pool": "web",
        "server_selector": {"rack": "r1"},
        "__request_token": "t",
    }
    inputs, failures = attachment.check(declared)
    _, outputs = attachment.create(inputs)

    assert {} == failures
    assert ("picked", "made-by-the-engine") == (outputs["server"], outputs["chap_secret"])
    # the server that was picked is an output: it must not look like a change of the input
    assert provider_pb2.DiffResponse.DIFF_NONE == attachment.diff(outputs, inputs).changes


def test_a_release_follows_force_detach(attachment: DynamicServer, engine: FaultyEngine) -> None:
    inputs, _ = attachment.check(ATTACHMENT)
    resource_id, outputs = attachment.create(inputs)
    engine.knobs.logged_in = True

    with pytest.raises(grpc.RpcError, match="log it out first, or set force_detach"):
        attachment.delete(resource_id, outputs)
    attachment.delete(resource_id, {**outputs, "force_detach": True})

    assert [] == engine.attachments.names()


def test_the_stack_s_endpoint_comes_before_the_environment_s(endpoint: str, tmp_path: Path) -> None:
    with _served(providers.ReplicaPoolProvider(), endpoint=AWAY) as server:
        server.configure({"clonepool:endpoint": endpoint})
        inputs, _ = server.check(POOL)

        assert server.create(inputs)[0]
