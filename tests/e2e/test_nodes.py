"""Two engines on one PostgreSQL: one is killed, stopped, or cut off from the database, and is back.

Each has a storage and a tgtd of its own. What the other one serves, it goes on serving; what lies
on the one that is away waits for it, and nothing is done twice.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import ClonepoolError, Unavailable
from clonepool.testing.engine_process import EngineProcess
from tests.support.database_door import DatabaseDoor
from tests.support.site import CUSTOMER, RW_LUN, Site, log_in, write_marker
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.tgt, pytest.mark.slow]

LEASE_S = 3
# not sparse, so that a clone takes long enough to be cut off in
DENSE_BYTES = 48 * 2**20


@dataclass(frozen=True, kw_only=True)
class Node:
    """One engine with its way to the database, spoken to directly by ``site``."""

    name: str
    engine: EngineProcess
    door: DatabaseDoor
    site: Site

    def stop(self) -> None:
        """Stop the process as it stands (SIGSTOP); its tgtd serves on."""
        os.kill(self.engine.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.engine.pid, signal.SIGCONT)


@dataclass(frozen=True, kw_only=True)
class Rack:
    """Both nodes; ``user`` knows both endpoints, the first node's before the second's."""

    first: Node
    second: Node
    user: Site

    def state_of(self, node: Node) -> str:
        found = self.second.site.call("GetNode", pb.GetRequest(name=node.name))
        return str(found.state)

    def wait_silent(self, node: Node) -> None:
        wait_for(lambda: "NODE_SILENT" in self.told_of(node), what=f"{node.name} to be missed")
        assert "silent" == self.state_of(node)

    def wait_back(self, node: Node) -> None:
        wait_for(lambda: self.state_of(node) == "live", what=f"{node.name} to be back")

    def told_of(self, node: Node) -> list[str]:
        """The reasons of the events about a node, oldest first."""
        request = pb.ListEventsRequest(subject_prefix=f"node/{node.name}")
        return [each.reason for each in self.second.site.call("ListEvents", request).events]


def open_node(stack: ExitStack, name: str, *, folder: Path, url: str, key: Path) -> Node:
    place = folder / name
    place.mkdir()
    door = stack.enter_context(DatabaseDoor(place, url=url))
    variables = {
        "CLONEPOOL_NODE": name,
        "CLONEPOOL_DATABASE": door.url,
        "CLONEPOOL_SECRET_KEY_FILE": str(key),
        "CLONEPOOL_NODE_LEASE": f"{LEASE_S}s",
    }
    engine = stack.enter_context(EngineProcess(place / "e", variables=variables))
    client = stack.enter_context(engine.client(timeout_s=20))
    site = Site(engine=engine, client=client, sources=place / "sources")
    return Node(name=name, engine=engine, door=door, site=site)


@pytest.fixture
def rack(postgres_url: str) -> Iterator[Rack]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cp-")))
        key = folder / "secret.key"
        first = open_node(stack, "n1", folder=folder, url=postgres_url, key=key)
        second = open_node(stack, "n2", folder=folder, url=postgres_url, key=key)
        both = f"{first.engine.endpoint},{second.engine.endpoint}"
        client = stack.enter_context(EngineClient.connect(endpoint=both, timeout_s=20))
        yield Rack(
            first=first,
            second=second,
            user=Site(engine=first.engine, client=client, sources=folder / "sources"),
        )


def attach(site: Site, pool: str, *, name: str, server: str = "") -> pb.Attachment:
    """Ask until it is attached, as every provider does."""
    spec = pb.AttachmentSpec(name=name, pool=pool, server=server or site.server())
    request = pb.CreateAttachmentRequest(spec=spec, request_token=name)

    def look() -> pb.Attachment | None:
        found: pb.Attachment = site.call("CreateAttachment", request)
        return found if found.state == "attached" else None

    return wait_for(look, what=f"{name} to be attached")


def filled(node: Node, *, min_ready: int = 2, dense_bytes: int = 0) -> str:
    """A pool on a node's own storage, with a name that the other node's has not."""
    for _ in range(node.name == "n2"):
        node.site.new_name("skipped")
    master = node.site.image(system_user=CUSTOMER, dense_bytes=dense_bytes)
    return node.site.pool(master, min_ready=min_ready)


def check(node: Node, pool: str) -> None:
    """Nothing was made twice, or lost: objects, targets and rows agree, as seen by its engine."""
    volumes = [each for each in node.site.volumes(pool) if each.node == node.name]
    assert [] == [each for each in volumes if each.state == "faulty"]
    names = Counter(each.object_name for each in volumes)
    assert 1 == max(names.values())
    ends = Counter((each.volume_id, each.generation) for each in node.site.records(pool))
    assert 1 >= max(ends.values(), default=0)


def test_a_node_that_is_killed_is_missed_by_those_alone_whose_volumes_it_has(rack: Rack) -> None:
    near, far = filled(rack.first), filled(rack.second)
    witness = attach(rack.user, near, name="witness")
    session = log_in(witness)
    write_marker(session, b"witness")

    rack.first.engine.kill()

    # the next node answers at once, for all that it has itself
    assert far == rack.user.call("GetPool", pb.GetRequest(name=far)).spec.name
    assert attach(rack.user, far, name="other").volume_id
    rack.wait_silent(rack.first)
    server = rack.user.server()
    spec = pb.AttachmentSpec(name="waits", pool=near, server=server)
    waits = rack.user.call(
        "CreateAttachment", pb.CreateAttachmentRequest(spec=spec, request_token="waits")
    )
    assert "waiting" == waits.state
    # of its replica, or, where that was claimed before anybody missed the node, of its grant
    assert "node n1 was last heard of" in waits.wait_reason
    request = pb.DeleteAttachmentRequest(id=witness.id, force=True)
    with pytest.raises(Unavailable, match="is on node n1, which was asked to release it; node n1"):
        rack.user.client.call("DeleteAttachment", request, timeout_s=2)
    assert b"witness" == session.read(lun=RW_LUN, lba=0, blocks=1)[:7]

    rack.first.engine.start()

    # what it was asked meanwhile, it does now
    assert attach(rack.user, near, name="waits", server=server).volume_id
    wait_for(lambda: not session.is_alive(), what="the release that was asked for")
    assert ["NODE_SILENT", "NODE_BACK"] == rack.told_of(rack.first)
    for node, pool in ((rack.first, near), (rack.second, far)):
        check(node, pool)


def test_a_node_that_stood_still_goes_on_where_it_was(rack: Rack) -> None:
    """It was stopped in the middle of clones; its leases are over when it is back."""
    near = filled(rack.first, min_ready=1, dense_bytes=DENSE_BYTES)
    rack.first.site.change_pool(near, min_ready=6)
    wait_for(lambda: rack.second.site.counts(near).cloning > 0, what="clones under way")

    rack.first.stop()
    try:
        rack.wait_silent(rack.first)
        seen = rack.user.call("GetPool", pb.GetRequest(name=near))
        assert near == seen.spec.name
        assert rack.second.engine.endpoint == str(rack.user.client.endpoint)
    finally:
        rack.first.go_on()

    rack.wait_back(rack.first)
    rack.first.site.wait_for_counts(near, ready=6)
    assert 6 == len(rack.first.site.volumes(near))
    assert ["NODE_SILENT", "NODE_BACK"] == rack.told_of(rack.first)
    check(rack.first, near)


def test_a_node_that_is_cut_off_from_the_database_answers_nothing_and_does_nothing(
    rack: Rack,
) -> None:
    near, far = filled(rack.first), filled(rack.second)
    attached = attach(rack.user, near, name="a")

    rack.first.door.shut()
    with pytest.raises(Unavailable):
        rack.first.site.client.call("GetPool", pb.GetRequest(name=near), timeout_s=2)
    assert near == rack.user.call("GetPool", pb.GetRequest(name=near)).spec.name
    assert attach(rack.user, far, name="b").volume_id
    rack.wait_silent(rack.first)
    rack.first.door.open()

    rack.wait_back(rack.first)
    rack.user.release(attached)
    rack.second.site.wait_for_counts(near, released=1)
    rack.first.site.wait_for_counts(near, ready=2)
    assert ["NODE_SILENT", "NODE_BACK"] == rack.told_of(rack.first)
    check(rack.first, near)
    check(rack.second, far)


def test_callers_of_both_nodes_never_overfill_a_pool_nor_share_a_volume(rack: Rack) -> None:
    """A crowd at both nodes' doors, for volumes that all lie on one of them."""
    master = rack.first.site.image(system_user=CUSTOMER)
    scrub = pb.ScrubPolicy(threshold=2)
    pool = rack.first.site.pool(master, min_ready=4, max_replicas=6, scrub=scrub)
    servers = [rack.user.server() for _ in range(6)]
    errors: list[Exception] = []

    def live(number: int) -> None:
        ends = [rack.first.engine.endpoint, rack.second.engine.endpoint]
        places = ",".join(ends[:: 1 if number % 2 else -1])
        with EngineClient.connect(endpoint=places, timeout_s=30) as client:
            mine = Site(engine=rack.first.engine, client=client, sources=rack.user.sources)
            for turn in range(4):
                name = f"crowd-{number}-{turn}"
                made = attach(mine, pool, name=name, server=servers[number])
                mine.release(made, force=True)

    def guarded(number: int) -> None:
        try:
            live(number)
        except (ClonepoolError, AssertionError) as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in threads):
        most = max(most, _replicas(rack.second.site.counts(pool)))
        found = rack.second.site.call("ListAttachments", pb.ListRequest()).attachments
        volumes = [each.volume_id for each in found if each.volume_id]
        assert len(volumes) == len(set(volumes))
        threads[0].join(0.05)

    assert [] == errors
    assert most <= 6
    check(rack.first, pool)


def _replicas(counts: pb.PoolCounts) -> int:
    # of those being scrubbed it does not show which are to be destroyed, and so don't count
    states = ("planned", "cloning", "ready", "attaching", "allocated", "detaching")
    return sum(getattr(counts, state) for state in states)
