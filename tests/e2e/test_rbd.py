"""A real engine that keeps its volumes in a real Ceph cluster, from the image to the scrub."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pytest

from clonepool.api.v1 import engine_pb2 as pb
from clonepool.backends.rbd import RbdBackend
from clonepool.backends.rbd_options import RbdOptions
from clonepool.errors import FailedPrecondition
from clonepool.testing.ceph_cluster import CephCluster
from clonepool.testing.rbd_client import RbdClient
from tests.support.engine_process import running_site
from tests.support.site import CUSTOMER, Site
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.ceph, pytest.mark.slow]

KILLS = 6


@dataclass(frozen=True, kw_only=True)
class RbdSite:
    """An engine with storage ``ceph`` and fabric ``mem``, and its cluster seen from outside."""

    site: Site
    storage: RbdBackend
    options: RbdOptions

    def read(self, name: str) -> bytes:
        """An object's bytes."""
        size_bytes = self.storage.stat(name=name).size_bytes
        return self.storage.read(name=name, offset=0, length=size_bytes)

    def objects(self) -> set[str]:
        """What is whole on the storage."""
        return {found.name for found in self.storage.list()}

    def expected(self) -> set[str]:
        """What the engine has on record: volumes and image portions."""
        portions = {
            each.object_name
            for image in self.site.call("ListImages", pb.ListRequest()).images
            for each in (image.current.read_only, image.current.writable)
        }
        return portions | {volume.object_name for volume in self.site.volumes()}


def tables(options: Mapping[str, str]) -> str:
    storage = "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items())
    return f'[storages.ceph]\ndriver = "rbd"\n{storage}[fabrics.mem]\ndriver = "memory"\n'


@pytest.fixture(scope="module")
def rbd(ceph: CephCluster) -> Iterator[RbdSite]:
    options = {
        "conf": str(ceph.conf),
        "namespace_prefix": "e2e",
        "osd_timeout": "10s",
        "mon_timeout": "5s",
    }
    with running_site(settings=tables(options)) as site:
        read = RbdOptions.read(options)
        yield RbdSite(site=site, storage=RbdBackend(read), options=read)


def test_a_fabric_that_can_t_carry_rbd_images_is_refused_for_a_pool(rbd: RbdSite) -> None:
    master = rbd.site.image(system_user=CUSTOMER, storage="ceph")
    for fabric in ("local", "iscsi"):
        with pytest.raises(FailedPrecondition, match=f"RBD images, and fabric {fabric}") as refused:
            rbd.site.declare_pool(master, fabric=fabric)
        assert "FABRIC_CANNOT_CARRY" == refused.value.reason


@pytest.mark.parametrize(
    # a volume that is destroyed has nothing to be read back, unless it was erased before
    ("method", "result"),
    [("reformat", "gone"), ("zero", "passed"), ("discard", "passed")],
)
def test_what_a_server_wrote_is_in_no_volume_after_the_scrub(
    rbd: RbdSite, method: str, result: str
) -> None:
    site, mark = rbd.site, secrets.token_hex(32).encode()
    master = site.image(system_user=CUSTOMER, storage="ceph")
    pool = site.pool(
        master,
        fabric="mem",
        min_ready=1,
        max_replicas=2,
        scrub=pb.ScrubPolicy(threshold=1, method=method, verify="full", then="destroy"),
    )
    attachment = site.attach(pool)
    held = site.volume(attachment.volume_id).object_name
    location = rbd.storage.location(name=held)
    assert "e2e.customer.acme" == location.namespace
    assert master.writable.read_bytes() == rbd.read(held)
    server = RbdClient(location)
    for offset in (0, location_size(rbd, held) // 2, location_size(rbd, held) - len(mark)):
        server.write_at(offset, mark)
    assert mark in rbd.read(held)
    # the server does not even close it: it is fenced by the scrub
    site.release(attachment)
    wait_for(lambda: site.records(pool), what="the record of the scrub")
    site.wait_for_counts(pool, released=0, scrubbing=0, cloning=0)
    assert result == site.records(pool)[0].result
    assert held not in rbd.objects()
    with pytest.raises(OSError, match="error writing"):
        server.write_at(0, mark)
    server.close()
    for name in rbd.objects():
        assert mark not in rbd.read(name)
    wait_for(lambda: rbd.objects() == rbd.expected(), what="storage and record to agree")


def location_size(rbd: RbdSite, name: str) -> int:
    return rbd.storage.stat(name=name).size_bytes


def test_an_engine_killed_while_it_fills_a_pool_hands_out_whole_clones_and_leaks_none(
    rbd: RbdSite,
) -> None:
    site = rbd.site
    master = site.image(storage="ceph")
    content = master.writable.read_bytes()
    pool = site.pool(master, fabric="mem", min_ready=1, max_replicas=100)
    chance = random.Random(6)  # noqa: S311 - a test's choice
    for kill in range(1, KILLS + 1):
        site.change_pool(pool, min_ready=1 + 6 * kill)
        # somewhere in the cloning: no state of it can be waited for
        time.sleep(chance.uniform(0.02, 0.3))
        site.engine.kill()
        site.engine.start()
        for volume in site.volumes(pool, state="ready"):
            assert content == rbd.read(volume.object_name)
        site.wait_for_counts(pool, ready=1 + 6 * kill, cloning=0, planned=0)
    assert {"thin"} == {volume.clone_kind for volume in site.volumes(pool)}
    for volume in site.volumes(pool):
        assert content == rbd.read(volume.object_name)
    wait_for(lambda: rbd.objects() == rbd.expected(), what="storage and record to agree")


def failed_clones(site: Site) -> list[pb.Operation]:
    request = pb.ListOperationsRequest(page_size=100, open_only=True)
    found: pb.ListOperationsResponse = site.call("ListOperations", request)
    return [each for each in found.operations if "no answer in time" in each.error]


def test_the_engine_goes_on_by_itself_after_an_outage_of_the_cluster(
    rbd: RbdSite, ceph: CephCluster
) -> None:
    site = rbd.site
    master = site.image(storage="ceph")
    pool = site.pool(master, fabric="mem", min_ready=1, max_replicas=20)
    try:
        for name in ceph.osds[:2]:
            ceph.kill(name)
        site.change_pool(pool, min_ready=4)
        # clones fail, in time, and the engine answers meanwhile
        wait_for(lambda: failed_clones(site), what="a clone that failed", timeout_s=60)
        assert 1 == site.counts(pool).ready
    finally:
        ceph.heal()
    wait_for(lambda: site.counts(pool).ready == 4, what="the stock", timeout_s=120)
    # our own connection saw the outage too, and would fail once
    after = replace(rbd, storage=RbdBackend(rbd.options))
    for volume in site.volumes(pool):
        assert master.writable.read_bytes() == after.read(volume.object_name)
