"""Looking up what is there now, from inside a program."""

from __future__ import annotations

from collections.abc import Iterator

import pulumi
import pytest

from clonepool_resources.server_lifecycle import AttachmentLifecycle
from clonepool_resources.storage_lifecycle import ImageLifecycle, PoolLifecycle
from pulumi_clonepool import get_attachment, get_image, get_pool
from pulumi_clonepool.errors import LookupFailed
from tests.provider.bench import ATTACHMENT, Bench, checked
from tests.provider.faulty_engine import SECRET


@pytest.fixture(autouse=True)
def stack(endpoint: str) -> Iterator[None]:
    """A program's surroundings: its configuration names the engine."""
    pulumi.runtime.set_all_config({"clonepool:endpoint": endpoint})
    yield
    pulumi.runtime.set_all_config({})


def test_a_pool_tells_what_it_holds(bench: Bench) -> None:
    inputs = checked(PoolLifecycle, {"name": "web", "master_image": "base", "min_ready": 4})
    state = bench.make(PoolLifecycle).create(inputs, token="t")

    found = get_pool("web")

    assert (state.id, "web", "base", 4, 4, 100, "thin", "") == (
        found.id,
        found.name,
        found.master_image,
        found.min_ready,
        found.ready,
        found.max_replicas,
        found.clone_kind,
        found.stopped_reason,
    )


def test_an_attachment_tells_all_but_its_secret(bench: Bench) -> None:
    state = bench.make(AttachmentLifecycle).create(
        checked(AttachmentLifecycle, ATTACHMENT), token="t"
    )

    found = get_attachment("a1")

    assert (state.id, "attached", "web1", "cp-1") == (
        found.id,
        found.state,
        found.server,
        found.chap_username,
    )
    assert {"name": "acme", "kind": "customer"} == found.system_user
    assert found.connection == state.outputs["connection"]
    assert SECRET not in repr(found)


def test_a_master_image_tells_its_versions(bench: Bench) -> None:
    inputs = checked(ImageLifecycle, {"name": "web", "writable": {"source": "/images/web.raw"}})
    state = bench.make(ImageLifecycle).create(inputs, token="t")

    found = get_image("web")

    assert (state.id, 1, "ready", "", None) == (
        found.id,
        found.version,
        found.latest_state,
        found.latest_error,
        found.system_user,
    )
    assert found.digests == state.outputs["digests"]


def test_what_is_not_there_is_said_in_one_line() -> None:
    with pytest.raises(LookupFailed, match="can't look up pool web: there is no pool web"):
        get_pool("web")
    # Pulumi ends a program with this kind of error without a traceback
    assert issubclass(LookupFailed, pulumi.RunError)
