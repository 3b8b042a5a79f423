"""kill -9 of the engine in the middle of its work: started again, it goes on as if nothing was.

Each test kills in several moments; after each the design's invariants are looked at from outside.
A server that was attached before all of it stays logged in throughout.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.errors import ClonepoolError
from clonepool.testing.initiator import Session
from tests.support.invariants import check_invariants
from tests.support.site import (
    CUSTOMER,
    RW_LUN,
    Master,
    Site,
    initiator_of,
    is_refused,
    log_in,
    write_marker,
)
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.tgt, pytest.mark.slow]

# not sparse, so that a clone is a copy that takes long enough to be killed in
DENSE_BYTES = 24 * 2**20
CALLERS = 4


@dataclass(frozen=True, kw_only=True)
class Witness:
    """A server that was attached before the engine was ever killed, with its session."""

    attachment: pb.Attachment
    session: Session
    mark: bytes

    def check_undisturbed(self) -> None:
        """The same session still reads what it wrote."""
        assert self.session.is_alive()
        assert self.mark == self.session.read(lun=RW_LUN, lba=0, blocks=1)[: len(self.mark)]


@dataclass(kw_only=True)
class Crowd:
    """Callers at work when the engine dies, and what it had told them by then."""

    told: list[pb.Attachment] = field(default_factory=list)
    join: Callable[[], None] = field(default=lambda: None)

    def start(self, site: Site, work: Sequence[Callable[[EngineClient], pb.Attachment]]) -> None:
        """Begin; from then on ``join`` waits until every caller has ended."""
        executor = ThreadPoolExecutor(CALLERS)
        local = threading.local()
        clients = []

        def one(step: Callable[[EngineClient], pb.Attachment]) -> None:
            if not hasattr(local, "client"):
                # an engine that is away is given up at once; one that died under a call is waited
                # for, as its answer is needed
                local.client = EngineClient.connect(
                    endpoint=site.engine.endpoint, connect_wait_s=0.1
                )
                clients.append(local.client)
            try:
                self.told.append(step(local.client))
            except ClonepoolError:
                return

        running = [executor.submit(one, step) for step in work]

        def join() -> None:
            done = wait(running, timeout=60)
            executor.shutdown()
            for client in clients:
                client.close()
            assert not done.not_done
            for each in done.done:
                each.result()

        self.join = join


@pytest.fixture(scope="module")
def master(site: Site) -> Master:
    return site.image(system_user=CUSTOMER)


@pytest.fixture(scope="module")
def dense(site: Site) -> Master:
    return site.image(system_user=CUSTOMER, dense_bytes=DENSE_BYTES)


@pytest.fixture(scope="module")
def witness(site: Site, master: Master) -> Iterator[Witness]:
    attachment = site.attach(site.pool(master))
    mark = secrets.token_hex(32).encode()
    with log_in(attachment) as session:
        write_marker(session, mark)
        yield Witness(attachment=attachment, session=session, mark=mark)


@contextmanager
def killed(site: Site, witness: Witness, crowd: Crowd | None = None) -> Iterator[None]:
    """Kill the engine when the block ends, start it again, and look at the invariants.

    First the crowd's calls come to their ends: what they ask for once more would come in between.
    """
    yield
    site.engine.kill()
    witness.check_undisturbed()
    site.engine.start()
    if crowd is not None:
        crowd.join()
    check_invariants(site)
    witness.check_undisturbed()
    assert witness.attachment.volume_id == site.attachment(witness.attachment.id).volume_id


@pytest.mark.parametrize("ready", [0, 1, 3])
def test_killed_while_a_pool_is_filled(
    site: Site, dense: Master, witness: Witness, ready: int
) -> None:
    """It is filled to the end, with whole replicas only."""
    with killed(site, witness):
        # so many that some are left to be made whenever the others are seen
        pool = site.declare_pool(dense, min_ready=10)
        wait_for(lambda: _is_filling(site, pool, ready=ready), what="a pool half filled")
    volumes = site.volumes(pool, state="ready")
    assert 10 == len(volumes)
    content = dense.writable.read_bytes()
    assert [True] * 10 == [content == site.object_of(each).read_bytes() for each in volumes]
    # behind the next kill there is a deletion to be finished, too
    site.delete_pool(pool)


@pytest.mark.parametrize("told", [1, 8])
def test_killed_while_servers_are_attached(
    site: Site, master: Master, witness: Witness, told: int
) -> None:
    """Who was told has what was told; who was not asks again and gets one, and only one."""
    pool = site.pool(master, min_ready=12, max_replicas=24, scrub={"threshold": 12})
    requests = [_request(site, pool) for _ in range(12)]
    crowd = Crowd()
    with killed(site, witness, crowd):
        crowd.start(site, [_attaching(request) for request in requests])
        wait_for(lambda: len(crowd.told) >= told, what=f"{told} answers")
    again = {each.spec.name: each for each in map(_attaching_now(site), requests)}
    for each in crowd.told:
        assert (each.id, each.volume_id, each.chap_secret) == _essence(again[each.spec.name])
    assert 12 == len({each.volume_id for each in again.values()})
    for each in again.values():
        log_in(each).close()
    check_invariants(site)
    for each in again.values():
        site.release(each)
    site.delete_pool(pool)


@pytest.mark.parametrize("told", [1, 5])
def test_killed_while_servers_are_released(
    site: Site, master: Master, witness: Witness, told: int
) -> None:
    """A release that was told is done; any other is finished, and no byte gets to a later user."""
    pool = site.pool(master, min_ready=8, max_replicas=16, scrub={"threshold": 20})
    attached, marks = _use(site, pool, count=8)
    crowd = Crowd()
    with killed(site, witness, crowd):
        crowd.start(site, [_releasing(each) for each in attached])
        wait_for(lambda: len(crowd.told) >= told, what=f"{told} releases")
    left = {each.id for each in site.attachments()}
    assert not left & {each.id for each in crowd.told}
    assert all(is_refused(each) for each in attached if each.id not in left)
    for each in attached:
        site.release(each)
    check_invariants(site)
    _check_marks_are_only_in_released_volumes(site, pool, marks)
    for each in [site.attach(pool) for _ in range(8)]:
        with log_in(each) as session:
            assert master.writable.read_bytes() == session.dump(lun=RW_LUN)
        site.release(each)
    site.delete_pool(pool)


@pytest.mark.parametrize("scrubbed", [0, 1, 3])
def test_killed_while_volumes_are_scrubbed(
    site: Site, dense: Master, witness: Witness, scrubbed: int
) -> None:
    """All are scrubbed, each recorded once; the stock is the master's bytes and nothing else."""
    spec = {"min_ready": 4, "max_replicas": 4, "scrub": {"threshold": 9}}
    pool = site.pool(dense, **spec)
    attached, marks = _use(site, pool, count=4)
    site.change_pool(pool, min_ready=0, wait_for_ready=0)
    for each in attached:
        site.release(each)
    with killed(site, witness):
        site.change_pool(pool, min_ready=4, scrub={"threshold": 4})
        wait_for(lambda: _is_scrubbing(site, pool, scrubbed=scrubbed), what="a scrub under way")
    (run,) = site.runs(pool)
    assert ("done", 4, 4, 0) == (run.state, run.scrubbed, run.recycled, run.faulty)
    records = [(record.volume_id, record.generation) for record in site.records(pool)]
    assert sorted((each.volume_id, 1) for each in attached) == sorted(records)
    assert [] == [path for mark in marks.values() for path in site.files_with(mark)]
    again = [site.attach(pool) for _ in range(4)]
    assert marks.keys() == {each.volume_id for each in again}
    for each in again:
        with log_in(each) as session:
            assert dense.writable.read_bytes() == session.dump(lun=RW_LUN)
        site.release(each)
    site.delete_pool(pool)


def test_killed_and_killed_again_before_it_served(
    site: Site, dense: Master, witness: Witness
) -> None:
    """Deaths in the course of starting, one after another, change nothing either."""
    pool = site.declare_pool(dense, min_ready=5)
    site.engine.kill()
    for _ in range(2):
        site.engine.launch()
        log_bytes = site.engine.log.stat().st_size
        wait_for(
            lambda size=log_bytes: site.engine.log.stat().st_size > size or _has_lock(site),
            what="a sign of life",
        )
        site.engine.kill()
    with killed(site, witness):
        site.engine.start()
    assert 5 == site.counts(pool).ready
    site.delete_pool(pool)


def _has_lock(site: Site) -> bool:
    """Whether the engine that was launched last has the state: it wrote its id into the lock."""
    return (site.engine.state_dir / "engine.lock").read_text().strip() == str(site.engine.pid)


def _is_filling(site: Site, pool: str, *, ready: int) -> bool:
    counts = site.counts(pool)
    return counts.planned + counts.cloning > 0 and counts.ready >= ready


def _is_scrubbing(site: Site, pool: str, *, scrubbed: int) -> bool:
    return any(run.scrubbed >= scrubbed for run in site.runs(pool))


def _request(site: Site, pool: str) -> pb.CreateAttachmentRequest:
    name = site.new_name("server")
    inline = {"name": name, "initiator": initiator_of(name)}
    spec = pb.AttachmentSpec(name=name, pool=pool, inline_server=inline)
    return pb.CreateAttachmentRequest(spec=spec, request_token=name)


def _attaching(
    request: pb.CreateAttachmentRequest,
) -> Callable[[EngineClient], pb.Attachment]:
    return lambda client: client.call("CreateAttachment", request)


def _attaching_now(site: Site) -> Callable[[pb.CreateAttachmentRequest], pb.Attachment]:
    return lambda request: site.call("CreateAttachment", request)


def _releasing(attachment: pb.Attachment) -> Callable[[EngineClient], pb.Attachment]:
    def step(client: EngineClient) -> pb.Attachment:
        client.call("DeleteAttachment", pb.DeleteAttachmentRequest(id=attachment.id))
        return attachment

    return step


def _essence(attachment: pb.Attachment) -> tuple[str, str, str]:
    return attachment.id, attachment.volume_id, attachment.chap_secret


def _use(site: Site, pool: str, *, count: int) -> tuple[list[pb.Attachment], dict[str, bytes]]:
    """Attach servers, each of which leaves a mark of its own; the marks by volume."""
    attached = [_attaching_now(site)(_request(site, pool)) for _ in range(count)]
    marks = {each.volume_id: secrets.token_hex(32).encode() for each in attached}
    for each in attached:
        with log_in(each) as session:
            write_marker(session, marks[each.volume_id])
    return attached, marks


def _check_marks_are_only_in_released_volumes(
    site: Site, pool: str, marks: dict[str, bytes]
) -> None:
    released = {each.id: site.object_of(each) for each in site.volumes(pool, state="released")}
    assert marks.keys() == released.keys()
    for volume_id, mark in marks.items():
        assert [released[volume_id]] == site.files_with(mark)
